"""What every metric returns, and the options that every metric takes."""

import math
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bayesrnn._checks import check_level

Array = NDArray[np.float64]


class Options(TypedDict, total=False):
    """Keyword arguments that every metric takes.

    Attributes:
        mask: (B, ...) bool, True where a target is scored.
        lengths: (B,) steps scored in each row, for targets (B, T).
        nan: "raise" (default) refuses NaN targets, "drop" leaves them out and counts them.
        interval: Level of the interval over sequences, e.g. 0.95; none by default.
        method: How that interval is made: "bootstrap" (default) resamples whole sequences; "student" is the t interval
            of the jackknife over sequences, which holds its level with few of them.
        sequences: Sequence id of each row (B,) or target (B, ...); by default `predictive.sequence_ids`, else the rows.
        seed: Seed of the bootstrap and of whatever the metric simulates (default 0).
        resamples: Bootstrap resamples (default 1000).
        monte_carlo: Also give the standard error from finite draws and, where the metric is biased by finite draws,
            the corrected value; both by the jackknife over blocks of draws.
        floor: Also give what a perfectly calibrated model of this sample size would score (calibration errors).
    """

    mask: Tensor | None
    lengths: Tensor | None
    nan: str
    interval: float | None
    method: str
    sequences: Any
    seed: int
    resamples: int
    monte_carlo: bool
    floor: bool


@dataclass(frozen=True)
class Score:
    """One number and its errors; `float(score)` is the number.

    Attributes:
        name: Name of the metric.
        value: The number.
        definition: Which of the numbers of that name it is, and its unit.
        n: Scored targets.
        sequences: Independent sequences they come from.
        draws: Draws behind the predictive.
        interval: Interval over sequences, if asked for.
        level: Its level.
        method: How it was made: "bootstrap" or "student".
        standard_error: Monte Carlo error of finite draws, if asked for and known: 0 only where nothing was sampled,
            None where the draws were not kept, of shares (a jackknife of counts is wild), and where leaving draws out
            does not show it.
        degrees_of_freedom: Of the standard error, one less than its blocks of draws: few, so that 1.96 of them are too
            short an interval. See `draws_interval`.
        corrected: The value corrected for the bias of finite draws, if asked for and known.
        floor: What a perfectly calibrated model of this size would score, if asked for and defined.
        dropped: Targets left out because they were NaN.
        replicates: The values behind the interval: of each resample, or (student) without each sequence in turn.
        pairing: Same text: same targets, sequences and resamples, so that the replicates are paired.
        left_out: The value without each block of draws in turn, behind the standard error; for two predictives of the
            same draws they are paired.
    """

    name: str
    value: float
    definition: str
    n: int
    sequences: int
    draws: int
    interval: tuple[float, float] | None = None
    level: float | None = None
    method: str = "bootstrap"
    standard_error: float | None = None
    degrees_of_freedom: int | None = None
    corrected: float | None = None
    floor: float | None = None
    dropped: int = 0
    replicates: Array | None = field(default=None, repr=False, compare=False)
    pairing: str = field(default="", repr=False, compare=False)
    left_out: Array | None = field(default=None, repr=False, compare=False)

    def draws_interval(self, level: float = 0.95) -> tuple[float, float] | None:
        r"""Return the interval of the value that infinitely many draws would give, None where that is unknown.

        $\\theta \\pm t_{R-1} \\cdot SE$ with R blocks of draws, about the corrected value where there is one.
        """
        if self.standard_error is None:
            return None
        center, half = self.value if self.corrected is None else self.corrected, 0.0
        if self.degrees_of_freedom is not None:
            from scipy.stats import t

            half = self.standard_error * float(t.ppf((1 + check_level(level)) / 2, self.degrees_of_freedom))
        return center - half, center + half

    def __float__(self) -> float:
        return self.value

    def __format__(self, specification: str) -> str:
        return format(self.value, specification)

    def __str__(self) -> str:
        text = f"{self.name} {self.value:.4g}"
        if self.interval is not None:
            text += f" [{self.interval[0]:.4g}, {self.interval[1]:.4g}]"
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values (infinite numbers as text)."""
        hidden = ("replicates", "pairing", "left_out")
        values = {name: value for name, value in self.__dict__.items() if name not in hidden}
        values["interval"] = None if self.interval is None else [_plain(v) for v in self.interval]
        return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
