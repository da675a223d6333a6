"""Scores for parts of the data: by horizon, by group, by position, by frequency."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn import metrics
from bayesrnn.metrics import Score
from bayesrnn.metrics.bootstrap import FEWEST_SEQUENCES
from bayesrnn.metrics.pairs import Pairs
from bayesrnn.predictive import ContinuousPredictive, TokenPredictive

_MOST_STEPS = 48  # more steps than this are gathered in bands
_BANDS = 12


@dataclass(frozen=True)
class Part:
    """Some of the targets: a label, and which."""

    label: str
    mask: Tensor
    steps: slice | None = None


def by_step(pairs: Pairs) -> list[Part]:
    """Return a part for each step, or band of steps, of targets (rows, steps, ...)."""
    shape = tuple(pairs.predictive.shape)
    if len(shape) < 2 or shape[1] < 2:
        return []
    keep = _keep(pairs)
    steps = shape[1]
    edges = np.arange(steps + 1) if steps <= _MOST_STEPS else np.unique(np.linspace(0, steps, _BANDS + 1).astype(int))
    parts = []
    for low, high in pairwise(edges.tolist()):
        mask = torch.zeros_like(keep)
        mask[:, low:high] = keep[:, low:high]
        label = str(low + 1) if high == low + 1 else f"{low + 1}–{high}"
        parts.append(Part(label, mask, slice(low, high)))
    return [part for part in parts if bool(part.mask.any())]


def by_group(pairs: Pairs, groups: Mapping[str, Tensor]) -> list[Part]:
    """Return a part for each group of rows, (rows,) bool by its label."""
    keep = _keep(pairs)
    parts = [Part(label, keep & rows.reshape(-1, *(1 for _ in keep.shape[1:]))) for label, rows in groups.items()]
    return [part for part in parts if bool(part.mask.any())]


def by_frequency(pairs: Pairs, counts: Tensor | None) -> list[Part]:
    """Return parts of a token stream by how often the token occurs: in `counts` (vocabulary,), or in these targets."""
    predictive = pairs.predictive
    if not isinstance(predictive, TokenPredictive) or predictive.target is None:
        return []
    keep, tokens = _keep(pairs), predictive.target.long().cpu()
    if counts is None:
        counts = torch.bincount(tokens[keep].flatten())
    if int(tokens[keep].max()) >= len(counts):
        raise ValueError(f"token_counts has {len(counts)} entries, but token {int(tokens[keep].max())} was scored.")
    often = torch.as_tensor(counts).cpu()[tokens.clamp(0, len(counts) - 1)]
    parts = []
    edges = [0, 10, 100, 1000, 10000, 2**62]
    for low, high in pairwise(edges):
        label = f"below {high}" if low == 0 else f"{low} and more" if high == 2**62 else f"{low}–{high - 1}"
        parts.append(Part(label, keep & (often >= low) & (often < high)))
    return [part for part in parts if bool(part.mask.any())]


def score_parts(
    pairs: Pairs, parts: Sequence[Part], level: float, options: Mapping[str, Any], interval: float
) -> list[dict[str, Any]]:
    """Return one record per part: how many targets, and a few scores with intervals.

    `off` says that the (Bonferroni) interval of the calibration number excludes what a calibrated model gives.
    """
    records = []
    for part in parts:
        if isinstance(pairs.predictive, ContinuousPredictive):
            scores = _continuous(pairs, part, level, options, interval)
            ideal = float(pairs.predictive.attainable_coverage(level).cpu()[part.mask].mean())
        else:
            scores, ideal = _classes(pairs, part, options, interval), 0.0
        first = next(iter(scores.values()))
        record: dict[str, Any] = {"part": part.label, "targets": first.n, "sequences": first.sequences}
        for name, score in scores.items():
            record[name] = score.value
            if score.interval is not None:
                record[f"{name}_low"], record[f"{name}_high"] = score.interval
        record["off"] = _off(first, ideal, interval, len(parts))
        records.append(record)
    return records


def _continuous(
    pairs: Pairs, part: Part, level: float, options: Mapping[str, Any], interval: float
) -> dict[str, Score]:
    predictive, target, mask = pairs.predictive, pairs.target, part.mask
    sequences = _sequence_ids(pairs)
    if part.steps is not None:  # score the step's own distribution only, not the whole path again
        columns = (slice(None), part.steps)
        distribution = predictive.distribution.select(columns)
        predictive = ContinuousPredictive(distribution, predictive.origin)
        target, mask, sequences = target[columns], mask[columns], sequences[columns]  # type: ignore[index]
    else:
        rows = mask.reshape(len(mask), -1).any(1).nonzero().flatten()
        predictive, target, mask, sequences = predictive[rows], target[rows], mask[rows], sequences[rows.numpy()]  # type: ignore[index]
    kept = {**options, "mask": mask, "sequences": sequences}
    enough = len(np.unique(sequences[mask.numpy()])) > 1
    bootstrap = {**kept, "interval": interval} if enough else kept
    wanted: dict[str, Callable[[], Score]] = {
        "coverage": lambda: metrics.coverage(predictive, target, level=level, **bootstrap),
        "width": lambda: metrics.width(predictive, target, level=level, **kept),
        "crps": lambda: metrics.crps(predictive, target, **bootstrap),
        "rmse": lambda: metrics.rmse(predictive, target, **kept),
        "bias": lambda: metrics.bias(predictive, target, **bootstrap),
    }
    scores = {}
    for name, score in wanted.items():
        # the table of all figures names what cannot be computed (quantiles of streamed moments, say) and why
        with suppress(ValueError):
            scores[name] = score()
    return scores


def _classes(pairs: Pairs, part: Part, options: Mapping[str, Any], interval: float) -> dict[str, Score]:
    predictive, target = pairs.predictive, pairs.target
    sequences = _sequence_ids(pairs)
    kept = {**options, "mask": part.mask, "sequences": sequences}
    enough = len(np.unique(sequences[part.mask.numpy()])) > 1
    bootstrap = {**kept, "interval": interval} if enough else kept
    scores: dict[str, Score] = {}
    if not isinstance(predictive, TokenPredictive) or (
        predictive.confidence is not None and predictive.correct is not None
    ):
        scores["confidence_gap"] = metrics.confidence_gap(predictive, target, **bootstrap)
        scores["accuracy"] = metrics.accuracy(predictive, target, **bootstrap)
        error = metrics.expected_calibration_error(predictive, target, floor=True, **kept)
        scores["calibration_error"] = error
        scores["floor"] = _floor(error)
    scores["nll"] = metrics.nll(predictive, target, **bootstrap)
    return scores


def _floor(score: Score) -> Score:
    return Score("floor", score.floor or 0.0, "calibrated model of this size", score.n, score.sequences, score.draws)


def _off(score: Score, ideal: float, interval: float, parts: int) -> bool | None:
    if (
        score.replicates is None
        or score.name not in ("coverage", "confidence_gap")
        or score.sequences < FEWEST_SEQUENCES
    ):
        return None
    tail = (1 - interval) / 2 / max(parts, 1)
    low, high = np.nanquantile(score.replicates, [tail, 1 - tail])
    return bool(low > ideal or high < ideal)


def _keep(pairs: Pairs) -> Tensor:
    return torch.as_tensor(pairs.keep.reshape(tuple(pairs.predictive.shape)).copy())


def _sequence_ids(pairs: Pairs) -> Any:
    ids = np.zeros(pairs.keep.shape, dtype=np.int64)
    ids[pairs.keep] = pairs.sequences
    return ids.reshape(tuple(pairs.predictive.shape))
