"""What happens at the end of an epoch: losses noted, best weights kept, state written, patience counted."""

import math
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn

from bayesrnn.training.batches import Batches
from bayesrnn.training.module import Training
from bayesrnn.training.state import State

__all__ = ["Bookkeeping", "ProgressBar", "snapshot"]


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the model's parameters and buffers, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


class Bookkeeping(pl.Callback):
    """Keeps the `State` up to date and stops the training when patience runs out."""

    def __init__(self, state: State, batches: Batches, patience: int | None, folder: Path | None) -> None:
        self.state, self.batches, self.patience, self.folder = state, batches, patience, folder

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Tell the batches which epoch it is."""
        self.batches.at(_training(module).epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Close the epoch; validation has run by now."""
        training, state = _training(module), self.state
        epoch = training.epoch
        state.train.append(training.mean("train"))
        if training.sums["validation"][1]:
            self._validated(training, epoch, trainer)
        else:
            state.best_epoch = epoch
        if self.folder is not None:
            state.weights = snapshot(training.model)
            state.optimizer = trainer.optimizers[0].state_dict()["state"]
            state.save(self.folder)

    def _validated(self, training: Training, epoch: int, trainer: pl.Trainer) -> None:
        state, loss = self.state, training.mean("validation")
        if math.isnan(loss):
            raise ValueError(
                f"the validation loss became NaN in epoch {epoch}, so no epoch could be told to be the best. Look for "
                "NaN in the validation rows, and for targets that the likelihood cannot judge."
            )
        if not state.validation or loss < min(state.validation):
            state.best_epoch, state.best_weights = epoch, snapshot(training.model)
        state.validation.append(loss)
        if self.patience is not None and state.best_epoch is not None and epoch - state.best_epoch >= self.patience:
            state.stopped_early = trainer.should_stop = True


class ProgressBar(pl.Callback):
    """One line that says the epoch, the losses and the time left; nothing where the error stream is no terminal."""

    def __init__(self, epochs: int, done: int, batches: int, state: State) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        console = Console(file=sys.stderr)
        self.state, self.epochs = state, epochs
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not (console.is_terminal or console.is_jupyter),
        )
        self.task = self.progress.add_task(f"epoch {done}/{epochs}", total=epochs * batches, completed=done * batches)

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Show the bar."""
        self.progress.start()

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """Take the bar down, also after an error."""
        self.progress.stop()

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *rest: Any) -> None:
        """Advance by one batch."""
        self._show(_training(module), 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Show the validation loss of the epoch."""
        self._show(_training(module), 0)

    def _show(self, training: Training, batches: int) -> None:
        text = f"epoch {training.epoch + 1}/{self.epochs}  loss {training.mean('train'):.4f}"
        if self.state.validation:
            text += f"  validation {self.state.validation[-1]:.4f} (best {min(self.state.validation):.4f})"
        self.progress.update(self.task, advance=batches, description=text)


def _training(module: pl.LightningModule) -> Training:
    if not isinstance(module, Training):
        raise TypeError(f"these callbacks belong to a Training, but the trainer has a {type(module).__name__}.")
    return module
