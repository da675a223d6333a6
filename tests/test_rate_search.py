"""The search finds the rates whose mixture over draws explains the validation rows best."""

import math

import pytest
import torch
from torch import nn

import bayesrnn.nn as bnn
from bayesrnn import likelihoods, schemes
from bayesrnn.rate_search import rate_grid, rate_search

GAUSSIAN = likelihoods.homoscedastic_gaussian(100.0)


def noisy_sum(scheme: schemes.Scheme) -> nn.Module:
    """A 'trained' model whose output has mean 8 and standard deviation sqrt(8 p / (1-p)): known in closed form."""
    head = nn.Linear(8, 1)
    nn.init.ones_(head.weight)
    nn.init.zeros_(head.bias)
    rate = scheme.rate("output")
    return nn.Sequential(bnn.Dropout(rate) if rate else nn.Identity(), head)


def test_the_rate_whose_spread_is_that_of_the_targets_wins():
    generator = torch.Generator().manual_seed(0)
    true_rate = 0.3
    target = 8 * torch.ones(400) + math.sqrt(8 * true_rate / 0.7) * torch.randn(400, generator=generator)
    tried = [schemes.none(), *rate_grid(schemes.gal, output=[0.05, 0.3, 0.8])]
    found = rate_search(noisy_sum, tried, torch.ones(400, 8), target=target, likelihood=GAUSSIAN, draws=256)
    assert found.scheme.rate("output") == 0.3
    assert found.model[0].p == 0.3
    assert found.best.behind == 0.0
    assert all(trial.behind > 3 * trial.behind_error for trial in found.trials if trial is not found.best)
    frame = found.to_frame()
    assert frame["output"].iloc[0] == 0.3
    assert len(frame) == 4


def test_a_scheme_without_dropout_is_the_deterministic_pass():
    target = torch.full((5,), 8.5)
    found = rate_search(noisy_sum, [schemes.none()], torch.ones(5, 8), target=target, likelihood=GAUSSIAN)
    exact = -torch.distributions.Normal(8.0, 0.1).log_prob(torch.tensor(8.5))
    assert found.best.nll == pytest.approx(float(exact), rel=1e-5)
    assert found.best.standard_error == pytest.approx(0.0, abs=1e-6)


def test_the_grid_is_the_product():
    grid = rate_grid(schemes.gal, word=[0.1, 0.2], hidden=[0.0, 0.3], gates=["tied"])
    assert {(s.rate("word"), s.rate("hidden")) for s in grid} == {(0.1, 0.0), (0.1, 0.3), (0.2, 0.0), (0.2, 0.3)}
    assert all(s.placement("word").gates == "tied" for s in grid)


def test_bad_input_is_refused():
    x, y = torch.ones(3, 8), torch.zeros(3)
    with pytest.raises(ValueError, match="there is no scheme to try"):
        rate_search(noisy_sum, [], x, target=y)
    with pytest.raises(TypeError, match="fit must return the trained module, but it returned a NoneType"):
        rate_search(lambda scheme: None, [schemes.none()], x, target=y)
    with pytest.raises(TypeError, match="pass likelihood="):
        rate_search(noisy_sum, [schemes.none()], x, target=y)
    with pytest.raises(ValueError, match="some validation targets have no density"):
        rate_search(
            noisy_sum,
            [schemes.none()],
            x,
            target=torch.full((3,), 1e200, dtype=torch.float64),
            likelihood=GAUSSIAN,
        )
