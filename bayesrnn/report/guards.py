"""What to know before trusting a predictive's figures: few targets, few draws, certainty, one class."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bayesrnn import metrics
from bayesrnn.metrics import Score
from bayesrnn.metrics.pairs import Pairs
from bayesrnn.predictive import (
    DETERMINISTIC,
    ClassPredictive,
    ContinuousPredictive,
    EmpiricalDistribution,
    TokenPredictive,
)

_FEW = 30


def guards(pairs: Pairs, scores: Mapping[str, Score], level: float) -> list[str]:
    """Return warnings in words, most important first.

    Args:
        pairs: Predictive and target, lined up.
        scores: By their names in words.
        level: Level of the intervals spoken about.
    """
    predictive = pairs.predictive
    size, sequences = int(pairs.keep.sum()), int(pairs.sequences.max()) + 1
    warnings = []
    if size < _FEW:
        warnings.append(f"Only {size} targets: no statement about calibration is firm with fewer than {_FEW}.")
    if sequences == 1:
        warnings.append(
            "All targets belong to one sequence, so how much the numbers would vary cannot be known: no intervals are "
            "given."
        )
    elif sequences < _FEW:
        warnings.append(
            f"Only {sequences} independent sequences: the bootstrap intervals are rough and rather too narrow."
        )
    if pairs.dropped:
        warnings.append(f"{pairs.dropped} missing targets were left out.")
    warnings += _draws(predictive, level)
    if isinstance(predictive, ContinuousPredictive):
        warnings += _degenerate(pairs)
    elif isinstance(predictive, ClassPredictive):
        warnings += _classes(pairs)
    warnings += _bins(pairs)
    blurred = [label for label, score in scores.items() if _blurred(score)]
    if blurred:
        warnings.append(
            f"Finite draws blur these numbers more than the finite data: {', '.join(blurred)}. Take more draws."
        )
    return warnings


def _draws(predictive: Any, level: float) -> list[str]:
    if predictive.sampling == DETERMINISTIC:
        return ["No draws: there is no epistemic part, and no Monte Carlo error."]
    draws = predictive.draws_used
    needed = round(2 / (1 - level)) - 1
    samples = isinstance(predictive, ContinuousPredictive) and isinstance(
        predictive.distribution, EmpiricalDistribution
    )
    if samples and draws < needed:
        return [f"{draws} samples cannot give {level * 100:g} % intervals, which need at least {needed}."]
    if draws < 19:
        return [
            f"Only {draws} draws: the epistemic part is rough, and every number carries a visible Monte Carlo error."
        ]
    return []


def _degenerate(pairs: Pairs) -> list[str]:
    warnings = []
    mean, variance = pairs.take(pairs.predictive.mean), pairs.take(pairs.predictive.variance)
    if len(mean) > 1 and np.ptp(mean) <= 1e-9 * (np.abs(mean).max() + 1e-300):
        warnings.append("All predictions are the same: the model does not use its input, and nothing can be ranked.")
    if (variance <= 0).any():
        warnings.append(
            f"{int((variance <= 0).sum())} predictions claim certainty (variance 0): likelihoods and standardized "
            "errors are undefined for them."
        )
    elif np.ptp(variance) <= 1e-9 * variance.max():
        warnings.append("The predicted spread is the same everywhere: it cannot tell easy targets from hard ones.")
    return warnings


def _classes(pairs: Pairs) -> list[str]:
    warnings = []
    probabilities, target = pairs.take(pairs.predictive.probabilities), pairs.take(pairs.target)  # type: ignore[arg-type]
    present = np.unique(target)
    if len(present) == 1:
        warnings.append(
            f"Only class {pairs.predictive.names[int(present[0])]} is present among the targets: nothing can be said "
            f"about the other {probabilities.shape[1] - 1}."
        )
    hard = int(((probabilities == 0) | (probabilities == 1)).any(1).sum())
    if hard:
        warnings.append(
            f"{hard} targets have a probability of exactly 0 or 1: a single surprise makes the likelihood infinite."
        )
    if len(probabilities) > 1 and np.ptp(probabilities, axis=0).max() <= 1e-9:
        warnings.append("All predictions are the same: the model does not use its input, and nothing can be ranked.")
    return warnings


def _bins(pairs: Pairs) -> list[str]:
    predictive = pairs.predictive
    if isinstance(predictive, ContinuousPredictive):
        return []
    if isinstance(predictive, TokenPredictive) and (predictive.confidence is None or predictive.correct is None):
        return []
    mask = np.zeros(pairs.keep.shape, dtype=bool)
    mask[pairs.keep] = True
    shape = tuple(predictive.shape)
    bins = metrics.reliability(predictive, pairs.target, mask=torch.as_tensor(mask.reshape(shape)))
    few = int((bins.count < _FEW).sum())
    if not few:
        return []
    return [
        f"{few} of the {len(bins.count)} filled bins of confidence hold fewer than {_FEW} targets: read them loosely."
    ]


def _blurred(score: Score) -> bool:
    if score.standard_error is None or score.interval is None or not np.isfinite(score.standard_error):
        return False
    half = (score.interval[1] - score.interval[0]) / 2
    return half > 0 and 2 * score.standard_error > half
