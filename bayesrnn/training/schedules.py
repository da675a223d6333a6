"""Learning rates over a training, as data."""

import math
from dataclasses import dataclass
from typing import Any

from bayesrnn._checks import as_number, check_whole

__all__ = ["Cosine", "StepDecay", "check_instance", "check_number"]


def check_number(
    value: Any, name: str, legal: str, low: float, high: float, *, above: bool = False, fix: str = ""
) -> None:
    """Refuse what is no number in [low, high), or in (low, high) with `above`."""
    number = as_number(value)
    if number is None:
        raise TypeError(f"{name} must be {legal}, but {value!r} ({type(value).__name__}) was given.")
    if not (low < number < high or (number == low and not above)):
        raise ValueError(f"{name} must be {legal}, but {value!r} was given.{fix}")


def check_instance(value: Any, name: str, kinds: tuple[type, ...], *, none: bool = False) -> None:
    """Refuse what is no object of one of the classes."""
    if isinstance(value, kinds) or (none and value is None):
        return
    names = [kind.__name__ for kind in kinds]
    legal = " or ".join([*(f"{name}(...)" for name in names), *(["None"] if none else [])])
    raise TypeError(f"{name} must be {legal}, but {value!r} was given. They are in bayesrnn.training.recipes.")


@dataclass(frozen=True)
class StepDecay:
    r"""$\eta_e = \eta / f^{\max(e - n, 0)}$ in epoch e = 1, 2, ...: constant for n epochs, then divided by f.

    Args:
        rate: First learning rate.
        constant: Epochs n at the first rate.
        factor: Divisor f, at least 1.

    Raises:
        ValueError: If a number is out of its range.
    """

    rate: float = 1.0
    constant: int = 7
    factor: float = 1.2

    def __post_init__(self) -> None:
        check_number(self.rate, "rate", "a learning rate above 0", 0.0, math.inf, above=True)
        check_whole(self.constant, "constant", 0)
        fix = " It is what the rate is divided by: for a rate that is multiplied by 0.8 give 1 / 0.8 = 1.25."
        check_number(self.factor, "factor", "a divisor of at least 1", 1.0, math.inf, fix=fix)

    def at(self, epoch: int, progress: float) -> float:
        """Return the rate in `epoch`, counted from 0."""
        return self.rate / self.factor ** max(epoch + 1 - self.constant, 0)


@dataclass(frozen=True)
class Cosine:
    r"""$\eta\,(1 + \cos \pi p)/2$ at the share p of the training, after a linear rise over the first `warmup` of it."""

    rate: float = 1e-3
    warmup: float = 0.02
    final: float = 0.0

    def __post_init__(self) -> None:
        check_number(self.rate, "rate", "a learning rate above 0", 0.0, math.inf, above=True)
        fix = " It is a share of all steps, not a number of them."
        check_number(self.warmup, "warmup", "a share of the training in [0, 1)", 0.0, 1.0, fix=fix)
        check_number(self.final, "final", "a learning rate of at least 0", 0.0, math.inf)

    def at(self, epoch: int, progress: float) -> float:
        """Return the rate when the share `progress` of all steps is done."""
        if progress < self.warmup:
            return self.rate * max(progress / self.warmup, 1e-3)
        share = (progress - self.warmup) / (1.0 - self.warmup)
        return self.final + (self.rate - self.final) * 0.5 * (1.0 + math.cos(math.pi * share))
