"""What a training leaves behind beside the weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

__all__ = ["History"]


@dataclass(frozen=True)
class History:
    """The losses of each epoch: means over targets, in nats where the loss is a negative log-likelihood.

    Args:
        train: Loss of each epoch, with masks, as the weights changed under it.
        validation: Loss of each epoch on the validation rows, by the deterministic pass; empty without such rows.
        best_epoch: The epoch whose weights the model now has, counted from 0; None if no epoch has run.
        stopped_early: Whether patience ran out before the last epoch.
    """

    train: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()
    best_epoch: int | None = None
    stopped_early: bool = False

    @property
    def epochs(self) -> int:
        """How many epochs have run."""
        return len(self.train)

    @property
    def best(self) -> float | None:
        """The lowest validation loss; None without validation rows."""
        return min(self.validation, default=None)

    def to_frame(self) -> "pandas.DataFrame":
        """Return one row an epoch, with the columns epoch, train and (if there is one) validation.

        Example:
            >>> list(History((1.5, 1.2), (1.6, 1.4), 1).to_frame().columns)
            ['epoch', 'train', 'validation']
        """
        import pandas

        columns: dict[str, object] = {"epoch": range(self.epochs), "train": self.train}
        if self.validation:
            columns["validation"] = self.validation
        return pandas.DataFrame(columns)
