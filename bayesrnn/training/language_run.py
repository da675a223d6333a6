"""One training of a language model: its steps, its epochs and its checkpoints."""

import time
from collections.abc import Callable
from math import exp
from pathlib import Path

import torch
from torch import Tensor

from bayesrnn.inference._perplexity import perplexity
from bayesrnn.inference.context import lower_products
from bayesrnn.models.language_model import LanguageModel
from bayesrnn.nn.cuda_graph import Recorded, invisible_state
from bayesrnn.nn.precision import usable_precision
from bayesrnn.nn.states import as_state, initial
from bayesrnn.training.batches import epoch_seed
from bayesrnn.training.checkpoint import Checkpoint, optimizer_state, restore_optimizer
from bayesrnn.training.optimizers import Average, Stepper
from bayesrnn.training.recipes import Recipe
from bayesrnn.training.resume import interrupts_wait
from bayesrnn.training.vocabulary_loss import vocabulary_loss


class LanguageRun:
    """A training under way on rows of token numbers, (B, N // B), with checkpoints."""

    def __init__(self, model: LanguageModel, rows: Tensor, recipe: Recipe, seed: int, folder: Path | None) -> None:
        self.model, self.recipe, self.seed, self.folder = model, recipe, seed, folder
        self.point = Checkpoint({})
        device = next(model.parameters()).device
        self.text = rows.to(device)
        self.rows = self.text
        self.windows = (rows.shape[1] - 1) // recipe.window
        self.precision = usable_precision(recipe.precision, device)
        parameters = list(model.parameters())
        self.stepper = Stepper(parameters, recipe.optimizer, recipe.clip)
        self.gradients, self.recorded_as = Recorded(self._gradients, parameters), invisible_state(model)
        self.average = Average(model, recipe.averaging)
        self.state: tuple[Tensor, ...] | None = None
        self.best: dict[str, Tensor] = {}
        self.step, self.loss, self.targets, self.seconds = 0, 0.0, 0, 0.0  # the last three of this epoch

    @property
    def epoch(self) -> int:
        """Epochs that are closed."""
        return self.point.history.epochs

    def train_epoch(self, checkpoint_seconds: float, advance: Callable[..., None]) -> None:
        """Take the steps that are left of this epoch."""
        self.rows = self._rows()
        self.model.train()
        if self.recorded_as != (now := invisible_state(self.model)):
            self.gradients, self.recorded_as = Recorded(self._gradients, self.gradients.parameters), now
        began = saved = time.monotonic()
        before = self.seconds
        for window in range(self.step - self.epoch * self.windows, self.windows):
            with interrupts_wait():
                self._step(window)
                now_at = time.monotonic()
                self.seconds = before + now_at - began
            advance(1, self._line())
            if now_at - saved >= checkpoint_seconds:
                self.save()
                saved = now_at

    def _rows(self) -> Tensor:
        """Return the text of this epoch in rows: with `shift`, it begins at a token drawn from seed and epoch."""
        if not self.recipe.shift:
            return self.text
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch, "shift"))
        start = int(torch.randint(self.text.numel(), (1,), generator=generator))
        return self.text.flatten().roll(-start).view_as(self.text)

    def _step(self, window: int) -> None:
        recipe = self.recipe
        torch.manual_seed(epoch_seed(self.seed, self.step, "language"))
        start = window * recipe.window
        inputs = self.rows[:, start : start + recipe.window]
        targets = self.rows[:, start + 1 : start + recipe.window + 1]
        loss, *state = self.gradients(inputs, targets, *self._state())
        self.stepper.step(recipe.optimizer.schedule.at(self.epoch, self.step / (recipe.epochs * self.windows)))
        self.average.update()
        self.state = tuple(state) if recipe.carry_state else None
        self.step += 1
        self.loss += float(loss) * len(inputs)
        self.targets += targets.numel()

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
        shape = self.model.num_layers, len(self.rows), self.model.hidden_size
        return self.state or initial(None, self.model.recurrent.cell, shape, next(self.model.parameters()))

    def _line(self) -> str:
        text = f"epoch {self.epoch + 1}/{self.recipe.epochs}  {self.targets / max(self.seconds, 1e-9):,.0f} words/s"
        text += f"  train {exp(min(self.loss / self.targets, 700.0)):.1f}"
        validation = self.point.history.validation_perplexity
        return text + (f"  validation {validation[-1]:.1f}" if validation else "")

    def close_epoch(self, validation: Tensor | None) -> None:
        """Validate, add the epoch to the history, and write the checkpoint."""
        history, epoch = self.point.history, self.epoch
        values = {
            "train": self.loss / self.targets,
            "rate": self.recipe.optimizer.schedule.at(epoch, epoch / self.recipe.epochs),
            "seconds": self.seconds,
            "words_per_second": self.targets / max(self.seconds, 1e-9),
        }
        best = True
        if validation is not None:
            with self.average.in_place():
                values["validation"] = self._validation_nll(validation)
                if self.recipe.keep == "best":
                    best = history.best is None or values["validation"] <= history.best
                    if best:
                        self.best = {name: p.detach().clone() for name, p in self.model.named_parameters()}
            self.average.judge([*history.validation, values["validation"]])
        with interrupts_wait():
            self.point.history = history.and_epoch(best=best, **values)
            self.loss, self.targets, self.seconds, self.state = 0.0, 0, 0.0, None
        self.save()

    def _validation_nll(self, tokens: Tensor) -> float:
        """Return the mean -log p of the deterministic pass, nats per token, the stream cut into the recipe's rows."""
        rows = min(self.recipe.batch_size, tokens.numel() - 1)
        return perplexity(
            self.model,
            tokens,
            draws=0,
            batch_size=rows,
            window=self.recipe.window,
            statistics=False,
            precision=self.precision,
        ).nll

    def save(self) -> None:
        """Write the checkpoint, where there is a folder."""
        if self.folder is None:
            return
        optimizer, remembered = optimizer_state(self.stepper.optimizer)
        self.point.tensors = {
            "weights": dict(self.model.named_parameters()),
            "optimizer": optimizer,
            "average": self.average.tensors,
            "best": self.best,
            "state": {str(i): value for i, value in enumerate(self.state or ())},
        }
        self.point.numbers = {
            "step": self.step,
            "loss": self.loss,
            "targets": self.targets,
            "seconds": self.seconds,
            "averaged": self.average.count,
            "averaging": self.average.running,
            "optimizer": remembered,
        }
        self.point.save(self.folder)

    @torch.no_grad()
    def take_up(self, point: Checkpoint, forced: bool = False) -> None:
        """Go on from a checkpoint; `forced`, of another training: with its weights and epochs only."""
        self.point = point
        if not point.tensors:
            return
        device = next(self.model.parameters()).device
        parts = {part: {k: v.to(device) for k, v in named.items()} for part, named in point.tensors.items()}
        for name, parameter in self.model.named_parameters():
            parameter.copy_(parts["weights"][name])
        self.best = parts.get("best", {})
        self.step, numbers = self.epoch * self.windows, point.numbers
        if forced:
            return
        restore_optimizer(self.stepper.optimizer, parts.get("optimizer", {}), numbers["optimizer"])
        self.average.tensors, self.average.count = parts.get("average", {}), numbers["averaged"]
        self.average.running = numbers["averaging"]
        self.state = tuple(value for _, value in sorted(parts.get("state", {}).items())) or None
        self.step, self.loss = numbers["step"], numbers["loss"]
        self.targets, self.seconds = numbers["targets"], numbers["seconds"]

    def finish(self) -> None:
        """Leave the weights that the recipe wants in the model."""
        if self.recipe.keep == "best" and self.best:
            self.average.tensors = self.best
        if self.average.tensors:
            self.average.put()
        self.model.eval()
