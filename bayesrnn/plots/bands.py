"""Bands around curves: the bootstrap over sequences, and what a calibrated model would show."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bayesrnn.metrics.bootstrap import unanimous_interval
from bayesrnn.metrics.score import Array

Groups = NDArray[np.int64]


def cluster_sums(values: Array, sequences: Groups) -> Array:
    """Return the sums of (n, L) values over the targets of each sequence, (sequences, L)."""
    columns = values.reshape(len(sequences), -1).T
    return np.stack([np.bincount(sequences, weights=column) for column in columns], 1)


def ratio_replicates(
    numerator: Array, denominator: Array, sequences: Groups, *, replicates: int = 400, seed: int = 0
) -> Array:
    r"""Return bootstrap replicates, (replicates, L), of $\sum_i a_{il} / \sum_i b_{il}$ with whole sequences resampled.

    Targets of one sequence depend on one another; resampling single targets gives bands that are too narrow.
    """
    above, below = cluster_sums(numerator, sequences), cluster_sums(denominator, sequences)
    size = len(above)
    counts = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=replicates).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (counts @ above) / (counts @ below)


def ratio_band(
    numerator: Array, denominator: Array, sequences: Groups, *, level: float = 0.95, seed: int = 0
) -> tuple[Array, Array]:
    """Return the pointwise bootstrap interval of a share, (L,) each; NaN where nothing was observed.

    A column that is all 0 or all 1 varies in no resample: it gets the exact interval for as many sequences as it has,
    unless there is only one, which tells nothing about others.
    """
    replicates = ratio_replicates(numerator, denominator, sequences, seed=seed)
    empty = np.isnan(replicates).all(0)
    replicates[:, empty] = 0.0
    low, high = np.nanquantile(replicates, [(1 - level) / 2, (1 + level) / 2], axis=0)
    low[empty], high[empty] = np.nan, np.nan
    if sequences.max() == 0:
        return low, high
    above, below = numerator.sum(0), denominator.sum(0)
    seen = np.broadcast_to((cluster_sums(denominator, sequences) > 0).sum(0), above.shape)
    for column in np.flatnonzero(~empty & ((above == 0) | (above == below))):
        low[column], high[column] = unanimous_interval(float(above[column] > 0), int(seen[column]), level)
    return low, high


def few_interval(share: float, sequences: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share, each sequence as one target: for too few to resample.

    Source: Clopper & Pearson 1934 (Biometrika 26).
    """
    from scipy.stats import beta

    tail, hits = (1 - level) / 2, share * sequences
    low = float(beta.ppf(tail, hits, sequences - hits + 1)) if hits > 0 else 0.0
    return low, float(beta.ppf(1 - tail, hits + 1, sequences - hits)) if hits < sequences else 1.0


def whiskers(center: Array, low: Array, high: Array) -> list[Array]:
    """Return the lengths below and above `center` that `errorbar` takes; none is negative."""
    return [np.nan_to_num(np.maximum(center - low, 0)), np.nan_to_num(np.maximum(high - center, 0))]


def effective_size(shares: Array, sequences: Groups) -> float:
    r"""Return how many independent targets would pin down the shares (n, L) as well as these do.

    $n / d$ with the design effect d: the variance between sequences divided by the variance of independent
    targets, median over columns, at least 1 (Kish 1965).
    """
    size = len(shares)
    groups = int(sequences.max()) + 1
    if groups == size:
        return float(size)
    sums = cluster_sums(np.concatenate([shares, np.ones((size, 1))], 1), sequences)
    residual = sums[:, :-1] - sums[:, -1:] * shares.mean(0)
    between = (residual**2).sum(0) * groups / max(groups - 1, 1) / size**2
    within = shares.var(0) / size
    usable = within > 0
    if not usable.any():
        return float(groups)
    return size / max(float(np.median(between[usable] / within[usable])), 1.0)


def binomial_band(share: Array, size: float, *, level: float = 0.95) -> tuple[Array, Array]:
    """Return between which values the observed share of `size` targets falls if the true one is `share`."""
    from scipy.stats import binom

    whole = max(round(size), 1)
    tail = (1 - level) / 2
    low, high = binom.ppf(tail, whole, share), binom.ppf(1 - tail, whole, share)
    return np.asarray(low) / whole, np.asarray(high) / whole


def ecdf_band(grid: Array, size: float, *, level: float = 0.95, seed: int = 0) -> tuple[Array, Array]:
    """Return the simultaneous band of the empirical cdf of `size` uniform numbers on a grid in (0, 1).

    Pointwise binomial limits, their level chosen by simulation so that a whole curve stays inside with
    probability `level`.

    Source: Säilynoja, Bürkner & Vehtari 2022 (arXiv:2103.10522), section 3.
    """
    from scipy.stats import binom

    whole = max(round(size), 1)
    steps = np.diff(np.concatenate([[0.0], grid, [1.0]]))
    counts = np.random.default_rng(seed).multinomial(whole, steps, size=1000).cumsum(1)[:, :-1]
    tails = np.minimum(binom.cdf(counts, whole, grid), binom.sf(counts - 1, whole, grid))
    worst = np.quantile(tails.min(1), 1 - level)
    low, high = binom.ppf(worst, whole, grid), binom.isf(worst, whole, grid)
    return np.asarray(low) / whole, np.asarray(high) / whole


def flat(values: Tensor) -> Array:
    """Return a tensor as a flat float64 array."""
    return values.detach().cpu().double().reshape(-1).numpy()
