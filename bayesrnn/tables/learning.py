"""Train on the sequences of a file: parts, inputs, early stopping, recalibration, sets."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bayesrnn._checks import check_choice, check_rate, check_whole
from bayesrnn._progress import timed
from bayesrnn.data.labelled import Labelled
from bayesrnn.estimators.arrays import check_resolved
from bayesrnn.models import SequenceClassifier, SequenceRegressor
from bayesrnn.recalibration import ConformalSets, Temperature, VarianceScaling
from bayesrnn.recalibration.protocol import FEWEST
from bayesrnn.schemes import gal
from bayesrnn.tables.abstention import held_out_errors
from bayesrnn.tables.inputs import Inputs
from bayesrnn.tables.model import SequenceRun, checked_numbers
from bayesrnn.tables.parts import dealt
from bayesrnn.training import fit
from bayesrnn.training.loss import negative_log_likelihood

KINDS = ("classify", "regress")


@dataclass(frozen=True)
class Settings:
    """How a network for the sequences of a file is built and trained.

    Args:
        kind: "classify" or "regress".
        hidden_size: Hidden units.
        num_layers: Recurrent layers.
        rate: Rate of the masks on words, inputs, hidden states and outputs (`schemes.gal`, gates tied).
        cell: "lstm", "gru" or "rnn".
        likelihood: Of numbers: see `SequenceRegressor`.
        level: Tokens of texts: "word" or "character"; None to choose by their length.
        epochs: Most passes over the training rows.
        patience: Epochs without a better loss before the training stops.
        batch_size: Rows per batch.
        learning_rate: Step size of AdamW.
        draws: Draws of a prediction.
        score: Of the sets of classes: "lac", "aps" or "raps".
        by: Sets go by None, "class" or "group".
        seed: Of parts, weights and masks.
    """

    kind: str
    hidden_size: int = 64
    num_layers: int = 1
    rate: float = 0.25
    cell: str = "lstm"
    likelihood: str = "gaussian"
    level: str | None = None
    epochs: int = 60
    patience: int = 6
    batch_size: int = 32
    learning_rate: float = 5e-3
    draws: int = 100
    score: str = "lac"
    by: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice(self.kind, "kind", KINDS)
        if check_rate(self.rate) == 0:
            raise ValueError("rate must be above 0: without masks there are no draws, and no epistemic uncertainty.")
        for name in ("hidden_size", "num_layers", "epochs", "patience", "batch_size"):
            check_whole(getattr(self, name), name)
        check_whole(self.draws, "draws", 2)
        ConformalSets(self.score, self.by)

    def quick(self) -> "Settings":
        """Return settings that run in seconds, for a first look."""
        return replace(
            self, hidden_size=min(self.hidden_size, 24), epochs=min(self.epochs, 4), draws=min(self.draws, 32)
        )


@dataclass(frozen=True)
class Prepared:
    """A file split into parts, as tensors, with the untrained network."""

    parts: dict[str, Labelled]
    inputs: Inputs
    model: nn.Module
    train: dict[str, Tensor]
    watch: dict[str, Tensor]


def prepared(data: Labelled, settings: Settings, test: Labelled | None = None) -> Prepared:
    """Split the rows and build the network; `test` holds test rows of their own.

    Raises:
        ValueError: If there are too few rows, one class only, or values that cannot be learned.
    """
    if data.target is None:
        raise ValueError("which column is to be predicted? Name it with target= (--target).")
    if settings.by == "group" and data.groups is None:
        raise ValueError("sets by group need the groups: name their column with group= (--group).")
    classes = settings.kind == "classify"
    target = np.asarray([str(label) for label in data.target], dtype=object) if classes else checked_numbers(data)
    data = replace(data, target=target)
    labels = sorted(set(target.tolist()))
    if len(labels) < 2:
        raise ValueError(f"all {len(data)} targets are {labels[0]!r}: there is nothing to tell apart.")
    places = dealt(data, settings.seed, with_test=test is None, classes=classes)
    parts = {name: data[rows] for name, rows in places.items()}
    if test is not None:
        parts["test"] = test
    inputs = Inputs.learned(parts["train"], settings.level)
    model = _model(inputs, settings, labels)
    tensors = {name: _tensors(inputs, parts[name], labels if classes else None) for name in ("train", "watch")}
    x, sizes = tensors["train"]["x"], tensors["train"]["lengths"]
    if not inputs.are_texts:
        check_resolved(np.concatenate(parts["train"].rows), "the features")
    if isinstance(model, SequenceRegressor):
        model.standardize(x, tensors["train"]["target"], sizes)
    elif isinstance(model, SequenceClassifier):
        model.standardize(x, sizes)
    return Prepared(parts, inputs, model, tensors["train"], tensors["watch"])


def learn(
    ready: Prepared,
    settings: Settings,
    *,
    columns: dict[str, Any] | None = None,
    device: torch.device | str = "cpu",
    checkpoint: Path | None = None,
    progress: bool = False,
) -> SequenceRun:
    """Train, and fit recalibration, sets and abstention on rows that were not trained on.

    The temperature (for numbers the factor of the spread) is fitted on the rows that stopped the training; sets and
    abstention on the calibration rows, which nothing else has seen.
    """
    model = ready.model.to(device)
    history = fit(
        model,
        {name: value.to(device) for name, value in ready.train.items()},
        {name: value.to(device) for name, value in ready.watch.items()},
        epochs=settings.epochs,
        patience=settings.patience,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        weight_decay=1e-4,
        checkpoint=checkpoint,
        seed=settings.seed,
        progress=progress,
    )
    run = SequenceRun(
        settings.kind, model, ready.inputs, columns or {}, draws=settings.draws, seed=settings.seed, history=history
    )
    return recalibrated(run, ready.parts["watch"], ready.parts["calibrate"], settings.score, settings.by)


def recalibrated(
    run: SequenceRun, watch: Labelled, calibrate: Labelled, score: str = "lac", by: str | None = None
) -> SequenceRun:
    """Return the run with recalibration, sets and abstention fitted on two lots of held-out rows."""
    notes = []
    scaling = Temperature() if run.kind == "classify" else VarianceScaling()
    watched, seen = run.raw(watch), run.targets(watch)
    try:
        scaling.fit(watched, seen)
        if isinstance(scaling, Temperature) and scaling.at_bound:
            raise ValueError(
                f"all {len(watch)} rows to fit a temperature on are right, which would make it sure of all."
            )
        run, watched = replace(run, recalibration=scaling), scaling.apply(watched)
    except ValueError as error:
        notes.append(f"Not recalibrated: {error}")
    if run.kind == "classify" and len(calibrate) >= FEWEST:
        predictive, target = run.predictive(calibrate), run.targets(calibrate)
        sets = ConformalSets(score, by, seed=run.seed).fit(predictive, target, calibrate.groups)
        held_out = held_out_errors(predictive, target)
        run = replace(run, sets=sets, held_out=held_out, watched=held_out_errors(watched, seen))
    elif run.kind == "classify":
        run = replace(run, sets=None, held_out=None, watched=None)  # they would belong to another recalibration
        notes.append(f"No sets and no abstention: {len(calibrate)} calibration rows are fewer than {FEWEST}.")
    return replace(run, notes=(*run.notes, *notes))


def time_needed(ready: Prepared, settings: Settings, device: torch.device | str = "cpu") -> float:
    """Return about how many seconds the training takes at most: two steps of a copy are timed."""
    model = copy.deepcopy(ready.model).to(device).train()
    batch = {name: value[: settings.batch_size].to(device) for name, value in ready.train.items()}
    step = timed(
        lambda: negative_log_likelihood(model(batch["x"], batch["lengths"]), batch["target"]).mean().backward()
    )
    steps = -(-len(ready.train["x"]) // settings.batch_size)
    return settings.epochs * steps * step * 1.3  # the optimizer, and the rows that are watched


def _model(inputs: Inputs, settings: Settings, labels: list[str]) -> nn.Module:
    shared: dict[str, Any] = {
        "hidden_size": settings.hidden_size,
        "num_layers": settings.num_layers,
        "dropout": gal(settings.rate, gates="tied"),
        "cell": settings.cell,
        "vocabulary": len(inputs.tokens) or None,
        "input_size": len(inputs.features) or None,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if settings.kind == "classify":
            return SequenceClassifier(classes=len(labels), labels=labels, **shared)
        return SequenceRegressor(likelihood=settings.likelihood, **shared)  # type: ignore[arg-type]


def _tensors(inputs: Inputs, data: Labelled, labels: list[str] | None) -> dict[str, Tensor]:
    x, lengths = inputs.tensors(data)
    target = np.asarray(data.target)
    if labels is None:
        return {"x": x, "lengths": lengths, "target": torch.tensor(target.astype(np.float64)).float()}
    number = {label: k for k, label in enumerate(labels)}
    return {"x": x, "lengths": lengths, "target": torch.tensor([number[label] for label in target])}
