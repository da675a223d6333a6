"""Does uncertainty find the errors: risk against coverage, detection of errors and of shifted inputs."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from bayesrnn.metrics._reliability import check_classes, top_label_items
from bayesrnn.metrics.jackknife import left_out, sampled
from bayesrnn.metrics.metric import Metric, evaluate, evaluate_values
from bayesrnn.metrics.pairs import pair
from bayesrnn.metrics.score import Array, Options, Score
from bayesrnn.predictive import ContinuousPredictive, Predictive, TokenPredictive
from bayesrnn.predictive.finite_draws import spread


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Mean loss of the targets kept when the most uncertain are rejected first, by share kept."""

    coverage: Array
    risk: Array

    @property
    def area(self) -> float:
        """Mean risk over the shares kept (1/n, 2/n, ..., 1)."""
        return float(self.risk.mean())


def risk_coverage(
    predictive: Predictive, target: Any = None, *, uncertainty: Tensor | None = None, **options: Unpack[Options]
) -> RiskCoverage:
    """Return the risk-coverage curve; equally uncertain targets are averaged over their orders."""
    pairs = pair(predictive, target, options)
    values = pairs.take(_loss_items(uncertainty)(pairs.predictive, pairs.target))
    return risk_curve(values)


def area_under_risk_coverage(
    predictive: Predictive, target: Any = None, *, uncertainty: Tensor | None = None, **options: Unpack[Options]
) -> Score:
    """Area under the risk-coverage curve (AURC): mean risk over the shares kept, ties averaged.

    The loss is 0/1 for classes and tokens and the squared error for continuous targets; targets are rejected by
    `uncertainty` (B, ...), by default 1 - the largest probability, or the predictive variance. The error of finite
    draws is unknown where an uncertainty is given: it does not say what fewer draws would have made of it.

    Source: Geifman & El-Yaniv 2017 (arXiv:1705.08500), with ties averaged over their orders.
    """
    metric = Metric(
        "area_under_risk_coverage",
        "aurc_mean_ties_avg: 0/1 loss (classes), squared error (continuous)",
        _loss_items(uncertainty),
        reduce=lambda values: risk_curve(values).area,
        fixed=uncertainty is not None,
    )
    return evaluate(metric, predictive, target, options)


def error_auroc(
    predictive: Predictive, target: Any = None, *, uncertainty: Tensor | None = None, **options: Unpack[Options]
) -> Score:
    """Probability that a wrong prediction is more uncertain than a right one (AUROC of error detection).

    Args:
        predictive: Of classes or tokens.
        target: (B, ...) class indices.
        uncertainty: (B, ...) any measure; 1 - the largest probability by default. Try `predictive.epistemic`. The
            error of finite draws is then unknown: a tensor does not say what fewer draws would have made of it.
        **options: See `Options`.

    Raises:
        ValueError: If every prediction is right, or every one wrong: then there is nothing to detect.
    """
    check_classes(predictive, "error_auroc")
    metric = Metric(
        "error_auroc",
        "AUROC of uncertainty for errors",
        _loss_items(uncertainty),
        reduce=_auroc,
        fixed=uncertainty is not None,
    )
    return evaluate(metric, predictive, target, options)


def shift_auroc(
    inside: Predictive,
    outside: Predictive,
    *,
    uncertainty: Callable[[Any], Tensor] = lambda p: p.epistemic,
    **options: Unpack[Options],
) -> Score:
    """Probability that a shifted row is more uncertain than one like the training data (AUROC of shift detection).

    Args:
        inside: Predictive of rows like the training data.
        outside: Predictive of shifted rows: the positives.
        uncertainty: What is compared, (B, ...); the epistemic part by default.
        **options: interval, seed, resamples and monte_carlo of `Options`; each row is its own sequence.

    Raises:
        ValueError: If an option does not fit two sets of rows.
    """
    for name in ("mask", "lengths", "sequences"):
        if options.get(name) is not None:
            raise ValueError(f"shift_auroc compares two sets of rows and takes no {name}: select the rows beforehand.")

    def table(near: Any, far: Any) -> Array:
        values = [np.atleast_1d(uncertainty(p).cpu().double().reshape(-1).numpy()) for p in (near, far)]
        return np.column_stack([np.concatenate(values), np.repeat([0.0, 1.0], [len(v) for v in values])])

    both = inside.to(torch.float64), outside.to(torch.float64)
    values, draws = table(*both), min(p.draws_used for p in both)
    definition = "AUROC of uncertainty, shifted rows are the positives"
    metric = Metric("shift_auroc", definition, lambda p, _: uncertainty(p), reduce=_auroc)
    score = evaluate_values(metric, values, np.arange(len(values)), options, draws)
    wanted = options.get("monte_carlo", False)
    return replace(score, standard_error=_shift_error(lambda *p: _auroc(table(*p)), *both) if wanted else None)


def _shift_error(score: Callable[[Any, Any], float], near: Predictive, far: Predictive) -> float | None:
    """Standard error from the draws of both: together where they share them, else each with the other as it is."""
    drawn = [sampled(p) for p in (near, far)]
    if any(own and isinstance(p, TokenPredictive) for own, p in zip(drawn, (near, far))):
        return None  # entropies of tokens come averaged over all draws
    if all(drawn) and near.origin.shares_draws(far.origin):
        parts = [left_out(score, near, far)]
    else:
        one_by_one = (lambda p: score(p, far), near), (lambda p: score(near, p), far)
        parts = [left_out(*each) for own, each in zip(drawn, one_by_one) if own]
    known = [spread(values) for values in parts if values is not None]
    return math.hypot(*known) if len(known) == len(parts) else None


def risk_curve(values: Array) -> RiskCoverage:
    """Return the curve of (uncertainty, loss) pairs (n, 2)."""
    order = np.argsort(values[:, 0], kind="stable")
    uncertainty, loss = values[order, 0], values[order, 1]
    _, which, size = np.unique(uncertainty, return_inverse=True, return_counts=True)
    expected = (np.bincount(which, weights=loss) / size)[which]  # within a tie, each order is as likely
    kept = np.arange(1, len(loss) + 1)
    return RiskCoverage(kept / len(loss), expected.cumsum() / kept)


def default_uncertainty(predictive: Any) -> Tensor:
    """Return what rejects first by default: the variance, or 1 - the largest probability."""
    if isinstance(predictive, ContinuousPredictive):
        return predictive.variance
    if isinstance(predictive, TokenPredictive):
        return 1 - top_label_items(predictive, None)[..., 0]
    return 1 - predictive.probabilities.amax(-1)


def _loss_items(uncertainty: Tensor | None) -> Callable[[Any, Any], Tensor]:
    def items(p: Any, y: Any) -> Tensor:
        measure = default_uncertainty(p) if uncertainty is None else torch.as_tensor(uncertainty).to(p.device)
        if measure.shape != p.shape:
            raise ValueError(
                f"uncertainty must have the target's shape {tuple(p.shape)}, but it has {tuple(measure.shape)}."
            )
        if not bool(torch.isfinite(measure).all()):
            raise ValueError("uncertainty holds NaN or infinite values, which cannot be ranked.")
        loss = (p.mean - y) ** 2 if isinstance(p, ContinuousPredictive) else 1 - top_label_items(p, y)[..., 1]
        return torch.stack([measure.double(), loss], -1)

    return items


def _auroc(values: Array) -> float:
    from scipy.stats import rankdata

    positive = values[:, 1] > 0.5
    if positive.all() or not positive.any():
        what = "every one" if positive.all() else "none"
        raise ValueError(
            f"AUROC compares two kinds of rows, but {what} of the {len(positive)} is a positive (an error, a shifted "
            "row): there is nothing to tell apart. Use more data, or report the accuracy only."
        )
    # Mann-Whitney: mean rank of the positives, ties averaged
    count = int(positive.sum())
    ranks = rankdata(values[:, 0])[positive].sum() - count * (count + 1) / 2
    return float(ranks / (count * (len(positive) - count)))
