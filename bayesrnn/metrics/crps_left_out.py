"""The CRPS of a Gaussian mixture without each block of its draws, from one pass over the pairs of draws."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bayesrnn.predictive import gaussian_law

from .crps import absolute_moment

_PIECE = 2**21


def crps_without_blocks(predictive: Any, y: Tensor, blocks: Sequence[slice]) -> list[Tensor] | None:
    """Return the CRPS of each target without each block of draws, (B, ...) each; None for any other kind of law.

    As `crps_values` of the predictive without those draws, whose pairs are not gone through again for each block.
    """
    normal = gaussian_law(predictive.law)
    if normal is None or len(normal.loc) != predictive.draws_used:
        return None
    draws = len(normal.loc)
    owner = torch.empty(draws, dtype=torch.long)
    for number, block in enumerate(blocks):
        owner[block] = number
    means, stds = (t.expand(normal.batch_shape).reshape(draws, -1) for t in (normal.loc, normal.scale))
    values = y.double().reshape(-1)
    step = max(_PIECE // draws**2, 1)
    pieces = [slice(start, start + step) for start in range(0, len(values), step)]
    parts = [_without(means[:, part], stds[:, part], values[part], owner.to(y.device)) for part in pieces]
    return list(torch.cat(parts, 1).reshape(len(blocks), *y.shape))


def _without(means: Tensor, stds: Tensor, y: Tensor, owner: Tensor) -> Tensor:
    """Return the scores (R, n) of mixtures (S, n) without the draws of each of the R owners."""
    size = int(owner.max()) + 1
    first, second = torch.triu_indices(len(means), len(means), 1, device=means.device)
    apart = absolute_moment(means[first] - means[second], torch.hypot(stds[first], stds[second]))
    between = _sums(apart, owner[first] * size + owner[second], size**2).unflatten(0, (size, size))
    of_pairs = between.sum((0, 1)) - between.sum(0) - between.sum(1) + between.diagonal().T
    near, own = absolute_moment(y - means, stds), stds * 2 / math.sqrt(math.pi)  # A(0, 2 s^2)
    of_near, of_own = (t.sum(0) - _sums(t, owner, size) for t in (near, own))
    left = len(means) - owner.bincount(minlength=size).double()[:, None]
    return of_near / left - (2 * of_pairs + of_own) / (2 * left**2)


def _sums(values: Tensor, index: Tensor, size: int) -> Tensor:
    return values.new_zeros(size, values.shape[1]).index_add_(0, index, values)
