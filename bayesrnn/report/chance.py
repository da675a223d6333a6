"""What chance adds to a calibration error where targets depend on one another."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from bayesrnn.metrics import Score
from bayesrnn.metrics.pairs import Pairs
from bayesrnn.metrics.score import Array
from bayesrnn.plots.bands import effective_size
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive, TokenPredictive


def with_effective_floors(pairs: Pairs, scores: Mapping[str, Score]) -> dict[str, Score]:
    r"""Return the scores with floors for as many independent targets as these n are worth.

    What a calibrated model scores by chance falls as $1/\sqrt n$. Targets of one sequence (forecasts that overlap)
    are worth $n/d$ independent ones, so the floor is $\sqrt d$ times as high. The design effect d is that of the
    squared standardized error, or of confidence minus correctness.
    """
    errors = _errors(pairs)
    if errors is None:
        return dict(scores)
    grown = (len(errors) / effective_size(errors[:, None], pairs.sequences)) ** 0.5
    return {
        name: score if score.floor is None else _raised(score, score.floor, grown) for name, score in scores.items()
    }


def _errors(pairs: Pairs) -> Array | None:
    """Return for each target what is 0 on average (but for a constant) where a model is calibrated."""
    predictive = pairs.predictive
    if int(pairs.sequences.max()) + 1 == len(pairs.sequences):
        return None
    if isinstance(predictive, ContinuousPredictive):
        with np.errstate(divide="ignore", invalid="ignore"):
            squares = pairs.take((predictive.mean - torch.as_tensor(pairs.target)) ** 2) / pairs.take(
                predictive.variance
            )
        return squares if np.isfinite(squares).all() else None
    if isinstance(predictive, ClassPredictive):
        right = predictive.probabilities.argmax(-1) == torch.as_tensor(pairs.target)
        return np.asarray(pairs.take(predictive.probabilities.amax(-1)) - pairs.take(right))
    if isinstance(predictive, TokenPredictive) and predictive.confidence is not None and predictive.correct is not None:
        return np.asarray(pairs.take(predictive.confidence) - pairs.take(predictive.correct))
    return None


def _raised(score: Score, floor: float, grown: float) -> Score:
    ends = score.interval
    if ends is not None:  # what chance adds was taken off the lower end
        ends = max(ends[0] - (grown - 1) * floor, 0.0), ends[1]
    return replace(score, floor=grown * floor, interval=ends)
