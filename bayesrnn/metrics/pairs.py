"""Bring a predictive and its target together: shapes, missing values, padding, sequences."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bayesrnn._checks import as_values, check_choice, check_lengths, rows_of
from bayesrnn.metrics.score import Array, Options
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive, Predictive, TokenPredictive


@dataclass(frozen=True)
class Pairs:
    """A predictive whose statistics come in float64, its target, which targets count, and their sequences."""

    predictive: Any
    target: Tensor | None
    keep: NDArray[np.bool_]
    sequences: NDArray[np.int64]
    dropped: int

    def take(self, items: Tensor) -> Array:
        """Return the kept items of a tensor (B, ...) or (B, ..., d) as float64: (n,) or (n, d)."""
        depth = len(self.predictive.shape)
        flat = items.detach().cpu().double().reshape(-1, *items.shape[depth:]).numpy()
        return flat[self.keep]


def pair(predictive: Predictive, target: Any, options: Options, *, need_target: bool = True) -> Pairs:
    """Check a predictive against its target and line them up.

    Raises:
        TypeError: If the first argument is no predictive, or an option is unknown.
        ValueError: If shapes differ, targets are NaN, or nothing is left to score.
    """
    if not isinstance(predictive, ContinuousPredictive | ClassPredictive | TokenPredictive):
        raise TypeError(
            f"a Predictive is needed first, but a {type(predictive).__name__} was given. "
            "Wrap predictions with Predictive.from_gaussian, from_samples or from_probabilities; the target is second."
        )
    check_options(options)
    shape = predictive.shape
    mask = _mask(predictive, options)
    if isinstance(predictive, TokenPredictive) and target is None:
        target, need_target = predictive.target, False
    if target is None and need_target:
        raise ValueError("this metric compares with the target, but None was given.")
    dropped = 0
    if target is not None:
        if isinstance(predictive, ClassPredictive):
            target = predictive.numbered(target)
        target = as_values(target, "target").detach().to(predictive.device)
        if target.shape != shape:
            raise ValueError(
                f"target of shape {tuple(target.shape)} does not fit the predictive of shape {tuple(shape)}: "
                "give one target for each prediction (squeeze a trailing dimension of 1, check rows before steps)."
            )
        target, mask, dropped = _missing(
            target, mask, check_choice(options.get("nan", "raise"), "nan", ("raise", "drop"))
        )
        if isinstance(predictive, ContinuousPredictive):
            _check_counts(predictive, target, mask)
        else:
            target = torch.where(mask, target, torch.zeros_like(target))
    if not bool(mask.any()):
        raise ValueError("no target is left to score: every one is masked, beyond its row's length, or NaN.")
    keep = mask.cpu().reshape(-1).numpy()
    sequences = numbered(_sequences(predictive, options.get("sequences"))[keep])
    return Pairs(predictive.to(torch.float64), target, keep, sequences, dropped)


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that no metric takes.

    Raises:
        TypeError: If there is one.
    """
    unknown = set(options) - set(Options.__annotations__)
    if unknown:
        raise TypeError(
            f"unknown options {sorted(unknown)}; legal everywhere are {sorted(Options.__annotations__)}, and in some "
            "places level= (of an interval), q= (of a quantile), bins= (of a calibration error): see its signature."
        )


def check_several(sequences: NDArray[np.int64]) -> int:
    """Return the number of sequences.

    Raises:
        ValueError: If there is only one: how much a number varies between sequences is then unknown.
    """
    count = int(sequences.max()) + 1
    if count < 2:
        raise ValueError(
            "an interval needs the variation between sequences, and there is only 1. Give the sequence of each target "
            "with sequences=, or leave interval= out."
        )
    return count


def numbered(ids: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of each id, in the order of their first appearance: equal groupings get equal numbers."""
    _, first, which = np.unique(ids, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first, kind="stable"), kind="stable")[which.reshape(-1)]


def common_sequences(predictives: Mapping[str, Any], sequences: Any) -> Any:
    """Return one grouping of the rows for a paired comparison: the given one, else the ids that predictives carry.

    Args:
        predictives: Name → predictive of the same rows, the reference first.
        sequences: What the caller gave; None chooses.

    Raises:
        ValueError: If two predictives carry ids that group the rows differently.
    """
    if sequences is not None:
        return sequences
    known = {name: p.sequence_ids for name, p in predictives.items() if p.sequence_ids is not None}
    if not known:
        return None
    (first, chosen), *others = known.items()
    for name, ids in others:
        if not np.array_equal(numbered(np.asarray(ids.cpu())), numbered(np.asarray(chosen.cpu()))):
            raise ValueError(
                f"{first!r} and {name!r} carry sequence ids that group the rows differently, so their resamples cannot "
                "be paired. Say with sequences= which rows belong together."
            )
    return chosen


def _mask(predictive: Any, options: Options) -> Tensor:
    shape = predictive.shape
    mask = torch.ones(shape, dtype=torch.bool, device=predictive.device)
    if isinstance(predictive, TokenPredictive):
        mask = predictive.mask
    given = options.get("mask")
    if given is not None:
        given = as_values(given, "mask").to(predictive.device)
        if given.shape != shape or given.dtype != torch.bool:
            raise ValueError(
                f"mask must be bool of the target's shape {tuple(shape)}, True where a target is scored, but a "
                f"{given.dtype} of shape {tuple(given.shape)} was given."
            )
        mask = mask & given
    lengths = options.get("lengths")
    if lengths is not None:
        if len(shape) < 2:
            raise ValueError(f"lengths need targets of shape (rows, steps), but they have shape {tuple(shape)}.")
        counts = check_lengths(lengths, shape[0], shape[1]).to(predictive.device)
        inside = torch.arange(shape[1], device=predictive.device) < counts[:, None]
        mask = mask & inside.reshape(*inside.shape, *(1 for _ in shape[2:]))
    return mask


def _missing(target: Tensor, mask: Tensor, nan: str) -> tuple[Tensor, Tensor, int]:
    if not target.is_floating_point():
        return target, mask, 0
    bad = ~torch.isfinite(target)
    missing = bad & mask
    count = int(missing.sum())
    if count and nan == "raise":
        raise ValueError(
            f"target holds {count} NaN or infinite values of {int(mask.sum())} (first rows {rows_of(missing)[:5]}). "
            'Pass nan="drop" to leave them out, or impute them.'
        )
    return torch.where(bad, torch.zeros_like(target), target), mask & ~bad, count


def _check_counts(predictive: ContinuousPredictive, target: Tensor, mask: Tensor) -> None:
    """Refuse targets that a distribution of counts can never give: they have a score, and it means nothing."""
    if not predictive.distribution.is_count:
        return
    bad = mask & ((target < 0) | (target != target.round()))
    if bool(bad.any()):
        raise ValueError(
            f"the predictive is of counts, whole numbers from 0, but {int(bad.sum())} targets are not, such as "
            f"{float(target[bad][0]):g}. Give the counts themselves, or choose a continuous likelihood."
        )


def _sequences(predictive: Any, sequences: Any) -> NDArray[Any]:
    shape = tuple(predictive.shape)
    if sequences is None:
        sequences = predictive.sequence_ids if predictive.sequence_ids is not None else np.arange(shape[0])
    ids = np.asarray(sequences.cpu() if isinstance(sequences, Tensor) else sequences)
    if ids.dtype.kind == "f" and bool(np.isnan(ids).any()):
        raise ValueError(f"sequences holds {int(np.isnan(ids).sum())} NaN: give every row the id of its sequence.")
    if ids.shape == shape:
        return ids.reshape(-1)
    if ids.shape == shape[:1]:
        return np.repeat(ids, int(np.prod(shape[1:], dtype=np.int64)))
    raise ValueError(
        f"sequences must be the sequence id of each row ({shape[0]},) or of each target {shape}, "
        f"not of shape {ids.shape}."
    )
