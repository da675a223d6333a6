"""Errors that come from finitely many draws: standard errors over blocks of draws, and the jackknife."""

import math
from typing import Any

import torch
from torch import Tensor

from bayesrnn.predictive.origin import DETERMINISTIC, Origin


def block_standard_error(draws: Tensor, origin: Origin) -> Tensor:
    r"""Return the Monte Carlo standard error of the mean over axis 0.

    $\sqrt{\frac{1}{R}\widehat{\mathrm{Var}}_r \bar{x}_r}$ over the R replicate blocks (single draws when independent).
    Zero where nothing was sampled; infinite with a single block or fewer than all draws, which tell nothing about it.
    """
    if origin.sampling == DETERMINISTIC:
        return torch.zeros_like(draws[0])
    blocks = origin.blocks()
    if len(blocks) < 2 or len(draws) < origin.draws:
        return torch.full_like(draws[0], torch.inf)
    means = draws if origin.block_size == 1 else torch.stack([draws[b].mean(0) for b in blocks])
    return means.std(0, correction=1) / len(blocks) ** 0.5


def existing(error: Tensor) -> Tensor | None:
    """Return standard errors, or None where they do not exist (they are infinite)."""
    return None if bool(torch.isinf(error).any()) else error


def check_errors(errors: dict[str, Tensor] | None) -> dict[str, Tensor]:
    """Return the standard errors of all moments, if they are known.

    Raises:
        ValueError: If they are not.
    """
    if errors is None:
        raise ValueError(
            "the standard errors of all moments are not known, only the standard_error of the mean. Predict with "
            "control='linear', or ask for one: inference.jackknife(predictive, lambda p: p.epistemic).standard_error."
        )
    return errors


def check_error_shape(error: Tensor | None, shape: torch.Size, of: str) -> None:
    """Refuse standard errors of another shape than the statistic's."""
    if error is not None and error.shape != shape:
        raise ValueError(f"standard_error must have the shape of {of}, {tuple(shape)}, not {tuple(error.shape)}.")


def spread(values: Any) -> float:
    r"""Return the standard error of leave-one-out values, $\sqrt{\frac{R-1}{R}\sum_r(\theta_{(-r)}-\bar\theta)^2}$."""
    count = len(values)
    return math.sqrt((count - 1) / count * float(((values - values.mean()) ** 2).sum()))


def nll_without_each_block(blocks: Tensor | None, mask: Tensor) -> Tensor | None:
    """Return the nll of the scored tokens without each block of draws in turn, (R,); None for one block."""
    if blocks is None or len(blocks) < 2:
        return None
    values = []
    for r in range(len(blocks)):
        rest = torch.cat([blocks[:r], blocks[r + 1 :]])[:, mask].double()
        values.append(-(torch.logsumexp(rest, 0) - math.log(len(rest))).mean())
    return torch.stack(values)


def block_indices(draws: Any, count: int) -> Tensor:
    """Return indices of blocks as int64; a mask of bools becomes the places where it is True."""
    try:
        index = torch.as_tensor(draws)
    except (TypeError, ValueError, RuntimeError):
        index = torch.empty(())
    if index.dtype == torch.bool and index.shape == (count,):
        index = index.nonzero().flatten()
    if index.dim() != 1 or index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise TypeError(
            f"the blocks to keep are given by their numbers, a list or a tensor (K,), but {draws!r:.60} was given. "
            "For the first two: keep_draws([0, 1])."
        )
    if not index.numel() or int(index.min()) < -count or int(index.max()) >= count:
        raise ValueError(
            f"this predictive keeps {count} blocks of draws, numbered 0 to {count - 1}, but {index.tolist()[:5]} was "
            "asked for. They number blocks, not single draws; keep at least one."
        )
    return index.long()
