"""Training of language models: truncated back-propagation over a stream, resumable after a kill at any moment."""

import copy
import math
import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayesrnn._checks import check_seed
from bayesrnn.data.vocabulary import Vocabulary
from bayesrnn.inference._perplexity import perplexity
from bayesrnn.inference.context import lower_products
from bayesrnn.models.language_model import LanguageModel
from bayesrnn.nn.precision import usable_precision
from bayesrnn.nn.states import as_state, initial
from bayesrnn.training.batches import epoch_seed
from bayesrnn.training.cuda_graph import Recorded, unseen
from bayesrnn.training.language_checkpoint import (
    FILE,
    Checkpoint,
    check_numbers,
    check_tensors,
    damaged,
    interrupts_wait,
)
from bayesrnn.training.language_inputs import as_rows, check_classes, check_stream, settings_of
from bayesrnn.training.optimizers import Average, Stepper
from bayesrnn.training.progress import bar
from bayesrnn.training.recipes import NonMonotoneAverage, Recipe
from bayesrnn.training.vocabulary_loss import vocabulary_loss

__all__ = ["train_language_model"]

Epoch = dict[str, Any]


def train_language_model(
    model: LanguageModel,
    train: Tensor,
    recipe: Recipe,
    *,
    valid: Tensor | None = None,
    vocabulary: Vocabulary | None = None,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = True,
    checkpoint_seconds: float = 60.0,
    on_epoch: Callable[[Epoch], None] | None = None,
    on_start: Callable[[], None] | None = None,
    progress: bool = False,
) -> list[Epoch]:
    r"""Train `model` in place on a stream, and return what each epoch came to.

    The stream is cut into rows that are read side by side in windows; the state goes on from window to window, the
    gradient does not. The loss of a window is $\frac1B \sum_b \sum_t -\log p(w_{b,t+1} \mid w_{b,\le t}, z)$ under
    fresh masks. The masks of a step depend on (seed, step) alone, so that a training which is killed and resumed ends,
    on a CPU, with the same bits as one that was not. Ctrl-C writes the checkpoint before the training stops. On a CUDA
    device the passes of a step are recorded as a graph, which is played back from then on; it is recorded anew where
    rates, hooks or frozen weights were changed between epochs.

    Args:
        model: The model; it is left in eval mode with its last weights, their average, or the best (see `Recipe`).
        train: Token numbers (N,). A checkpoint of another text is refused.
        recipe: How to train.
        valid: Token numbers of the validation text; its perplexity is that of the deterministic pass. A checkpoint with
            another one is refused.
        vocabulary: That of the text; a checkpoint for another one is refused.
        seed: Seed of the masks. The initial weights are the model's own.
        folder: Where the checkpoint is kept; without it nothing is written.
        resume: Whether to go on from a checkpoint in `folder`; otherwise it is overwritten.
        checkpoint_seconds: A checkpoint is written when the last one is so old, at the start, and after each epoch.
        on_epoch: Called with each new epoch.
        on_start: Called when everything given was found to be right, before the first step.
        progress: Whether to show a progress bar with words per second and validation perplexity.

    Returns:
        One dict an epoch: `epoch` (from 1), `rate`, `train_nll`, `train_perplexity`, `valid_nll`, `valid_perplexity`,
        `words_per_second`, `seconds`. Training perplexities are those under masks, as the weights changed.

    Raises:
        ValueError: If the text is shorter than a window in each row, a token is not in the model's vocabulary, the
            checkpoint belongs to another training or vocabulary or is damaged, the folder cannot be written to, or the
            training diverges.
        TypeError: If an argument is of another class.

    Source: Zaremba et al. (2014), arXiv:1409.2329; Gal & Ghahramani (2016), arXiv:1512.05287.
    """
    check_seed(seed)
    check_classes(model, recipe, vocabulary)
    if valid is None and (recipe.keep == "best" or isinstance(recipe.averaging, NonMonotoneAverage)):
        raise ValueError("the best weights and non-monotone averages are judged by validation text: give valid=.")
    rows = as_rows(train, recipe, model.vocabulary_size)
    if valid is not None:
        check_stream(valid, "valid", model.vocabulary_size)
    settings = settings_of(model, recipe, vocabulary, seed, train, valid)
    run = _Run(model, rows, recipe, Checkpoint(settings), seed, None if folder is None else Path(folder))
    found = Checkpoint.load(run.folder) if resume and run.folder is not None else None
    if found is not None and run.folder is not None:
        found.check(settings, run.folder)
        run.restore(found)
    _begin(run, on_start, new=found is None)
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng())
        shown = stack.enter_context(bar(recipe.epochs, run.windows, progress))
        try:
            while run.epoch < recipe.epochs:
                run.train_epoch(checkpoint_seconds, shown)
                done = run.close_epoch(valid)
                if on_epoch is not None:
                    on_epoch(done)
        except KeyboardInterrupt:
            if run.folder is not None:
                run.save()
            raise
    run.finish()
    return copy.deepcopy(run.point.history)


def _begin(run: "_Run", on_start: Callable[[], None] | None, *, new: bool) -> None:
    """Make the folder, and write into it before the first step: what cannot be written is found now."""
    if run.folder is None:
        if on_start is not None:
            on_start()
        return
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        if on_start is not None:
            on_start()
        if new:
            run.save()
    except OSError as error:
        raise ValueError(
            f"cannot write to the folder {run.folder} ({error.strerror or error}). Give a folder that is there or can "
            "be made, on a disk that has room and can be written to."
        ) from None


class _Run:
    """One training on its way."""

    def __init__(
        self, model: LanguageModel, rows: Tensor, recipe: Recipe, point: Checkpoint, seed: int, folder: Path | None
    ) -> None:
        self.model, self.recipe, self.point, self.seed, self.folder = model, recipe, point, seed, folder
        device = next(model.parameters()).device
        self.rows = rows.to(device)
        self.windows = (rows.shape[1] - 1) // recipe.window
        self.precision = usable_precision(recipe.precision, device)
        parameters = list(model.parameters())
        self.stepper = Stepper(parameters, recipe.optimizer, recipe.clip)
        self.gradients, self.recorded_as = Recorded(self._gradients, parameters), unseen(model)
        self.average = Average(model, recipe.averaging)
        self.state: tuple[Tensor, ...] | None = None
        self.best: dict[str, Tensor] = {}

    @property
    def epoch(self) -> int:
        """Epochs that are closed."""
        return len(self.point.history)

    def train_epoch(self, checkpoint_seconds: float, shown: Callable[..., None]) -> None:
        """Take the steps that are left of this epoch."""
        self.model.train()
        self._record_anew()
        point, began, saved = self.point, time.monotonic(), time.monotonic()
        before = point.seconds
        for window in range(point.step - self.epoch * self.windows, self.windows):
            with interrupts_wait():
                self._step(window)
            now = time.monotonic()
            point.seconds = before + now - began
            shown(point, self.recipe.batch_size)
            if self.folder is not None and now - saved >= checkpoint_seconds:
                self.save()
                saved = now

    def _record_anew(self) -> None:
        """Forget the recording if what it cannot see has been changed since the last epoch."""
        now = unseen(self.model)
        if now != self.recorded_as:
            self.gradients, self.recorded_as = Recorded(self._gradients, self.gradients.parameters), now

    def _step(self, window: int) -> None:
        point, recipe = self.point, self.recipe
        torch.manual_seed(epoch_seed(self.seed, point.step, "language"))
        start = window * recipe.window
        inputs = self.rows[:, start : start + recipe.window]
        targets = self.rows[:, start + 1 : start + recipe.window + 1]
        loss, *state = self.gradients(inputs, targets, *self._state())
        progress = point.step / (recipe.epochs * self.windows)
        self.stepper.step(recipe.optimizer.schedule.at(self.epoch, progress))
        self.average.update()
        self.state = tuple(state) if recipe.carry_state else None
        point.step += 1
        point.loss += float(loss) * len(inputs)
        point.targets += targets.numel()

    def _gradients(self, inputs: Tensor, targets: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Return loss and state after a window, and leave the gradients in the parameters."""
        with lower_products(self.model, self.precision):
            features, after = self.model.features(inputs, state[0] if len(state) == 1 else (state[0], state[1]))
        loss = vocabulary_loss(
            features.flatten(0, 1),
            self.model.decoder_matrix,
            self.model.decoder_bias,
            targets.flatten(),
            scale=1.0 / len(inputs),
            precision=self.precision,
        )
        loss.backward()
        return (loss.detach(), *(value.detach() for value in as_state(after)))

    def _state(self) -> tuple[Tensor, ...]:
        """Return the state that a window begins with."""
        return self.state or initial(None, self.model.recurrent.cell, self._shape, next(self.model.parameters()))

    @property
    def _shape(self) -> tuple[int, int, int]:
        """Of each part of the state."""
        return self.model.num_layers, len(self.rows), self.model.hidden_size

    def close_epoch(self, valid: Tensor | None) -> Epoch:
        """Validate, note the epoch, and write the state."""
        point, recipe = self.point, self.recipe
        train_nll = point.loss / point.targets
        done: Epoch = {
            "epoch": self.epoch + 1,
            "rate": recipe.optimizer.schedule.at(self.epoch, self.epoch / recipe.epochs),
            "train_nll": train_nll,
            "train_perplexity": _exp(train_nll),
            "words_per_second": point.targets / max(point.seconds, 1e-9),
            "seconds": point.seconds,
            "averaged": self.average.count > 0,
        }
        if valid is not None:
            with self.average.in_place():
                nll = validation_nll(self.model, valid, replace(recipe, precision=self.precision))
                done |= {"valid_nll": nll, "valid_perplexity": _exp(nll)}
                values = [e["valid_nll"] for e in point.history if "valid_nll" in e] + [nll]
                if recipe.keep == "best" and nll <= min(values):
                    self.best = {name: p.detach().clone() for name, p in self.model.named_parameters()}
            self.average.judge(values)
        with interrupts_wait():
            point.history.append(done)
            point.loss, point.targets, point.seconds, self.state = 0.0, 0, 0.0, None
        if self.folder is not None:
            self.save()
        return done

    def save(self) -> None:
        """Write the checkpoint."""
        assert self.folder is not None  # noqa: S101 (callers looked)
        self.point.tensors = {
            "weights": dict(self.model.named_parameters()),
            "optimizer": self.stepper.tensors(),
            "average": self.average.tensors,
            "best": self.best,
            "state": {str(i): value for i, value in enumerate(self.state or ())},
        }
        self.point.averaged, self.point.averaging = self.average.count, self.average.running
        self.point.save(self.folder)

    @torch.no_grad()
    def restore(self, found: Checkpoint) -> None:
        """Take up a checkpoint.

        Raises:
            ValueError: If it cannot be one of this training.
        """
        self._check(found)
        device = next(self.model.parameters()).device
        parts = {part: {k: v.to(device) for k, v in named.items()} for part, named in found.tensors.items()}
        for name, parameter in self.model.named_parameters():
            parameter.copy_(parts["weights"][name])
        if parts.get("optimizer"):
            self.stepper.load(parts["optimizer"])
        self.average.tensors, self.average.count = parts.get("average", {}), found.averaged
        self.average.running = found.averaging or self.average.running
        self.best = parts.get("best", {})
        carried = tuple(parts.get("state", {})[str(i)] for i in range(len(parts.get("state", {}))))
        self.state = carried or None
        found.settings, self.point = self.point.settings, found

    def _check(self, found: Checkpoint) -> None:
        """Refuse a checkpoint that says it is of this training, and cannot be."""
        if self.folder is None:
            return
        path, parts = self.folder / FILE, found.tensors
        parameters: dict[str, Tensor] = {name: p.detach() for name, p in self.model.named_parameters()}
        check_numbers(path, found, self.recipe.epochs, self.windows)
        check_tensors(path, "weights", parts.get("weights", {}), parameters)
        if (found.averaged > 0) != bool(parts.get("average")):
            raise damaged(path, f"an average of {found.averaged} steps with {len(parts.get('average', {}))} weights")
        for part in ("average", "best"):
            if parts.get(part):
                check_tensors(path, part, parts[part], parameters)
        if self.recipe.keep == "best" and found.history and not parts.get("best"):
            raise damaged(path, "the best weights are missing")
        check_tensors(path, "optimizer", parts.get("optimizer", {}), self.stepper.expected(found.step))
        check_tensors(path, "state", parts.get("state", {}), self._expected_state(found))

    def _expected_state(self, found: Checkpoint) -> dict[str, Tensor]:
        """Return tensors of the shapes that the carried state has at a checkpoint."""
        if not self.recipe.carry_state or not found.targets:
            return {}
        return {str(i): torch.empty(self._shape, device="meta") for i, _ in enumerate(self.model.recurrent.cell.states)}

    def finish(self) -> None:
        """Leave the weights that the recipe wants in the model."""
        if self.recipe.keep == "best" and self.best:
            self.average.tensors = self.best
        if self.average.tensors:
            self.average.put()
        self.model.eval()


def validation_nll(model: LanguageModel, tokens: Tensor, recipe: Recipe) -> float:
    """Return the mean -log p of the deterministic pass, nats a token, the stream cut into the recipe's rows."""
    rows = min(recipe.batch_size, tokens.numel() - 1)
    result = perplexity(
        model,
        tokens,
        draws=0,
        batch_size=rows,
        window=recipe.window,
        statistics=False,
        precision=recipe.precision,
    )
    return result.nll


def _exp(nll: float) -> float:
    return math.exp(min(nll, 700.0))
