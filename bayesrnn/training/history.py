"""What a training leaves behind beside the weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

__all__ = ["History"]


@dataclass(frozen=True)
class History:
    """The losses of each epoch: means over targets, in nats where the loss is a negative log-likelihood.

    Args:
        train: Loss of each epoch, with masks, as the weights changed under it.
        validation: Loss of each epoch on the validation data, by the deterministic pass; empty without such data.
        best_epoch: The epoch whose weights the model now has, counted from 0; None if no epoch has run.
        stopped_early: Whether patience ran out before the last epoch.
        rate: Learning rate of each epoch; this and the next two only for language models.
        seconds: Time of each epoch, without validation.
        words_per_second: Tokens trained on per second in each epoch.
    """

    train: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()
    best_epoch: int | None = None
    stopped_early: bool = False
    rate: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()
    words_per_second: tuple[float, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "History":
        """Return the history whose fields `dataclasses.asdict` gave, lists in the place of tuples allowed."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)

    @property
    def epochs(self) -> int:
        """How many epochs have run."""
        return len(self.train)

    @property
    def best(self) -> float | None:
        """The lowest validation loss; None without validation data."""
        return min(self.validation, default=None)

    @property
    def train_perplexity(self) -> tuple[float, ...]:
        """The exponential of each training loss: of a language model its perplexity under masks."""
        return tuple(map(_exp, self.train))

    @property
    def validation_perplexity(self) -> tuple[float, ...]:
        """The exponential of each validation loss."""
        return tuple(map(_exp, self.validation))

    def and_epoch(self, *, best: bool = True, **values: float) -> "History":
        """Return the history with one more epoch, whose value of each measured field is given.

        Example:
            >>> History().and_epoch(train=1.5, validation=1.6).and_epoch(best=False, train=1.2, validation=1.7).train
            (1.5, 1.2)
        """
        longer: dict[str, Any] = {name: (*getattr(self, name), value) for name, value in values.items()}
        return replace(self, best_epoch=self.epochs if best else self.best_epoch, **longer)

    def to_frame(self) -> "pandas.DataFrame":
        """Return one row per epoch: the column `epoch` and one for each measured field.

        Example:
            >>> list(History((1.5, 1.2), (1.6, 1.4), 1).to_frame().columns)
            ['epoch', 'train', 'validation']
        """
        import pandas

        measured = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), tuple)}
        columns = {name: values for name, values in measured.items() if values or name == "train"}
        return pandas.DataFrame({"epoch": range(self.epochs), **columns})


def _exp(loss: float) -> float:
    return math.exp(min(loss, 700.0))
