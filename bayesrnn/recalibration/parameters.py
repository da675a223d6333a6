"""Legal values of a recalibrator's fitted parameters, checked when they are read from JSON."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Numbers:
    """A number, or a list of numbers, within a range.

    Attributes:
        low: The smallest that is legal.
        high: The largest that is legal.
        many: Whether it is a list, of at least one number.
        rising: Whether each number of the list is at least the one before it.
    """

    low: float = -1e300
    high: float = 1e300
    many: bool = False
    rising: bool = False

    def check(self, value: Any, name: str) -> None:
        """Refuse a value that is not one of these.

        Raises:
            ValueError: That names it.
        """
        values = value if self.many and isinstance(value, list) else [value]
        legal = f"within [{self.low:g}, {self.high:g}]"
        if not values or (self.many and not isinstance(value, list)):
            raise ValueError(f"{name} must be a list of numbers {legal}, but {value!r:.60} was given.")
        for number in values:
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise ValueError(f"{name} must be a number {legal}, but {number!r:.60} was given.")
            if not (math.isfinite(number) and self.low <= number <= self.high):
                raise ValueError(f"{name} must lie {legal}, but {number:.6g} was given.")
        if self.rising and any(later < sooner for sooner, later in pairwise(values)):
            raise ValueError(f"{name} must rise, but a number is followed by a smaller one.")


@dataclass(frozen=True)
class Flag:
    """True or False."""

    def check(self, value: Any, name: str) -> None:
        """Refuse what is neither.

        Raises:
            ValueError: That names it.
        """
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, but {value!r:.60} was given.")


def check_keys(values: Any, keys: Any, name: str) -> None:
    """Refuse what is not a dict with these keys.

    Raises:
        ValueError: That names the keys which are missing or unknown.
    """
    if not isinstance(values, dict):
        raise ValueError(f"{name} must be a dict with {', '.join(keys)}, but {values!r:.60} was given.")
    missing, unknown = sorted(set(keys) - set(values)), sorted(map(str, set(values) - set(keys)))
    if missing or unknown:
        raise ValueError(
            f"{name}: missing {', '.join(missing) or 'none'}; unknown {', '.join(unknown)[:200] or 'none'}."
        )


def check_per_level(values: list[float], levels: list[float], name: str) -> None:
    """Refuse another number of values than of levels.

    Raises:
        ValueError: That names both.
    """
    if len(values) != len(levels):
        raise ValueError(f"{name} must be {len(levels)}, one per level, but {len(values)} were given.")
