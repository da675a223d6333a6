"""Quantiles from a cdf: by Newton steps and bisection for continuous targets, by bisection for counts."""

from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]
_STEPS = 200
_INVERSION_TOLERANCE = 1e-12


def invert_continuous(
    cdf: Function, density: Function | None, q: Tensor, low: Tensor, high: Tensor, start: Tensor | None = None
) -> Tensor:
    """Return y with cdf(y) = q, to 1e-12 of its size and of the bracket; all tensors have one shape.

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
