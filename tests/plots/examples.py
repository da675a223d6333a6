"""Predictives and masks that the pictures are drawn of."""

from collections.abc import Callable
from typing import Any

import torch
from torch.distributions import Categorical, Normal

from bayesrnn import linearize, plots
from bayesrnn.inference import point
from bayesrnn.nn import LSTM
from bayesrnn.predictive import Origin, Predictive, TokenPredictive
from bayesrnn.schemes import gal, naive
from tests.inference.test_control import TOKENS, Linear

ROWS, STEPS, DRAWS = 60, 8, 24


def forecast() -> tuple[Any, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    base = torch.sin(torch.arange(STEPS) + torch.arange(ROWS)[:, None] / 5.0)
    spread = 0.3 + 0.1 * torch.arange(STEPS)
    means = base + 0.2 * torch.randn(DRAWS, ROWS, STEPS, generator=g)
    target = base + spread * torch.randn(ROWS, STEPS, generator=g)
    return Predictive.from_draws(Normal(means, (0.7 * spread).expand_as(means))), target


def classes() -> tuple[Any, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    logits = torch.randn(DRAWS, 300, 4, generator=g) * 0.5 + 2 * torch.randn(300, 4, generator=g)
    torch.manual_seed(0)
    return Predictive.from_draws(Categorical(logits=logits)), Categorical(logits=0.6 * logits.mean(0)).sample()


def tokens() -> TokenPredictive:
    g = torch.Generator().manual_seed(2)
    shape = (10, 12)
    confidence = torch.rand(shape, generator=g)
    correct = torch.rand(shape, generator=g) < confidence
    parts = {name: torch.rand(shape, generator=g) for name in ("entropy", "aleatoric", "epistemic")}
    log_prob = torch.log(torch.rand(shape, generator=g))
    return TokenPredictive(log_prob, Origin(5), confidence=confidence, correct=correct, **parts)


def masks(per_step: bool) -> dict[str, torch.Tensor]:
    layer = LSTM(6, 6, 2, dropout=naive(0.3) if per_step else gal(0.3, gates="tied"))
    return layer.sample_masks(2, seed=1, steps=6)


P, Y = forecast()


C, K = classes()


T = tokens()


S = linearize(Linear(), TOKENS, likelihood=point)


LABELS = ["day" if i % 3 else "night" for i in range(ROWS)]


PICTURES: dict[str, Callable[..., Any]] = {
    "fan_chart": lambda ax: plots.fan_chart(P, Y, row=2, history=Y[2], units="MW", ax=ax),
    "fan_chart_rows": lambda ax: plots.fan_chart(Predictive.from_gaussian(torch.zeros(9), torch.ones(9)), ax=ax),
    "decomposition": lambda ax: plots.decomposition(P, row=1, units="km/h", ax=ax),
    "decomposition_tokens": lambda ax: plots.decomposition(T, row=1, ax=ax),
    "interval_reliability": lambda ax: plots.interval_reliability(P, Y, ax=ax),
    "coverage_width": lambda ax: plots.coverage_width({"a": P, "b": P[:]}, Y, units="MW", ax=ax),
    "coverage_by_horizon": lambda ax: plots.coverage_by_horizon(P, Y, ax=ax),
    "coverage_by_group": lambda ax: plots.coverage_by_group(P, Y, LABELS, ax=ax),
    "pit_histogram": lambda ax: plots.pit_histogram(P, Y, ax=ax),
    "pit_ecdf": lambda ax: plots.pit_ecdf(P, Y, ax=ax),
    "error_against_spread": lambda ax: plots.error_against_spread(P, Y, units="MW", ax=ax),
    "risk_coverage": lambda ax: plots.risk_coverage(P, Y, units="MW", ax=ax),
    "risk_coverage_classes": lambda ax: plots.risk_coverage({"mc": C, "same": C}, K, ax=ax),
    "reliability_diagram": lambda ax: plots.reliability_diagram(C, K, ax=ax),
    "reliability_diagram_tokens": lambda ax: plots.reliability_diagram(T, ax=ax),
    "confidence_histogram": lambda ax: plots.confidence_histogram(C, K, ax=ax),
    "confusion_matrix": lambda ax: plots.confusion_matrix(C, K, ax=ax),
    "learning_curves": lambda ax: plots.learning_curves({"a": [3, 2, 1], "b": [3, 2.5, 2.6]}, best="b", ax=ax),
    "convergence": lambda ax: plots.convergence([1, 10, 100], [3, 2, 1.9], [0.3, 0.1, 0.03], reference=2, ax=ax),
    "forest": lambda ax: plots.forest(["a", "b", "c"], [-1, 1, 0], [-2, 0.5, -1], [-0.5, 2, 1], ax=ax),
    "score_by_part": lambda ax: plots.score_by_part(
        ["x", "y"], [1.0, 2.0], [0.5, 1.5], [1.5, 2.5], ideal=1, off=[False, True],
        title="t", xlabel="p", ylabel="v", ax=ax,
    ),
    "uncertainty_sources": lambda ax: plots.uncertainty_sources(S, ax=ax),
    "token_strip": lambda ax: plots.token_strip(["the", "cat\n", "sat"], torch.tensor([0.1, 2.0, 3.0]), ax=ax),
    "mask_picture": lambda ax: plots.mask_picture(masks(False), steps=6, ax=ax),
    "mask_picture_steps": lambda ax: plots.mask_picture(masks(True), steps=6, per_step=True, ax=ax),
    "mask_diagram": lambda ax: plots.mask_diagram(masks(False), steps=4, ax=ax),
    "mask_diagram_steps": lambda ax: plots.mask_diagram(masks(True), steps=4, per_step=True, ax=ax),
}  # fmt: skip
