"""The LightningModule: any model that returns a law, trained by its negative log-likelihood."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from bayesrnn.nn.padding import padding
from bayesrnn.training.batches import split
from bayesrnn.training.loss import Loss, masked_mean, negative_log_likelihood

__all__ = ["OptimizerFactory", "Training"]

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Training(pl.LightningModule):
    """A model and its loss, for `lightning.Trainer`.

    A batch is ``(input, ..., target)`` or a mapping of the model's keyword arguments and ``target``. Where the model is
    given lengths and returns one law a step, padding does not enter the loss.

    Args:
        model: Any torch module.
        loss: From the model's output and the target to a scalar or one number a target; by default the negative
            log-likelihood, in nats.
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
        self.optimizer_state: dict[str, Any] | None = None

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
        values = self.loss(self.model(*inputs, **keywords), target)
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
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        if not parameters:
            raise ValueError("the model has no parameter that requires a gradient: there is nothing to train.")
        if self.make_optimizer is not None:
            optimizer = self.make_optimizer(parameters)
        else:
            optimizer = torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
        if self.optimizer_state is not None:
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": self.optimizer_state, "param_groups": groups})
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
