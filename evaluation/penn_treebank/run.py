"""Train one row, write its result after every epoch, and judge it on the test text when training is done."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayesrnn.data import Corpus
from bayesrnn.models import LanguageModel
from bayesrnn.training import History, train_language_model
from evaluation import records
from evaluation.penn_treebank import kept
from evaluation.penn_treebank.judging import TUNING_DRAWS, by_multiplier, judged
from evaluation.penn_treebank.rows import INIT, UNITS, Row


@dataclass(frozen=True)
class Plan:
    """What all rows of a run share.

    Attributes:
        judge_only: Whether rows are not trained: the weights that an earlier run kept are judged.
        part_bytes: Most bytes of a file of kept weights, or None.
    """

    table: str
    size: str
    corpus: Corpus
    work: Path
    results: Path
    seed: int = 0
    members: int = 1
    draws: int = 100
    fraction: float = 1.0
    units: int | None = None
    resume: bool = True
    progress: bool = True
    device: torch.device | str = "cpu"
    data: tuple[Path, ...] = ()
    judge_only: bool = False
    part_bytes: int | None = None

    def name(self, row: Row, members: int = 1) -> str:
        ensemble = f"_ensemble_{members}" if members > 1 else ""
        seed = f"_seed_{self.seed}" if self.seed else ""
        return f"penn_treebank_{self.table}_{self.size}_{row.name}{ensemble}{seed}"

    @property
    def training(self) -> Tensor:
        """The part of the training text that is used: its beginning."""
        whole = self.corpus["train"]
        return whole[: round(len(whole) * self.fraction)]


def run_row(plan: Plan, row: Row) -> list[Path]:
    """Train every member of a row and judge them alone and together."""
    models, written = [], []
    for member in range(plan.members):
        model, path = _single(plan, row, plan.seed + member, first=member == 0)
        models.append(model)
        written.append(path)
        if plan.members > 1 and len(models) in (2, 5, 10, 38, plan.members):
            written.append(_ensemble(plan, row, models))
    return written


def _single(plan: Plan, row: Row, seed: int, *, first: bool) -> tuple[LanguageModel, Path]:
    """Train one model, or take its kept weights, and judge it if it is the first of its row."""
    name = plan.name(row) if first else f"{plan.name(row)}_member_{seed}"
    if plan.judge_only:
        model, result = _opened(plan, row, seed)
    else:
        model, result = _trained(plan, row, seed, name)
        kept.keep(model, _folder(plan, row, seed) / "kept", plan.corpus.vocabulary, result, plan.part_bytes)

    def keep(scores: dict[str, Any]) -> Path:
        return records.save(name, result | {"scores": scores}, seed=seed, folder=plan.results, data=plan.data)

    scores = _scores(plan, row, [model], keep) if first else {}
    path = keep(scores)
    if scores:
        print(f"  {row.name}: {_brief(scores)}", flush=True)
    return model, path


def judge_multipliers(plan: Plan, row: Row) -> Path:
    """Judge kept weights on validation text at several factors of the rates."""
    model, result = _opened(plan, row, plan.seed)
    drawing = {"seed": plan.seed, "draws": min(plan.draws, TUNING_DRAWS)}
    factors = {"row": row.name, "multipliers": by_multiplier(row, [model], plan.corpus["validation"], **drawing)}
    known = {key: result[key] for key in ("table", "size", "scheme", "parameters")}
    name = f"{plan.name(row)}_multipliers"
    return records.save(name, known | factors | drawing, seed=plan.seed, folder=plan.results, data=plan.data)


def _folder(plan: Plan, row: Row, seed: int) -> Path:
    """Return the folder of a row's checkpoint, in which its kept weights lie."""
    return plan.work / plan.table / plan.size / f"{row.name}-{seed}"


def _opened(plan: Plan, row: Row, seed: int) -> tuple[LanguageModel, dict[str, Any]]:
    model, result = kept.opened(_folder(plan, row, seed) / "kept", plan.corpus.vocabulary)
    return model.to(plan.device), result


def _trained(plan: Plan, row: Row, seed: int, name: str) -> tuple[LanguageModel, dict[str, Any]]:
    """Return a trained model, and what is known of it; the result is written after every epoch."""
    torch.manual_seed(seed + row.seed_offset)
    units = plan.units or UNITS[plan.size]
    shape: dict[str, Any] = {"embedding_size": units, "hidden_size": units, **row.model}
    model = LanguageModel(
        len(plan.corpus.vocabulary), num_layers=2, dropout=row.scheme, init_range=INIT[plan.size], **shape
    ).to(plan.device)
    if row.start:
        model.load_state_dict(_mean_weights(plan, row, seed))
    result = _description(plan, row, model)

    def note(history: History) -> None:
        records.save(name, result | {"epochs": epoch_records(history)}, seed=seed, folder=plan.results, data=plan.data)
        print(
            f"{row.name} epoch {history.epochs}/{row.recipe.epochs}: train {history.train_perplexity[-1]:.1f}, valid "
            f"{history.validation_perplexity[-1]:.2f}, {history.words_per_second[-1]:,.0f} words/s",
            flush=True,
        )

    history = train_language_model(
        model,
        plan.training,
        row.recipe,
        validation=plan.corpus["validation"],
        vocabulary=plan.corpus.vocabulary,
        seed=seed + row.seed_offset,
        checkpoint=_folder(plan, row, seed),
        resume=plan.resume,
        on_epoch=note,
        progress=plan.progress,
    )
    return model, result | {"epochs": epoch_records(history)}


def _mean_weights(plan: Plan, row: Row, seed: int) -> dict[str, Tensor]:
    """Return the mean of the kept weights of the rows that a row starts from."""
    states = [_opened(plan, replace(row, name=name), seed)[0].state_dict() for name in row.start]
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def _scores(plan: Plan, row: Row, models: list[LanguageModel], keep: Any = lambda scores: None) -> dict[str, Any]:
    drawing = {"seed": plan.seed, "draws": plan.draws, "progress": plan.progress}
    return judged(row, models, plan.corpus, plan.training, keep, **drawing)


def _ensemble(plan: Plan, row: Row, models: list[LanguageModel]) -> Path:
    scores = _scores(plan, row, models)
    result = _description(plan, row, models[0]) | {"members": len(models), "scores": scores}
    print(f"  {row.name}, {len(models)} members: {_brief(scores)}", flush=True)
    name = plan.name(row, len(models))
    return records.save(name, result, seed=plan.seed, folder=plan.results, data=plan.data)


def _brief(scores: dict[str, Any]) -> str:
    kept = {
        key: value for key, value in scores.items() if key.startswith(("valid", "test")) and isinstance(value, float)
    }
    return ", ".join(f"{key} {value:.2f}" for key, value in kept.items() if "_e" not in key and "_a" not in key)


def _description(plan: Plan, row: Row, model: LanguageModel) -> dict[str, Any]:
    return {
        "table": plan.table,
        "size": plan.size,
        "row": row.name,
        "scheme": str(row.scheme),
        "model": model.config(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "recipe": row.recipe.to_dict(),
        "start": row.begins_with,
        "training_tokens": len(plan.training),
        "share_of_training_text": round(plan.fraction, 4),
        "published": row.published,
    }


def epoch_records(history: History) -> list[dict[str, Any]]:
    """Return one record per epoch, with the names of the result files."""
    columns = {
        "train_nll": history.train,
        "train_perplexity": history.train_perplexity,
        "valid_nll": history.validation,
        "valid_perplexity": history.validation_perplexity,
        "rate": history.rate,
        "seconds": history.seconds,
        "words_per_second": history.words_per_second,
    }
    return [
        {"epoch": e + 1} | {name: values[e] for name, values in columns.items() if values}
        for e in range(history.epochs)
    ]
