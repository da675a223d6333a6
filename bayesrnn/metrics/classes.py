"""Scores of class targets: accuracy, Brier and its parts, ranked probability, entropies, prediction sets."""

from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bayesrnn._checks import check_level
from bayesrnn.metrics._reliability import check_classes, top_label_items
from bayesrnn.metrics.metric import Metric, evaluate
from bayesrnn.metrics.pairs import pair
from bayesrnn.metrics.score import Options, Score
from bayesrnn.predictive import ClassPredictive, Predictive


def accuracy(predictive: Predictive, target: Any = None, **options: Unpack[Options]) -> Score:
    """Share of targets that are the most probable class.

    Example:
        >>> float(accuracy(Predictive.from_probabilities(torch.eye(3)), torch.tensor([0, 1, 1])))
        0.6666666666666666
    """
    check_classes(predictive, "accuracy")
    definition = "share of targets that are the most probable class"
    metric = Metric("accuracy", definition, lambda p, y: top_label_items(p, y)[..., 1], share=True)
    return evaluate(metric, predictive, target, options)


def brier_score(predictive: Predictive, target: Any, **options: Unpack[Options]) -> Score:
    r"""Brier score, sum over classes, in [0, 2]: mean of $\sum_k (\bar p_k - 1\{y = k\})^2$.

    Finite draws bias it upwards by $\sum_k \mathrm{Var}(p_k)/S$; `monte_carlo=True` gives the corrected value.

    Source: Brier 1950 (the sum form: for two classes it is twice the half form).
    """
    check_classes(predictive, "brier_score", tokens=False)

    def items(p: ClassPredictive, y: Tensor) -> Tensor:
        return ((p.probabilities - _one_hot(p, y)) ** 2).sum(-1)

    metric = Metric("brier_score", "sum over classes, 0 to 2", items, correct=True)
    return evaluate(metric, predictive, target, options)


@dataclass(frozen=True)
class BrierDecomposition:
    """Brier score = miscalibration - discrimination + uncertainty.

    Attributes:
        score: The Brier score.
        miscalibration: What recalibrating the probabilities would gain; 0 is best.
        discrimination: What the forecasts know beyond the class frequencies; large is best.
        uncertainty: Score of always forecasting the class frequencies.
    """

    score: float
    miscalibration: float
    discrimination: float
    uncertainty: float


def brier_decomposition(predictive: Predictive, target: Any, **options: Unpack[Options]) -> BrierDecomposition:
    r"""Split the Brier score without bins: isotonic regression of each class's indicator on its probability.

    $S = (S - S_{iso}) - (S_{freq} - S_{iso}) + S_{freq}$, summed over classes; both parts are zero or more.

    Source: Dimitriadis, Gneiting & Jordan 2021 (CORP), section 3.
    """
    from sklearn.isotonic import IsotonicRegression

    check_classes(predictive, "brier_decomposition", tokens=False)
    pairs = pair(predictive, target, options)
    p = pairs.take(pairs.predictive.probabilities)
    hit = pairs.take(_one_hot(pairs.predictive, pairs.target))
    fitted = np.column_stack([IsotonicRegression().fit_transform(p[:, k], hit[:, k]) for k in range(p.shape[1])])
    score, recalibrated, climate = (
        float(((forecast - hit) ** 2).sum(1).mean()) for forecast in (p, fitted, hit.mean(0, keepdims=True))
    )
    return BrierDecomposition(score, score - recalibrated, climate - recalibrated, climate)


def ranked_probability_score(predictive: Predictive, target: Any, **options: Unpack[Options]) -> Score:
    r"""Ranked probability score of ordered classes: mean of $\sum_{k<K} (\bar P(y \le k) - 1\{y \le k\})^2$.

    Source: Epstein 1969 (not divided by K - 1).
    """
    check_classes(predictive, "ranked_probability_score", tokens=False)

    def items(p: ClassPredictive, y: Tensor) -> Tensor:
        return ((p.probabilities - _one_hot(p, y)).cumsum(-1)[..., :-1] ** 2).sum(-1)

    definition = "ordered classes, sum over thresholds"
    metric = Metric("ranked_probability_score", definition, items, correct=True)
    return evaluate(metric, predictive, target, options)


def mean_entropy(predictive: Predictive, target: Any = None, **options: Unpack[Options]) -> Score:
    """Mean entropy of the predictive, nats; finite draws bias it downwards.

    For tokens the entropies come averaged over all draws: by how much, and their Monte Carlo error, is unknown.
    """
    return _entropy_score("mean_entropy", "entropy", predictive, target, options)


def mean_mutual_information(predictive: Predictive, target: Any = None, **options: Unpack[Options]) -> Score:
    """Mean mutual information between target and weights (the epistemic part), nats; finite draws bias it downwards."""
    return _entropy_score("mean_mutual_information", "epistemic", predictive, target, options)


def set_coverage(predictive: Predictive, target: Any, *, level: float = 0.9, **options: Unpack[Options]) -> Score:
    """Share of targets inside the smallest set of classes whose probability reaches `level`.

    The set holds at least `level`, so a calibrated model covers at least that much.
    """
    level = check_level(level)
    check_classes(predictive, "set_coverage", tokens=False)

    def items(p: ClassPredictive, y: Tensor) -> Tensor:
        return _inside(p, level).gather(-1, p.class_index(y)[..., None])[..., 0].double()

    definition = f"share inside the smallest set of mass {level:g}"
    metric = Metric("set_coverage", definition, items, share=True)
    return evaluate(metric, predictive, target, options)


def set_size(predictive: Predictive, target: Any = None, *, level: float = 0.9, **options: Unpack[Options]) -> Score:
    """Mean number of classes in the smallest set whose probability reaches `level` (no target needed)."""
    level = check_level(level)
    check_classes(predictive, "set_size", tokens=False)
    definition = f"classes in the smallest set of mass {level:g}"
    metric = Metric("set_size", definition, lambda p, _: _inside(p, level).double().sum(-1), need_target=False)
    return evaluate(metric, predictive, target, options)


def _inside(p: ClassPredictive, level: float) -> Tensor:
    ordered, index = p.probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(before, dtype=torch.bool).scatter(-1, index, before < level - 1e-12)


def _one_hot(p: ClassPredictive, y: Any) -> Tensor:
    return F.one_hot(p.class_index(y), p.classes).double()


def _entropy_score(name: str, part: str, predictive: Predictive, target: Any, options: Options) -> Score:
    check_classes(predictive, name)

    def items(p: Any, _: Any) -> Tensor:
        value = getattr(p, part)
        if value is None:
            raise ValueError(f"this token predictive did not keep its {part}: compute it with the entropies.")
        return value

    definition = "mean over targets, nats"
    metric = Metric(name, definition, items, correct=True, need_target=False)
    return evaluate(metric, predictive, target, options)
