"""Integrals and sums over the values of a target, on panels between its quantiles."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from bayesrnn.predictive.distributions.abstract import AbstractDistribution

Function = Callable[[Tensor], Tensor]
_STEPS = 200
_INVERSION_TOLERANCE = 1e-12


def invert_continuous(
    cdf: Function, density: Function | None, q: Tensor, low: Tensor, high: Tensor, start: Tensor | None = None
) -> Tensor:
    """Return y with cdf(y) = q to 1e-12 of its size and of the bracket, or a few last bits; all tensors of one shape.

    Newton steps where they stay inside the bracket [low, high], bisection where they do not; the bracket is widened
    first until it holds the level. With a `start` the bracket is known to hold it.
    """
    low, high = _widen(cdf, q, low, high) if start is None else (low, high)
    floor = 1e-3 * torch.maximum(torch.maximum(low.abs(), high.abs()), high - low)
    near = _INVERSION_TOLERANCE * (high - low)  # far from 0 the size of y says nothing of the spread
    smallest = torch.finfo(q.dtype).tiny
    y = 0.5 * (low + high) if start is None else start
    last = high - low
    done = torch.zeros_like(q, dtype=torch.bool)
    for _ in range(_STEPS):
        gap = cdf(y) - q
        low = torch.where(gap < 0, y, low)
        high = torch.where(gap >= 0, y, high)
        bits = 4 * torch.finfo(q.dtype).eps * y.abs()
        tolerance = torch.minimum(_INVERSION_TOLERANCE * torch.maximum(y.abs(), floor), torch.maximum(near, bits))
        new = 0.5 * (low + high)
        if density is not None:
            step = gap / density(y).clamp(min=smallest)
            inside = (y - step >= low) & (y - step <= high)
            # Newton only while its step shrinks by half: on a flat stretch of the cdf it would crawl or cycle
            new = torch.where(inside & (step.abs() < 0.5 * last.abs()), y - step, new)
            done |= inside & (step.abs() <= tolerance)
        done |= (gap == 0) | (high - low <= tolerance)
        new = torch.where(done, y, new)
        last, y = new - y, new
        if bool(done.all()):
            break
    return y


def invert_count(cdf: Function, q: Tensor, high: Tensor) -> Tensor:
    """Return the smallest whole number k with cdf(k) >= q; `high` is a first guess of an upper end."""
    reach = q - 1e-13  # a level that a cdf value meets up to rounding is met
    low = torch.full_like(q, -1.0)
    high = torch.ceil(high).clamp(min=1)
    for _ in range(_STEPS):
        short = cdf(high) < reach
        if not bool(short.any()):
            break
        low = torch.where(short, high, low)
        high = torch.where(short, 2 * high + 1, high)
    while bool((high - low > 1).any()):
        middle = torch.floor(0.5 * (low + high))
        met = cdf(middle) >= reach
        high = torch.where(met, middle, high)
        low = torch.where(met, low, middle)
    return high


def _widen(cdf: Function, q: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    smallest = torch.finfo(q.dtype).eps * torch.maximum(low.abs(), high.abs()) + torch.finfo(q.dtype).tiny
    width = torch.maximum(high - low, smallest)
    for _ in range(_STEPS):
        above, below = cdf(low) > q, cdf(high) < q
        if not bool((above | below).any()):
            break
        low = torch.where(above, low - width, low)
        high = torch.where(below, high + width, high)
        width = 2 * width
    return low, high


Integrand = Callable[[Tensor], Tensor]

PANELS = (1e-10, 1e-7, 1e-4, 1e-2, 0.1, 0.5, 0.9, 0.99, 1 - 1e-4, 1 - 1e-7, 1 - 1e-10)
_NODES, _STRIDES = 12, 40
_TOLERANCE = 2e-3
_SPLITS = 200


def quantiles_of(distribution: AbstractDistribution, levels: Sequence[float]) -> Tensor:
    """Return the quantiles of every target at the same levels, (Q, B, ...)."""
    asked = torch.tensor(levels, dtype=torch.float64, device=distribution.device).reshape(
        -1, *(1 for _ in distribution.shape)
    )
    return distribution.quantile(asked.expand(-1, *distribution.shape))


def integrate(make: Callable[[Tensor | None], Integrand], edges: Tensor, scale: Tensor | None = None) -> Tensor:
    """Return the integrals of K functions at once from the first to the last of `edges`, (K, B, ...).

    Gauss-Legendre on each panel. Where the last Legendre coefficients show that the nodes do not follow the function
    (steps of narrow components, kinks), the worst panel is halved until they add up to less than 0.2 % of the scale.
    The integrals were then off by at most 0.02 % in trials: mixtures of 20 to 100 wide and narrow distributions,
    levels mapped.

    Args:
        make: Gives the integrand, from (B, ...) to (K, B, ...), of all rows (None) or of those asked.
        edges: Ends of the panels in increasing order, (P + 1, B, ...).
        scale: What errors are compared with, (K, B, ...); the integrals themselves if not given.
    """
    function = make(None)
    panels = [_panel(function, low, high) for low, high in pairwise(edges)]
    values, errors = (torch.stack(parts) for parts in zip(*panels))
    total = values.sum(0)
    allowed = _TOLERANCE * (total.abs() if scale is None else scale)
    rough = errors.sum(0) > allowed
    rows = rough.transpose(0, 1).flatten(1).any(1).nonzero().flatten()
    if len(rows):
        start = edges[:, rows], values[:, :, rows], errors[:, :, rows]
        total[:, rows] = _refined(make(rows), *start, allowed[:, rows])
    return total


def sum_whole(function: Integrand, edges: Tensor) -> Tensor:
    """Return the sums of K functions over the whole numbers from the first to below the last of `edges`, (K, B, ...).

    Every number is visited where a panel holds at most 40 of them; else the function is taken as linear between 41.
    """
    total, at, value = 0.0, edges[0], function(edges[0])
    for low, high in pairwise(edges):
        for k in range(1, _STRIDES + 1):
            following = low + torch.floor((high - low) * k / _STRIDES)
            gap, last = following - at, value
            if not bool((gap > 0).any()):
                continue
            at, value = following, function(following)
            total = total + 0.5 * (gap + 1) * last + 0.5 * (gap - 1) * value
    return torch.as_tensor(total)


def _rules() -> Sequence[tuple[float, ...]]:
    """Nodes, weights, and what turns values at the nodes into the last two Legendre coefficients."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    high = np.polynomial.legendre.legvander(nodes, _NODES - 1)[:, -2:] * (np.arange(_NODES - 2, _NODES) + 0.5)
    return list(zip(nodes.tolist(), weights.tolist(), *(weights[:, None] * high).T.tolist()))


_RULES = _rules()


def _panel(function: Integrand, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The integral over a panel, and the size of the last two Legendre coefficients, about ten times its error."""
    half, middle = 0.5 * (high - low), 0.5 * (high + low)
    sums: list[Tensor | float] = [0.0, 0.0, 0.0]
    for node, *weights in _RULES:
        value = function(middle + node * half)
        sums = [total + weight * value for total, weight in zip(sums, weights)]
    integral, odd, even = (half * total for total in sums)
    return integral, odd.abs() + even.abs()


def _refined(function: Integrand, edges: Tensor, values: Tensor, errors: Tensor, allowed: Tensor) -> Tensor:
    low, high = edges[:-1], edges[1:]
    for _ in range(_SPLITS):
        if not bool((errors.sum(0) > allowed).any()):
            break
        worst = (errors / allowed.clamp(min=1e-300)).amax(1).argmax(0, keepdim=True)
        start, end = low.gather(0, worst), high.gather(0, worst)
        middle = 0.5 * (start + end)
        value, error = _panel(function, start[0], middle[0])
        new_value, new_error = _panel(function, middle[0], end[0])
        at = worst[:, None].expand(1, *allowed.shape)
        low, high = torch.cat([low, middle]), torch.cat([high.scatter(0, worst, middle), end])
        values = torch.cat([values.scatter(0, at, value[None]), new_value[None]])
        errors = torch.cat([errors.scatter(0, at, error[None]), new_error[None]])
    return values.sum(0)
