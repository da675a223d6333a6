"""How results depend on the number of draws, and what is left of the bias that few draws leave."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bayesrnn._checks import check_whole
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive, TokenPredictive

Kept = ContinuousPredictive | ClassPredictive
Statistic = Callable[[Any], Tensor | float]


@dataclass(frozen=True)
class Jackknife:
    """A statistic of all draws, the same without its leading bias, and its Monte Carlo standard error."""

    estimate: Tensor
    corrected: Tensor
    standard_error: Tensor
    blocks: int


def jackknife(predictive: Kept, statistic: Statistic) -> Jackknife:
    r"""Correct a statistic for the bias of order 1/S that finitely many draws leave, by leaving out blocks of draws.

    $\hat\theta_J = R \hat\theta - (R - 1) \bar\theta_{(\cdot)}$ and $\mathrm{se}^2 = \frac{R-1}{R} \sum_r
    (\hat\theta_{(r)} - \bar\theta_{(\cdot)})^2$ over the R blocks of draws that are independent of one another (single
    draws, at most 64 groups, for independent sampling). Log-mean-exp quantities (log_prob, nll, entropy, mutual
    information) have such a bias: $E \log \bar p \approx \log p - \mathrm{Var}(\bar p) / 2 p^2$.

    Args:
        predictive: With its draws kept.
        statistic: From a predictive to a tensor, such as ``lambda p: p.log_prob(y).mean()``.

    Raises:
        ValueError: If the draws were not kept, or there are fewer than two blocks.
        TypeError: If it is a `TokenPredictive`, which keeps blocks of draws and has its own correction.

    Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 11.

    Example:
        >>> from torch.distributions import Normal
        >>> from bayesrnn.predictive import Predictive
        >>> p = Predictive.from_draws(Normal(torch.tensor([[0.0], [1.0], [2.0]]), torch.ones(3, 1)))
        >>> round(jackknife(p, lambda q: q.mean).corrected.item(), 6)
        1.0
    """
    _check_draws(predictive, "jackknife")
    blocks = predictive.origin.blocks(64)
    if len(blocks) < 2:
        raise ValueError(
            f"a jackknife needs at least two blocks of draws that are independent of one another, but "
            f"{predictive.draws_used} draws in blocks of {predictive.origin.block_size} are only {len(blocks)}. "
            "Predict with more draws."
        )
    total = torch.arange(predictive.draws_used)
    values = []
    for block in blocks:
        left = torch.cat([total[: block.start], total[block.stop :]])
        values.append(_value(statistic(predictive.keep_draws(left))))
    without, whole = torch.stack(values), _value(statistic(predictive))
    count = len(blocks)
    centre = without.mean(0)
    error = ((without - centre).square().sum(0) * (count - 1) / count).sqrt()
    return Jackknife(whole, count * whole - (count - 1) * centre, error, count)


def convergence(
    predictive: Kept, statistics: dict[str, Statistic] | None = None, sizes: Sequence[int] | None = None
) -> Any:
    """Return a table of statistics against the number of draws: were there enough?

    Args:
        predictive: With its draws kept.
        statistics: Named functions of a predictive; by default its mean standard deviation or entropy, its mean
            epistemic part and, over rows, the mean standard error of the mean or the probabilities.
        sizes: Numbers of draws; by default powers of two times the block, and all.

    Returns:
        A pandas DataFrame with a line for each number of draws, `draws` first.

    Raises:
        ValueError: If a size is below 2 or above the draws that were kept.
        TypeError: If it is a `TokenPredictive`, which keeps blocks of draws and not single ones.
    """
    import pandas as pd

    _check_draws(predictive, "convergence")
    total, block = predictive.draws_used, predictive.origin.block_size
    chosen = list(sizes) if sizes is not None else _sizes(total, max(block, 4))
    for size in chosen:
        if check_whole(size, "sizes", 2) > total:
            raise ValueError(f"sizes asks for {size} draws, but the predictive holds {total}. Predict with more draws.")
    wanted = statistics or _defaults(predictive)
    rows = []
    for size in chosen:
        part = predictive if size == total else _first(predictive, size)
        rows.append({"draws": size} | {name: float(_value(f(part)).mean()) for name, f in wanted.items()})
    return pd.DataFrame(rows)


def _check_draws(predictive: Any, name: str) -> None:
    """Refuse what keeps no single draws."""
    if isinstance(predictive, TokenPredictive):
        raise TypeError(
            f"{name} follows single draws, but a TokenPredictive keeps averages over blocks of them. Its "
            "standard_error and perplexity_corrected say what more draws would change; keep_draws gives the result of "
            "fewer blocks."
        )


def _first(predictive: Kept, size: int) -> Kept:
    """The first draws only; if they are whole blocks, their errors come from the blocks."""
    part = predictive.keep_draws(torch.arange(size))
    block = predictive.origin.block_size
    return part if size < 2 * block else replace(part, origin=replace(part.origin, block_size=block))


def _sizes(total: int, first: int) -> list[int]:
    sizes = []
    while first < total:
        sizes.append(first)
        first *= 2
    return [*sizes, total]


def _defaults(predictive: Kept) -> dict[str, Statistic]:
    spread = "std" if isinstance(predictive, ContinuousPredictive) else "entropy"
    return {
        spread: lambda p: getattr(p, spread),
        "epistemic": lambda p: p.epistemic,
        "standard_error": lambda p: p.standard_error,
    }


def _value(value: Tensor | float) -> Tensor:
    return torch.as_tensor(value).double()
