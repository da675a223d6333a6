"""Scores of whole paths: whether the steps of a row move together as they should."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Unpack

import torch
from torch import Tensor

from bayesrnn._checks import check_number, check_seed, check_whole
from bayesrnn.metrics.metric import Metric, evaluate
from bayesrnn.metrics.pairs import pair
from bayesrnn.metrics.regression import check_continuous
from bayesrnn.metrics.score import Options, Score
from bayesrnn.predictive import EmpiricalDistribution, Predictive

_AT_ONCE = 2**22


def energy_score(predictive: Predictive, target: Any, *, paths: int = 200, **options: Unpack[Options]) -> Score:
    r"""Energy score of the path of each row, target units, lower is better: the CRPS of a whole path.

    $\frac1M \sum_m \|x_m - y\| - \frac{1}{2M(M-1)} \sum_{mk} \|x_m - x_k\|$ over M paths; the fair form, which finitely
    many paths do not bias. A proper score, but it sees errors of the marginals better than wrong dependence: see
    `variogram_score`.

    Args:
        predictive: Continuous or counts, (B, T, ...), with paths.
        target: What happened, (B, T, ...).
        paths: M, how many paths are drawn of each row (seed of `Options`); of samples each is one path.
        **options: See `Options`. Masked steps are left out of their row's path.

    Raises:
        ValueError: If there are no steps, or the predictive does not know how steps move together.

    Source: Gneiting & Raftery 2007, section 4.3; Ferro 2014 for the fair form.

    Example:
        >>> p = Predictive.from_samples(torch.tensor([[[0.0, 0.0]], [[2.0, 0.0]]]), axis=0)
        >>> float(energy_score(p, torch.tensor([[1.0, 0.0]])))
        0.0
    """

    def score(members: Tensor, y: Tensor, kept: Tensor) -> Tensor:
        x = (members * kept).transpose(0, 1)  # (B, M, K)
        size = x.shape[1]
        near = torch.linalg.vector_norm(x - (y * kept)[:, None], dim=-1).mean(1)
        apart = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
        return near - apart.sum((1, 2)) / (2 * size * (size - 1))

    return _judge("energy_score", "fair, mean over paths, target units", predictive, target, paths, options, score)


def variogram_score(
    predictive: Predictive, target: Any, *, p: float = 0.5, paths: int = 200, **options: Unpack[Options]
) -> Score:
    r"""Variogram score of the path of each row, lower is better: how far its steps lie from one another.

    $\sum_{ij} (|y_i - y_j|^p - E|X_i - X_j|^p)^2$ over all pairs of steps, less the variance of the mean over M paths
    (the fair form). It sees wrong dependence between steps, but no shift that all steps share: use it beside
    `energy_score`.

    Args:
        predictive: Continuous or counts, (B, T, ...), with paths.
        target: What happened, (B, T, ...).
        p: The power; 0.5 is robust to outliers.
        paths: M, how many paths are drawn of each row (seed of `Options`); of samples each is one path.
        **options: See `Options`.

    Source: Scheuerer & Hamill 2015 (Monthly Weather Review 143), eq. 3, with equal weights.
    """
    p = check_number(p, "p", "the power of a variogram, positive and finite", 0.0, above=True, fix=" 0.5 is usual.")

    def score(members: Tensor, y: Tensor, kept: Tensor) -> Tensor:
        size, total, squares = len(members), torch.zeros(()), torch.zeros(())
        for x in members:
            away = (x[:, :, None] - x[:, None]).abs() ** p
            total, squares = total + away, squares + away**2
        mean = total / size
        noise = (squares / size - mean**2).clamp(min=0) / (size - 1)
        off = ((y[:, :, None] - y[:, None]).abs() ** p - mean) ** 2 - noise
        return (off * kept[:, :, None] * kept[:, None]).sum((1, 2))

    definition = f"fair, power {p:g}, mean over paths"
    return _judge("variogram_score", definition, predictive, target, paths, options, score)


def _judge(
    name: str,
    definition: str,
    predictive: Predictive,
    target: Any,
    paths: int,
    options: Options,
    score: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> Score:
    """Score each row once: (members (M, B, K), target (B, K), kept steps (B, K)) to (B,)."""
    check_continuous(predictive, name)
    pairs = pair(predictive, target, options)
    shape = pairs.predictive.shape
    if len(shape) < 2:
        raise ValueError(
            f"{name} judges paths over steps, (rows, steps), but the targets have shape {tuple(shape)}. For single "
            "targets use crps."
        )
    kept = torch.as_tensor(pairs.keep, device=pairs.predictive.device).reshape(shape[0], -1)
    first = (kept.cumsum(1) == 1) & kept  # a row counts once, at the first of its steps
    exact = isinstance(pairs.predictive.distribution, EmpiricalDistribution)
    count, seed = check_whole(paths, "paths", 2), check_seed(options.get("seed", 0))

    def items(judged: Any, y: Tensor) -> Tensor:
        members = judged.distribution.samples if exact else judged.paths(count, seed)
        members, y = members.double().flatten(2), y.double().flatten(1)
        step = max(_AT_ONCE // (max(len(members), y.shape[1]) ** 2), 1)
        rows = [slice(a, a + step) for a in range(0, len(y), step)]
        values = torch.cat([score(members[:, r], y[r], kept[r].double()) for r in rows])
        return values.reshape(-1, *(1 for _ in shape[1:])).expand(shape)

    chosen = {key: value for key, value in options.items() if key not in ("mask", "lengths", "nan")}
    rest: Any = {**chosen, "mask": first.reshape(shape)}
    result = evaluate(Metric(name, definition, items, fixed=not exact), predictive, pairs.target, rest)
    return replace(result, dropped=pairs.dropped)
