"""Predictive moments against numpy and scipy."""

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.distributions import Categorical, Independent, MultivariateNormal, Normal, Poisson

from bayesrnn import Predictive, objective


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


def test_a_distribution_gives_its_own_mixture():
    distribution = Poisson(torch.tensor([[1.0], [3.0]]))
    found = objective.predictive_log_likelihood(distribution, torch.tensor([2.0]))
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
        (
            lambda: objective.predictive_log_likelihood(Normal(torch.zeros(()), 1.0), torch.zeros(())),
            r"batch shape \(S, B, \.\.\.\).*a Normal of batch shape \(\) was given",
        ),
        (
            lambda: objective.predictive_log_likelihood(Normal(torch.zeros(0, 3), 1.0), torch.zeros(3)),
            "S of at least 1 draw",
        ),
        (lambda: objective.predictive_log_likelihood(torch.zeros(0, 3), torch.zeros(3), 1.0), "S of at least 1"),
        (
            lambda: objective.predictive_log_likelihood(torch.zeros(2, 1), torch.tensor([np.nan]), 1.0),
            r"target holds 1 NaN or infinite values \(rows 0\)",
        ),
        (
            lambda: objective.predictive_log_likelihood(Normal(torch.zeros(2, 1), 1.0), torch.tensor([np.nan])),
            "target holds 1 NaN",
        ),
        (
            lambda: objective.predictive_variance(torch.tensor([[0.0, 0.0, np.nan]]), 1.0),
            r"draws holds 1 NaN or infinite values \(rows 2\)",
        ),
        (
            lambda: objective.predictive_log_likelihood(
                Independent(Normal(torch.zeros(4, 3, 2), 1.0), 1), torch.zeros(3)
            ),
            r"shape of one draw, \(3, 2\), but \(3,\)",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: objective.predictive_variance(np.zeros((2, 3)), 1.0), r"a ndarray was given: torch\.as_tensor"),
        (lambda: objective.predictive_variance([[1.0], [2.0]], 1.0), "draws must be a tensor"),
        (lambda: objective.predictive_variance(torch.zeros(2, 3, dtype=torch.long), 1.0), r"draws\.float\(\)"),
        (
            lambda: objective.predictive_log_likelihood(torch.zeros(2, 1), [0.0], 1.0),
            "target must be a tensor, but a list",
        ),
    ],
)
def test_what_is_no_tensor_is_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_a_joint_distribution_has_one_logarithm_for_the_targets_of_a_row():
    torch.manual_seed(0)
    means, target = torch.randn(6, 4, 2, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    covariance = torch.tensor([[1.0, 0.6], [0.6, 2.0]], dtype=torch.float64)
    found = objective.predictive_log_likelihood(MultivariateNormal(means, covariance), target)
    logs = [
        [stats.multivariate_normal.logpdf(target[b].numpy(), means[s, b].numpy(), covariance.numpy()) for b in range(4)]
        for s in range(6)
    ]
    np.testing.assert_allclose(found, special.logsumexp(logs, axis=0) - np.log(6))
    one = objective.predictive_log_likelihood(Independent(Normal(means, 1.0), 1), target)
    logs = stats.norm.logpdf(target.numpy(), means.numpy()).sum(-1)
    np.testing.assert_allclose(one, special.logsumexp(logs, axis=0) - np.log(6))


def test_classes_are_whole_numbers():
    distribution = Categorical(probs=torch.tensor([[[0.2, 0.8]], [[0.4, 0.6]]]))
    assert float(objective.predictive_log_likelihood(distribution, torch.tensor([1]))) == pytest.approx(np.log(0.7))


def test_the_two_conventions_of_the_spread_differ_as_the_docstring_says():
    distribution = Normal(torch.randn(7, 3, dtype=torch.float64), 0.5)
    here = objective.predictive_variance(distribution.mean, 4.0) - 0.25
    there = Predictive.from_draws(distribution).epistemic
    np.testing.assert_allclose(there, here * 7 / 6)
