"""The trials of a search over dropout rates: each scheme's score, and its distance from the best."""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bayesrnn.schemes import Scheme


@dataclass(frozen=True)
class Trial:
    """One scheme, trained and judged.

    Attributes:
        scheme: What was dropped.
        nll: Mean negative log predictive density of the validation targets, nats.
        standard_error: Of that mean, from the spread between rows: the targets of one row (steps, outputs) are no
            independent pieces of evidence. Infinite for a single row.
        behind: How much worse than the best trial, nats.
        behind_error: Standard error of that difference, paired by row.
    """

    scheme: Scheme
    nll: float
    standard_error: float
    behind: float = 0.0
    behind_error: float = 0.0


@dataclass(frozen=True)
class RateSearch:
    """The answer of `rate_search`.

    Attributes:
        trials: One per scheme, in the order given.
        model: The trained model of the best trial.
    """

    trials: tuple[Trial, ...]
    model: nn.Module

    @property
    def best(self) -> Trial:
        """The trial of lowest validation nll; the first of them where several share it."""
        return min(self.trials, key=lambda trial: trial.nll)

    @property
    def scheme(self) -> Scheme:
        """The scheme of the best trial."""
        return self.best.scheme

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with one line per trial, best first."""
        import pandas as pd

        rows = [
            {p.site: p.rate for p in trial.scheme.placements}
            | {k: v for k, v in trial.__dict__.items() if k != "scheme"}
            | {"scheme": trial.scheme.name}
            for trial in sorted(self.trials, key=lambda trial: trial.nll)
        ]
        return pd.DataFrame(rows)


def trial_of(scheme: Scheme, loss: Tensor, lowest: Tensor, counted: Tensor) -> Trial:
    """Return the trial of a scheme from its losses and the best scheme's, (rows, targets of a row)."""
    gap = loss - lowest
    return Trial(scheme, mean_loss(loss, counted), _error(loss, counted), mean_loss(gap, counted), _error(gap, counted))


def mean_loss(loss: Tensor, counted: Tensor) -> float:
    """Return the mean over the targets that count, nats."""
    return float(loss.sum() / counted.sum())


def _error(values: Tensor, counted: Tensor) -> float:
    r"""Return the standard error of a mean over targets that come in rows, $\sqrt{\frac{B}{B-1}\sum_i e_i^2} / N$.

    $e_i$ is the sum of the row's departures from the mean; with as many targets in each row it is the standard
    deviation of the rows' means over the root of their number.
    """
    rows, sizes = len(values), counted.sum(1)
    if rows < 2:
        return math.inf
    departures = values.sum(1) - mean_loss(values, counted) * sizes
    return math.sqrt(rows / (rows - 1) * float(departures.square().sum())) / float(sizes.sum())
