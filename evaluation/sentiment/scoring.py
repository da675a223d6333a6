"""What a trained network is worth: errors, likelihood, coverage, and whether its uncertainty finds its errors."""

from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

import bayesrnn as br
from bayesrnn import metrics
from evaluation.records import load, save
from evaluation.sentiment.corpus import Segments
from evaluation.sentiment.training import Run, best_epoch, deterministic, weights
from evaluation.sentiment.variants import RatingDistribution, SentimentNet

LEVELS = (0.5, 0.8, 0.95)
LARGE_ERROR = 0.2  # rating units: more than a standard deviation of the ratings


def score(run: Run) -> dict[str, Any]:
    """Score the last and the best weights of a finished run, deterministic and by draws; save and return."""
    record = load(run.name, run.results)
    scores: dict[str, Any] = {}
    for which in ("last", "best"):
        net = weights(run, which)
        scores[which] = {"deterministic": _judged(run, net, draws=0)}
        if run.variant.stochastic:
            scores[which]["mc"] = _judged(run, net, draws=run.settings.draws_final)
    scores["best"]["epoch"] = best_epoch(run, record["epochs"])
    record |= {"scores": scores, "noise_from": "training rows" if run.split.validation is None else "validation rows"}
    record.pop("provenance", None)
    save(run.name, record, seed=run.seed, folder=run.results, data=run.split.data)
    return record


def predictive(run: Run, net: SentimentNet, part: Segments, distribution: RatingDistribution, draws: int) -> Any:
    """The predictive of ratings: over draws, or of the deterministic pass for 0 draws."""
    if draws == 0:
        ratings = distribution(deterministic(net, part))
        return br.Predictive.from_gaussian(ratings.mean, ratings.stddev)
    return br.predict(net, part.tokens.to(run.device), draws=draws, seed=run.seed, likelihood=distribution).to("cpu")


def fitted_precision(draws: Tensor, target: Tensor) -> float:
    """The noise precision that maximizes the mean predictive log-likelihood, by golden section on its logarithm.

    Args:
        draws: Per-draw means (S, N), rating units.
        target: (N,).
    """
    variance = float((draws.mean(0) - target).square().mean())
    if len(draws) == 1:
        return 1.0 / variance
    low, high = float(np.log(0.2 / variance)), float(np.log(50.0 / variance))
    ratio = (5**0.5 - 1) / 2
    for _ in range(25):
        inner = high - ratio * (high - low), low + ratio * (high - low)
        worth = [_mean_log_likelihood(draws, target, float(np.exp(t))) for t in inner]
        low, high = (low, inner[1]) if worth[0] > worth[1] else (inner[0], high)
    return float(np.exp((low + high) / 2))


def _mean_log_likelihood(draws: Tensor, target: Tensor, precision: float) -> float:
    """The mean over targets of the log of the density averaged over draws, nats."""
    density = br.likelihoods.homoscedastic_gaussian(precision)(draws.unsqueeze(-1))
    return float((torch.logsumexp(density.log_prob(target), 0) - np.log(len(draws))).mean())


def _judged(run: Run, net: SentimentNet, draws: int) -> dict[str, Any]:
    distribution = RatingDistribution(run.split.center, run.split.scale)
    if run.variant.outputs == 1:
        held_out = run.split.validation
        if held_out is None:
            held_out = run.split.train.take(slice(0, run.settings.measured))
        unit_noise = RatingDistribution(run.split.center, run.split.scale, 1.0)
        held_out_draws = predictive(run, net, held_out, unit_noise, draws).draws
        distribution.precision = fitted_precision(held_out_draws.double(), held_out.ratings)
    judged = predictive(run, net, run.split.test, distribution, draws)
    return _scores(judged, run.split.test) | {
        "noise_std": None if distribution.precision is None else distribution.precision**-0.5
    }


def _scores(judged: Any, test: Segments) -> dict[str, Any]:
    target = test.ratings.to(judged.mean.dtype)
    options: dict[str, Any] = {"sequences": test.reviews}
    error = metrics.rmse(judged, target, interval=0.95, **options)
    scores: dict[str, Any] = {"rmse": float(error), "rmse_interval": list(error.interval or ())}
    scores |= {name: float(getattr(metrics, name)(judged, target, **options)) for name in ("mae", "nll", "crps")}
    scores |= {f"coverage_{level:g}": float(metrics.coverage(judged, target, level=level)) for level in LEVELS}
    return scores | {"abstention": abstention(judged, target)}


def abstention(judged: Any, target: Tensor) -> dict[str, Any]:
    """Risk-coverage area and detection of large errors, by each uncertainty that varies between segments.

    The risk is the squared error; an error is large above LARGE_ERROR. A network of constant noise has no confidence
    of its own in its deterministic pass, so nothing is reported there: what varies no more than rounding does is left
    out.
    """
    wrong = ((judged.mean - target).abs() > LARGE_ERROR).numpy()
    summary: dict[str, Any] = {"large_errors": float(wrong.mean())}
    for name in ("epistemic", "aleatoric", "variance"):
        uncertainty = getattr(judged, name)
        if float(uncertainty.std()) <= 1e-5 * float(uncertainty.mean()) or not 0 < wrong.mean() < 1:
            continue
        curve = metrics.risk_coverage(judged, target, uncertainty=uncertainty)
        picked = np.unique(np.linspace(0, len(curve.coverage) - 1, 60).round().astype(int))
        summary[name] = {
            "area": curve.area,
            "auroc": float(roc_auc_score(wrong, uncertainty.numpy())),
            "coverage": curve.coverage[picked].tolist(),
            "risk": curve.risk[picked].tolist(),
        }
    summary["oracle_area"] = metrics.risk_coverage(judged, target, uncertainty=(judged.mean - target).square()).area
    summary["random_area"] = float((judged.mean - target).square().mean())
    return summary
