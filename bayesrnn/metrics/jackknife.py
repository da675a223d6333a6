"""Errors from finite draws: the jackknife over independent blocks of draws."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn.metrics.pairs import Pairs
from bayesrnn.metrics.score import Array
from bayesrnn.predictive import DETERMINISTIC, TokenPredictive
from bayesrnn.predictive.finite_draws import spread

_MOST_BLOCKS = 20  # jackknife groups: enough for a standard error good to a sixth, cheap for S = 1000


@dataclass(frozen=True)
class DrawError:
    """What finite draws do to a number: its standard error, the number without their bias, the leave-one-out values."""

    standard_error: float | None = None
    corrected: float | None = None
    left_out: Array | None = None


WithoutBlocks = Callable[[Any, Any, Sequence[slice]], Sequence[Tensor] | None]


def jackknife(
    pairs: Pairs,
    items: Callable[[Any, Any], Tensor],
    number: Callable[[Array], float],
    value: float,
    *,
    without: WithoutBlocks | None = None,
) -> DrawError:
    r"""Return the Monte Carlo standard error and the value without the bias of finite draws.

    $\theta_{(-r)}$ leaves block r of R out: $SE^2 = \frac{R-1}{R}\sum_r(\theta_{(-r)} - \bar\theta)^2$, corrected
    $R\theta - (R-1)\bar\theta$. (0, value) where nothing was sampled; unknown (None) where `left_out` is.
    `without` gives the items without each block at once, or None where it cannot.

    Source: Efron & Stein 1981, The jackknife estimate of variance.
    """

    def score(predictive: Any) -> float:
        return number(pairs.take(items(predictive, pairs.target)))

    if not sampled(pairs.predictive):
        return DrawError(0.0, value)
    blocks = [] if without is None else pairs.predictive.origin.blocks(_MOST_BLOCKS)
    parts = without(pairs.predictive, pairs.target, blocks) if without is not None and len(blocks) > 1 else None
    if parts is None:
        values = left_out(score, pairs.predictive)
    else:
        values = _telling(np.asarray([number(pairs.take(items)) for items in parts]))
    if values is None:
        return DrawError()
    count, pooled = len(values), value
    if isinstance(pairs.predictive, TokenPredictive):  # draws in no whole block count only in the value
        pooled = score(pairs.predictive.keep_draws(torch.arange(count)))
    return DrawError(spread(values), value + (count - 1) * (pooled - float(values.mean())), values)


def sampled(predictive: Any) -> bool:
    """Whether there are draws, so that a value has an error of finite draws."""
    return bool(predictive.sampling != DETERMINISTIC)


def left_out(score: Callable[..., float], *predictives: Any) -> Array | None:
    """Return the score of the predictives without each block of draws, the same one left out of each, (R,).

    None where that does not show what finite draws do: the draws were not kept, the score is defined for all draws
    together but not without a block, or no block changes it at all (it depends on draws that cannot be left out, or
    is a share of a few answers, too coarse to see a block).
    """
    try:
        values = np.asarray([score(*rest) for rest in zip(*map(_without_each_block, predictives), strict=True)])
    except ValueError:  # the value of all draws exists: fewer samples, say, cannot resolve so high a level
        return None
    return _telling(values)


def _telling(values: Array) -> Array | None:
    """Return the values unless they show nothing: too few, not finite, or all the same."""
    return None if len(values) < 2 or not np.isfinite(values).all() or (values == values[0]).all() else values


def _without_each_block(predictive: Any) -> Iterator[Any]:
    if isinstance(predictive, TokenPredictive):
        size = 0 if predictive.block_log_prob is None else len(predictive.block_log_prob)
        blocks = [slice(r, r + 1) for r in range(size)]
        # entropies and confidences came averaged over all draws, and do not say what they were without a block
        predictive = replace(predictive, entropy=None, aleatoric=None, epistemic=None, confidence=None, correct=None)
    else:
        size, blocks = predictive.draws_used, predictive.origin.blocks(_MOST_BLOCKS)
    if len(blocks) < 2:
        return
    every = torch.arange(size)
    for block in blocks:
        yield predictive.keep_draws(torch.cat([every[: block.start], every[block.stop :]]))
