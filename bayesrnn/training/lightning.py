"""The LightningModule: any model that returns a distribution, trained by its negative log-likelihood."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from bayesrnn.training.loss import Loss, batch_loss, check_loss, negative_log_likelihood
from bayesrnn.training.optimizers import OptimizerFactory, make_optimizer


class Training(pl.LightningModule):
    """A model and its loss, for a `lightning.Trainer` of your own.

    A batch is ``(input, ..., target)`` or a mapping of the model's keyword arguments and ``target``. Where the model is
    given lengths and returns one distribution per step, padding does not enter the loss. The loss of validation rows,
    by the deterministic pass, is logged as ``validation_loss``.

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

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """Return the model's output."""
        return self.model(*inputs, **keywords)

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """Return the loss of a batch, with masks.

        Raises:
            ValueError: If the loss is not finite.
        """
        value, _ = batch_loss(self.model, self.loss, batch)
        check_loss(value, int(self.current_epoch), batch_index)
        return value

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Log the loss of a batch by the deterministic pass; the epoch's is the mean over targets."""
        value, count = batch_loss(self.model, self.loss, batch)
        self.log("validation_loss", value, batch_size=count)

    def configure_optimizers(self) -> Any:
        """Return the optimizer over the parameters that want gradients, and its schedule."""
        optimizer = make_optimizer(self.model, self.make_optimizer, self.learning_rate, self.weight_decay)
        if self.schedule is None:
            return optimizer
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, self.schedule)]
