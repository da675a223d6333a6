"""The loop of `fit`: epochs of batches, validation, the best weights, patience, a checkpoint per epoch or minute."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn.training.batches import Batches, TensorBatches, moved
from bayesrnn.training.checkpoint import Checkpoint, optimizer_state
from bayesrnn.training.loss import Loss, batch_loss, check_loss

CHECKPOINT_SECONDS = 60.0
"""Least time between checkpoints within an epoch."""


class Alone:
    """One process on one device: the part of `lightning.fabric.Fabric` that the loop needs, without its import."""

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Return both as they are."""
        return model, optimizer

    def backward(self, value: Tensor) -> None:
        """Compute the gradients of a loss."""
        value.backward()


@dataclass
class Loop:
    """A training under way.

    Attributes:
        model: Trained in place.
        loss: From its output and the target to a scalar or one number per target.
        optimizer: Of its parameters.
        schedule: Factor of the learning rate in epoch e.
        gradient_clip: Largest norm of the gradient.
        patience: Epochs without a better validation loss before the training stops.
        folder: Where the checkpoint is written.
        point: The state after the last whole epoch.
        low: Whether products are in bfloat16.
    """

    model: nn.Module
    loss: Loss
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int], float] | None
    gradient_clip: float | None
    patience: int | None
    folder: Path | None
    point: Checkpoint
    low: bool
    sums: dict[str, list[float]] = field(default_factory=dict)
    saved: float = field(default_factory=time.monotonic)

    def run(
        self, host: Any, train: Batches, held_out: Batches | None, epochs: int, advance: Callable[..., None]
    ) -> None:
        """Train until `epochs` are done or patience runs out; `host` is `Alone` or a Fabric."""
        call, optimizer = host.setup(self.model, self.optimizer)
        device = next(self.model.parameters()).device
        rates = [group["lr"] for group in self.optimizer.param_groups]
        for epoch in range(self.point.history.epochs, epochs):
            if self.schedule is not None:
                for group, rate in zip(self.optimizer.param_groups, rates):
                    group["lr"] = rate * self.schedule(epoch)
            self.sums = {"train": [0.0, 0.0], "validation": [0.0, 0.0]}
            self.model.train()
            train.at(epoch)
            begun = self.point.tensors.pop("begun", None)
            for index, batch in enumerate(train):
                if begun is not None:
                    if index < int(begun["batches"]):
                        advance(1)
                        continue
                    self._go_on(begun, device)
                    begun = None
                optimizer.step(self._closure(host, call, moved(batch, device), epoch, index))
                advance(1, self._line(epoch, epochs))
                self._save_within(train, index + 1, device)
            self.model.eval()
            with torch.no_grad(), self._autocast():
                for batch in held_out or ():
                    self._add("validation", *batch_loss(self.model, self.loss, moved(batch, device)))
            self._close(host if train.shared else None, epoch)
            advance(0, self._line(epoch, epochs))
            if self.point.history.stopped_early:
                return

    def _closure(self, host: Any, call: nn.Module, batch: Any, epoch: int, index: int) -> Callable[[], Tensor]:
        """Return what an optimizer calls before its step, some of them more than once: gradients of a batch."""

        def closure() -> Tensor:
            self.optimizer.zero_grad()
            with self._autocast():
                value, count = batch_loss(self.model, self.loss, batch, call)
            check_loss(value, epoch, index)
            host.backward(value)
            if self.gradient_clip is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.gradient_clip)
            self._add("train", value, count)
            return value

        return closure

    def _close(self, host: Any, epoch: int) -> None:
        """Add an epoch to the history and write the checkpoint; validation has run by now."""
        if host is not None:
            for part, sums in self.sums.items():
                self.sums[part] = host.all_reduce(torch.tensor(sums, dtype=torch.float64), reduce_op="sum").tolist()
        point, values = self.point, {"train": self._mean("train")}
        best = True
        if self.sums["validation"][1]:
            values["validation"] = validation = self._mean("validation")
            if math.isnan(validation):
                raise ValueError(
                    f"the validation loss became NaN in epoch {epoch}, so no epoch can be the best. Look for NaN in "
                    "the validation rows, and for targets that the likelihood cannot judge."
                )
            best = point.history.best is None or validation < point.history.best
            if best:
                point.tensors["best"] = _copied(self.model)
        history = point.history.and_epoch(best=best, **values)
        late = self.patience is not None and epoch - (history.best_epoch or 0) >= self.patience
        point.history = replace(history, stopped_early=late) if late else history
        if self.folder is not None:
            self._save(self.folder, {})

    def _save_within(self, train: Batches, batches: int, device: torch.device) -> None:
        """Keep the checkpoint up to date within a long epoch, where rows in tensors allow to go on."""
        late = time.monotonic() - self.saved >= CHECKPOINT_SECONDS
        if self.folder is None or not late or train.shared or not isinstance(train.source, TensorBatches):
            return
        if batches < len(train):
            sums = torch.tensor(self.sums["train"], dtype=torch.float64)
            begun = {"batches": torch.tensor(batches), "sums": sums, "random": torch.get_rng_state()}
            begun |= {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
            self._save(self.folder, {"begun": begun})

    def _go_on(self, begun: dict[str, Tensor], device: torch.device) -> None:
        """Take up the losses and the random state with which a checkpoint left an epoch."""
        self.sums["train"] = begun["sums"].tolist()
        torch.set_rng_state(begun["random"])
        if "cuda" in begun:
            torch.cuda.set_rng_state(begun["cuda"], device)

    def _save(self, folder: Path, begun: dict[str, dict[str, Tensor]]) -> None:
        point = self.point
        point.tensors["weights"] = _copied(self.model)
        point.tensors["optimizer"], point.numbers = optimizer_state(self.optimizer)
        replace(point, tensors=point.tensors | begun).save(folder)
        self.saved = time.monotonic()

    def _autocast(self) -> AbstractContextManager[Any]:
        device = next(self.model.parameters()).device
        return torch.autocast(device.type, torch.bfloat16) if self.low else nullcontext()

    def _add(self, part: str, value: Tensor, count: int) -> None:
        self.sums[part][0] += float(value.detach()) * count
        self.sums[part][1] += count

    def _mean(self, part: str) -> float:
        total, count = self.sums[part]
        return total / count if count else math.nan

    def _line(self, epoch: int, epochs: int) -> str:
        text = f"epoch {epoch + 1}/{epochs}  loss {self._mean('train'):.4f}"
        validation = self.point.history.validation
        return text + (f"  validation {validation[-1]:.4f} (best {min(validation):.4f})" if validation else "")


def _copied(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the model's parameters and buffers, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
