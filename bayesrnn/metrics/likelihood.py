"""The log score, for every kind of target."""

from typing import Any, Unpack

from torch import Tensor

from bayesrnn.predictive import Predictive, TokenPredictive

from .errors import evaluate
from .score import Options, Score


def nll(predictive: Predictive, target: Any = None, **options: Unpack[Options]) -> Score:
    r"""Mean negative log predictive density (probability for classes, counts, tokens), nats a target.

    $-\mathrm{mean}\,\log\frac1S\sum_s p_s(y)$: probabilities are averaged over draws before the log. Finite draws
    bias it upwards by about $\mathrm{Var}(p)/(2S\bar p^2)$; `monte_carlo=True` gives the corrected value beside it.

    Args:
        predictive: Any predictive with a density (samples have none).
        target: (B, ...); a token predictive knows its own.
        **options: See `Options`.

    Raises:
        ValueError: If shapes differ, the target holds NaN, or the predictive has no density.

    Source: Gneiting & Raftery 2007, section 4.1 (logarithmic score).

    Example:
        >>> import torch
        >>> round(float(nll(Predictive.from_gaussian(torch.zeros(1), torch.ones(1)), torch.zeros(1))), 4)
        0.9189
    """
    return evaluate("nll", "mean over targets, nats", predictive, target, options, log_score, correct=True)


def log_score(predictive: Any, target: Any) -> Tensor:
    """Return the negative log probability of each target, (B, ...), nats."""
    if isinstance(predictive, TokenPredictive):
        return -predictive.log_prob
    return -predictive.log_prob(target)
