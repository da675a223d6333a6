"""Extremes: finite numbers of every scale go in; finite numbers come out, or a refusal that names the cause."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch import distributions as D

import bayesrnn as br
from bayesrnn.predictive import Predictive
from evaluation.faults.trials import Trial, finite, tally

SCALES = (1e-300, 1e-160, 1e-40, 1e-20, 1e-8, 1.0, 1e8, 1e19, 1e30, 1e38, 1e160, 1e300)
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
_VALUES = ("mean", "variance", "std", "aleatoric", "epistemic", "standard_error")
_METRICS = ("rmse", "mae", "nll", "crps", "coverage", "width", "sharpness", "interval_score", "pinball_loss",
            "expected_normalized_calibration_error", "miscalibration_area")  # fmt: skip
_CLASS_METRICS = ("nll", "accuracy", "brier_score", "expected_calibration_error", "error_auroc")


def numbers(share: float = 1) -> dict[str, Any]:
    """Try every extreme, or every so many-th of them."""
    return tally(trial for place, trial in enumerate(trials()) if place % round(1 / share) == 0)


def trials() -> Iterator[Trial]:
    """Return every extreme."""
    yield from _gaussians()
    yield from _classes()
    yield from _models()
    yield from _tokens()


def everything(predictive: Any, target: Tensor) -> dict[str, Callable[[], Any]]:
    """Return what a user may ask of a continuous predictive, by name."""
    asked: dict[str, Callable[[], Any]] = {name: lambda name=name: getattr(predictive, name) for name in _VALUES}
    asked |= {
        "quantile": lambda: predictive.quantile([0.05, 0.5, 0.95]),
        "interval": lambda: predictive.interval(0.9),
        "cdf": lambda: predictive.cdf(target),
        "log_prob": lambda: predictive.log_prob(target),
        "sample": lambda: predictive.sample(3),
        "moment_matched": lambda: predictive.moment_matched().interval(0.8),
    }
    for name in _METRICS:
        extra = {"level": 0.9} if name in ("coverage", "width", "interval_score") else {}
        extra |= {"q": 0.3} if name == "pinball_loss" else {}
        metric = getattr(br.metrics, name)
        only = (predictive,) if name in ("width", "sharpness") else (predictive, target)
        asked[name] = lambda metric=metric, only=only, extra=extra: _score(metric(*only, **extra))
    return asked


def _score(score: Any) -> Any:
    return [score.value, score.standard_error, score.interval]


def _gaussians() -> Iterator[Trial]:
    rows = 12
    for (kind, dtype), mean, std in itertools.product(DTYPES.items(), SCALES, SCALES):
        means, stds = (torch.full((rows,), value, dtype=torch.float64).to(dtype) for value in (mean, std))
        if not (torch.isfinite(means).all() and torch.isfinite(stds).all() and (stds > 0).all()):
            continue  # no finite input of this dtype
        target = means * torch.linspace(0.5, 1.5, rows, dtype=dtype)
        if not torch.isfinite(target).all():
            continue

        def asked(means: Tensor = means, stds: Tensor = stds, target: Tensor = target) -> dict[str, Any]:
            predictive = Predictive.from_draws(D.Normal(torch.stack([means, means * 0.5]), stds.expand(2, rows)))
            return everything(predictive, target)

        for name in (*_VALUES, "quantile", "interval", "cdf", "log_prob", "sample", "moment_matched", *_METRICS):
            yield Trial(f"N({mean:g}, {std:g}) {kind} {name}", lambda asked=asked, name=name: asked()[name](), finite)


def _classes() -> Iterator[Trial]:
    target = torch.tensor([0, 1, 2, 0, 1, 2])
    for (kind, dtype), scale in itertools.product(DTYPES.items(), SCALES):
        logits = (torch.linspace(-1, 1, 54, dtype=torch.float64).reshape(3, 6, 3) * scale).to(dtype)
        if not torch.isfinite(logits).all():
            continue

        def build(logits: Tensor = logits) -> Any:
            return Predictive.from_draws(D.Categorical(logits=logits))

        for name in ("probabilities", "entropy", "aleatoric", "epistemic", "standard_error", "variation_ratio"):
            yield Trial(
                f"classes at {scale:g} {kind} {name}", lambda build=build, name=name: getattr(build(), name), finite
            )
        yield Trial(f"classes at {scale:g} {kind} log_prob", lambda build=build: build().log_prob(target), finite)
        for name in _CLASS_METRICS:
            metric = getattr(br.metrics, name)
            yield Trial(
                f"classes at {scale:g} {kind} {name}", lambda m=metric, build=build: _score(m(build(), target)), finite
            )


def _models() -> Iterator[Trial]:
    sizes = [(length, rate, 1.0) for length in (1, 2, 100, 10_000) for rate in (0.001, 0.5, 0.9, 0.99)]
    sizes += [(5, 0.5, scale) for scale in SCALES]
    for (kind, dtype), (length, rate, scale) in itertools.product(DTYPES.items(), sizes):
        for likelihood in ("gaussian", "student_t", "poisson", "negative_binomial", "homoscedastic"):
            x = (torch.linspace(-1, 1, 2 * length, dtype=torch.float64).reshape(2, length, 1) * scale).to(dtype)
            if not torch.isfinite(x).all() or (length > 100 and likelihood != "gaussian"):
                continue

            def work(x: Tensor = x, rate: float = rate, likelihood: str = likelihood) -> Any:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    model = br.models.SequenceRegressor(1, 4, dropout=rate, likelihood=likelihood).to(x.dtype)
                draws = 2 if x.shape[1] > 1000 else 16
                kept = br.predict(model, x, draws=draws)
                streamed = br.predict(model, x, draws=draws, keep_draws=False)
                return [getattr(p, name) for p in (kept, streamed) for name in _VALUES]

            yield Trial(f"model {likelihood} {kind}, {length} steps, rate {rate}, inputs {scale:g}", work, finite)


def _tokens() -> Iterator[Trial]:
    for scale, count in itertools.product((1.0, 1e4, 1e18, 1e36), (2, 3, 40)):

        def work(scale: float = scale, count: int = count) -> Any:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model = br.models.LanguageModel(7, 4, 4, 1, dropout=0.3)
            with torch.no_grad():
                for weight in model.parameters():
                    weight.mul_(scale)
            result = br.perplexity(model, torch.arange(count) % 7, draws=4, batch_size=1)
            names = ("log_prob", "entropy", "aleatoric", "epistemic", "nll", "perplexity", "standard_error")
            return [getattr(result, name) for name in names]

        yield Trial(f"tokens: {count}, weights times {scale:g}", work, finite)
