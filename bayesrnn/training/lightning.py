"""The LightningModule: any model that returns a distribution, trained by its negative log-likelihood."""

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from bayesrnn.nn.sequences import padding
from bayesrnn.training.batches import Batches, split
from bayesrnn.training.checkpoint import Checkpoint, optimizer_state, restore_optimizer
from bayesrnn.training.loss import Loss, apply_loss, masked_mean, negative_log_likelihood
from bayesrnn.training.optimizers import OptimizerFactory, make_optimizer

_LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
_NEEDLESS = (
    r".*available but not used.*",
    r".*does not have many workers.*",
    r".*have no `val_dataloader`.*",
    r".*number of training batches.*",
    r".*module\(s\) in eval mode.*",
    r".*IterableDataset.*__len__.*",
    r".*isinstance\(treespec, LeafSpec\).*",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's remarks on devices and workers; its errors and other warnings are shown."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    with warnings.catch_warnings():
        for text in _NEEDLESS:
            warnings.filterwarnings("ignore", message=text)
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


class Training(pl.LightningModule):
    """A model and its loss, for `lightning.Trainer`.

    A batch is ``(input, ..., target)`` or a mapping of the model's keyword arguments and ``target``. Where the model is
    given lengths and returns one distribution per step, padding does not enter the loss.

    Args:
        model: Any torch module.
        loss: From the model's output and the target to a scalar or one number per target; by default the
            negative log-likelihood, in nats.
        learning_rate: Step size of AdamW.
        weight_decay: Decoupled decay of AdamW.
        optimizer: Makes another optimizer from the parameters.
        schedule: Factor of the learning rate in epoch e, counted from 0.

    Example:
        >>> import torch, bayesrnn as br
        >>> training = Training(br.models.SequenceRegressor(input_size=3, hidden_size=4))
        >>> training.training_step((torch.zeros(2, 5, 3), torch.zeros(2)), 0).shape
        torch.Size([])
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss | None = None,
        *,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        optimizer: OptimizerFactory | None = None,
        schedule: Callable[[int], float] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = negative_log_likelihood if loss is None else loss
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.make_optimizer, self.schedule = optimizer, schedule
        self.first_epoch = 0
        self.sums = {"train": [0.0, 0.0], "validation": [0.0, 0.0]}
        self.resumed: Checkpoint | None = None

    @property
    def epoch(self) -> int:
        """The epoch under way, counted from the very first one also after a resume."""
        return self.first_epoch + int(self.current_epoch)

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """Return the model's output."""
        return self.model(*inputs, **keywords)

    def batch_loss(self, batch: Any) -> tuple[Tensor, int]:
        """Return the mean loss over the targets of a batch that are no padding, and their number."""
        inputs, keywords, target = split(batch)
        values = apply_loss(self.loss, self.model(*inputs, **keywords), target)
        return masked_mean(values, *padding(self.model, inputs, keywords, values), rows=target.shape[0])

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """Return the loss of a batch, with masks.

        Raises:
            ValueError: If the loss is not finite.
        """
        value, count = self.batch_loss(batch)
        self._add("train", value, count)
        if not math.isfinite(float(value.detach())):
            raise ValueError(
                f"the training loss became {float(value.detach())} in epoch {self.epoch}, batch {batch_index}: the "
                "training diverged. Lower the learning rate, set gradient_clip=1.0, or scale inputs and targets to "
                "about unit size."
            )
        return value

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Add the loss of a batch, by the deterministic pass, to the epoch's."""
        self._add("validation", *self.batch_loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer over the parameters that want gradients."""
        optimizer = make_optimizer(self.model, self.make_optimizer, self.learning_rate, self.weight_decay)
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
        if self.resumed is not None:
            restore_optimizer(optimizer, self.resumed.tensors.get("optimizer", {}), self.resumed.numbers)
        return optimizer

    def on_train_epoch_start(self) -> None:
        """Empty the sums and set the learning rate of the epoch."""
        self.sums = {"train": [0.0, 0.0], "validation": [0.0, 0.0]}
        if self.schedule is not None:
            for optimizer in self.trainer.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["base_lr"] * self.schedule(self.epoch)

    def mean(self, part: str) -> float:
        """Return the mean loss so far of `train` or `validation` in this epoch."""
        total, count = self.sums[part]
        return total / count if count else math.nan

    def _add(self, part: str, value: Tensor, count: int) -> None:
        self.sums[part][0] += float(value.detach()) * count
        self.sums[part][1] += count


class Bookkeeping(pl.Callback):
    """Keeps the checkpoint up to date, moves the progress bar, and stops the training when patience runs out."""

    def __init__(
        self,
        point: Checkpoint,
        batches: Batches,
        patience: int | None,
        folder: Path | None,
        advance: Callable[..., None],
        epochs: int,
    ) -> None:
        self.point, self.batches, self.patience, self.folder = point, batches, patience, folder
        self.advance, self.epochs = advance, epochs

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Put the batches in the order of this epoch."""
        self.batches.at(_training(module).epoch)

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *rest: Any) -> None:
        """Advance the bar by one batch."""
        self.advance(1, self._line(_training(module)))

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Close the epoch; validation has run by now."""
        training, point = _training(module), self.point
        if self.batches.shared:
            for part, sums in training.sums.items():
                total = torch.tensor(sums, dtype=torch.float64, device=module.device)
                training.sums[part] = trainer.strategy.reduce(total, reduce_op="sum").tolist()
        loss = training.mean("train")
        if training.sums["validation"][1]:
            self._close_validated(training, loss, trainer)
        else:
            point.history = point.history.and_epoch(train=loss)
        self.advance(0, self._line(training))
        if self.folder is not None:
            point.tensors["weights"] = _copied(training.model)
            point.tensors["optimizer"], point.numbers = optimizer_state(trainer.optimizers[0])
            point.save(self.folder)

    def _close_validated(self, training: Training, loss: float, trainer: pl.Trainer) -> None:
        history, validation = self.point.history, training.mean("validation")
        if math.isnan(validation):
            raise ValueError(
                f"the validation loss became NaN in epoch {training.epoch}, so no epoch can be the best. Look for NaN "
                "in the validation rows, and for targets that the likelihood cannot judge."
            )
        best = history.best is None or validation < history.best
        if best:
            self.point.tensors["best"] = _copied(training.model)
        history = history.and_epoch(train=loss, validation=validation, best=best)
        if self.patience is not None and history.epochs - 1 - (history.best_epoch or 0) >= self.patience:
            trainer.should_stop = True
            history = replace(history, stopped_early=True)
        self.point.history = history

    def _line(self, training: Training) -> str:
        text = f"epoch {training.epoch + 1}/{self.epochs}  loss {training.mean('train'):.4f}"
        validation = self.point.history.validation
        return text + (f"  validation {validation[-1]:.4f} (best {min(validation):.4f})" if validation else "")


def _copied(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the model's parameters and buffers, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _training(module: pl.LightningModule) -> Training:
    if not isinstance(module, Training):
        raise TypeError(f"these callbacks belong to a Training, but the trainer has a {type(module).__name__}.")
    return module
