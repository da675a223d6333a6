"""Predictive moments against numpy and scipy."""

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.distributions import Normal, Poisson

from bayesrnn import objective


def test_variance_is_noise_plus_spread():
    draws = torch.randn(20, 5, 2, dtype=torch.float64)
    expected = 1 / 4.0 + np.var(draws.numpy(), axis=0)
    np.testing.assert_allclose(objective.predictive_variance(draws, 4.0), expected)


def test_log_likelihood_against_scipy():
    torch.manual_seed(0)
    draws, target, tau = torch.randn(30, 7, dtype=torch.float64), torch.randn(7, dtype=torch.float64), 2.0
    logs = stats.norm.logpdf(target.numpy(), draws.numpy(), tau**-0.5)
    expected = special.logsumexp(logs, axis=0) - np.log(30)
    np.testing.assert_allclose(objective.predictive_log_likelihood(draws, target, tau), expected)


def test_log_likelihood_survives_where_every_density_underflows():
    found = objective.predictive_log_likelihood(torch.zeros(3, 1), torch.full((1,), 1e3), 1.0)
    assert float(found) == pytest.approx(-0.5e6 - 0.5 * np.log(2 * np.pi), rel=1e-6)


def test_a_law_gives_its_own_mixture():
    law = Poisson(torch.tensor([[1.0], [3.0]]))
    found = objective.predictive_log_likelihood(law, torch.tensor([2.0]))
    expected = np.log(0.5 * (stats.poisson.pmf(2, 1) + stats.poisson.pmf(2, 3)))
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: objective.predictive_variance(torch.zeros(2, 3), 0.0), "precision must be positive"),
        (lambda: objective.predictive_variance(torch.zeros(0, 3), 1.0), "S of at least 1"),
        (lambda: objective.predictive_log_likelihood(torch.zeros(2, 3), torch.zeros(3)), "need the precision"),
        (
            lambda: objective.predictive_log_likelihood(torch.zeros(2, 3), torch.zeros(2), 1.0),
            r"shape of one draw, \(3,\)",
        ),
        (
            lambda: objective.predictive_log_likelihood(Normal(torch.zeros(2, 3), 1.0), torch.zeros(3), 1.0),
            "a Distribution has its own noise",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
