"""Predictives and reports that the tests share."""

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Normal

from bayesrnn.predictive import Predictive
from bayesrnn.report import CalibrationReport, calibration_report

QUICK: dict[str, Any] = {"resamples": 200}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def chances(rows: int) -> Predictive:
    return Predictive.from_probabilities(torch.randn(rows, 3, generator=generator()).softmax(-1))


def gaussian(claimed: float = 1.0, bias: float = 0.0, rows: int = 2000) -> CalibrationReport:
    """Targets N(0, 1) against a predictive N(bias, claimed²)."""
    target = torch.randn(rows, generator=generator())
    return calibration_report(
        Predictive.from_gaussian(torch.full((rows,), bias), torch.full((rows,), claimed)), target, **QUICK
    )


def forecast(rows: int = 60, steps: int = 5, draws: int = 24) -> tuple[Any, Tensor]:
    g = generator()
    means = 0.3 * torch.randn(draws, rows, steps, generator=g) + torch.arange(rows)[:, None] / 9
    spread = (0.5 + 0.1 * torch.rand(rows, steps, generator=g)).expand_as(means)
    target = torch.arange(rows)[:, None] / 9 + 0.8 * torch.randn(rows, steps, generator=g)
    return Predictive.from_draws(Normal(means, spread)), target


def classes(temperature: float, rows: int = 1500, draws: int = 20) -> tuple[Any, Tensor]:
    """Targets of a softmax; the predictive sharpens its logits by the temperature."""
    logits = 1.5 * torch.randn(rows, 4, generator=generator())
    truth = logits.softmax(-1)
    target = torch.multinomial(truth, 1, generator=generator(1))[:, 0]
    noise = 0.05 * torch.randn(draws, rows, 4, generator=generator(2))
    return Predictive.from_draws(Categorical(logits=(logits + noise) / temperature)), target
