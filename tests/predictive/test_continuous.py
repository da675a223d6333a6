"""Tests."""

import math

import numpy as np
import pytest
import scoringrules
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import distributions as D

from bayesrnn.predictive import ContinuousPredictive, MomentsDistribution, Origin, Predictive

DISTRIBUTIONS = {
    "normal": lambda m, s: D.Normal(m, s),
    "student": lambda m, s: D.StudentT(s + 2, m, s),
    "laplace": lambda m, s: D.Laplace(m, s),
    "lognormal": lambda m, s: D.LogNormal(m, s),
    "gumbel": lambda m, s: D.Gumbel(m, s),
    "gamma": lambda m, s: D.Gamma(m.abs() + 0.5, s),
    "beta": lambda m, s: D.Beta(m.abs() + 0.5, s + 0.5),
}


COUNTS = {
    "poisson": lambda m, s: D.Poisson(5 * s),
    "negative_binomial": lambda m, s: D.NegativeBinomial(5 * s, logits=m),
    "binomial": lambda m, s: D.Binomial(torch.full_like(s, 12), torch.sigmoid(m)),
    "geometric": lambda m, s: D.Geometric(torch.sigmoid(m)),
}


def parameters(*shape):
    return torch.randn(shape, dtype=torch.double), torch.rand(shape, dtype=torch.double) + 0.2


def test_variance_splits_by_the_law_of_total_variance():
    m, s = parameters(7, 5)
    p = Predictive.from_draws(D.Normal(m, s))
    torch.testing.assert_close(p.mean, m.mean(0))
    torch.testing.assert_close(p.aleatoric, (s**2).mean(0))
    torch.testing.assert_close(p.epistemic, m.var(0, correction=1))
    torch.testing.assert_close(p.aleatoric + p.epistemic, p.variance)
    torch.testing.assert_close(p.std, p.variance.sqrt())
    torch.testing.assert_close(p.standard_error, m.std(0) / math.sqrt(7))


def test_one_draw_has_no_epistemic_part_and_no_known_error():
    m, s = parameters(1, 4)
    p = Predictive.from_draws(D.Normal(m, s))
    assert p.epistemic.tolist() == [0.0] * 4
    assert p.standard_error is None
    exact = Predictive.from_draws(D.Normal(m, s), sampling="deterministic")
    assert exact.standard_error.tolist() == [0.0] * 4


def test_standard_error_of_dependent_draws_comes_from_blocks():
    m, s = parameters(20, 3)
    p = Predictive.from_draws(D.Normal(m, s), block_size=5)
    means = m.reshape(4, 5, 3).mean(1)
    torch.testing.assert_close(p.standard_error, means.std(0) / 2)
    assert p.degrees_of_freedom == 3


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_quantile_inverts_the_cdf(name):
    p = Predictive.from_draws(DISTRIBUTIONS[name](*parameters(6, 8)))
    for q in (0.001, 0.05, 0.5, 0.9, 0.999):
        torch.testing.assert_close(p.cdf(p.quantile(q)), torch.full((8,), q, dtype=torch.double), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", COUNTS)
def test_count_quantile_is_the_smallest_count_that_reaches_the_level(name):
    p = Predictive.from_draws(COUNTS[name](*parameters(6, 8)))
    for q in (0.05, 0.5, 0.9, 0.999):
        k = p.quantile(q)
        assert (k == k.round()).all()
        assert (p.cdf(k) >= q - 1e-12).all()
        assert (p.cdf(k - 1) < q).all()


@given(st.integers(1, 6), st.floats(0.02, 0.98), st.floats(1e-3, 1e3), st.floats(0, 1e4))
def test_quantile_of_separated_gaussians(draws, q, width, distance):
    means = distance * torch.arange(draws, dtype=torch.double)[:, None]
    p = Predictive.from_draws(D.Normal(means, torch.full_like(means, width)))
    assert p.cdf(p.quantile(q)).item() == pytest.approx(q, abs=1e-8)


def test_gaussian_quantile_is_scipys():
    p = Predictive.from_gaussian(torch.tensor([1.0]).double(), torch.tensor([2.0]).double())
    low, high = p.interval(0.9)
    assert (low.item(), high.item()) == pytest.approx(stats.norm(1, 2).interval(0.9))


def test_log_prob_is_the_log_of_the_mean_density():
    m, s = parameters(9, 4)
    y = torch.randn(4, dtype=torch.double)
    oracle = scoringrules.logs_mixnorm(y.numpy(), m.T.numpy(), s.T.numpy())
    np.testing.assert_allclose(-Predictive.from_draws(D.Normal(m, s)).log_prob(y).numpy(), oracle, rtol=1e-10)


def test_log_prob_outside_the_support_is_minus_infinity():
    p = Predictive.from_draws(D.Exponential(torch.ones(3, 2)))
    assert p.log_prob(torch.tensor([-1.0, 1.0])).tolist() == [-math.inf, -1.0]
    assert p.cdf(torch.tensor([-1.0, 0.0])).tolist() == [0.0, 0.0]


def test_sample_follows_the_mixture_and_leaves_the_global_state_alone():
    m, s = parameters(5, 1)
    p = Predictive.from_draws(D.Normal(3 * m, s))
    state = torch.get_rng_state()
    values = p.sample(4000, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(values, p.sample(4000, seed=1))
    assert not torch.equal(values, p.sample(4000, seed=2))
    levels = torch.stack([p.cdf(v) for v in values]).numpy().ravel()
    assert stats.kstest(levels, "uniform").pvalue > 1e-3


def test_results_have_the_dtype_and_shape_of_the_output():
    p = Predictive.from_draws(D.Normal(torch.randn(4, 3, 2), torch.ones(4, 3, 2)))
    assert p.mean.dtype == p.quantile(0.1).dtype == torch.float32
    assert p.shape == (3, 2)
    assert p.quantile([0.1, 0.5]).shape == (2, 3, 2)
    assert p.draws.shape == (4, 3, 2)
    assert p.to(torch.float64).mean.dtype == torch.float64
    assert len(p.to_frame()) == 6


def test_rows_are_selected_with_their_ids():
    p = Predictive.from_draws(D.Normal(torch.randn(4, 5), 1.0), sequence_ids=torch.arange(10, 15), seed=3)
    part = p[[3, 1]]
    assert part.sequence_ids.tolist() == [13, 11]
    torch.testing.assert_close(part.mean, p.mean[[3, 1]])
    assert len(p[2]) == 1
    assert p[p.mean > -10].seed == 3
    with pytest.raises(IndexError, match="row 7"):
        p[7]
    with pytest.raises(TypeError, match="rows are chosen"):
        p[1, 2]


def test_moments_answer_what_they_know():
    m = torch.zeros(3)
    p = ContinuousPredictive(MomentsDistribution(m, m + 1, m + 3), Origin(10))
    assert p.std.tolist() == [2.0] * 3
    for call in (
        lambda: p.quantile(0.5),
        lambda: p.cdf(m),
        lambda: p.log_prob(m),
        lambda: p.draws,
        lambda: p.sample(2),
    ):
        with pytest.raises(ValueError, match=r"keep_draws=True.*moment_matched"):
            call()
    assert p.moment_matched().quantile(0.975)[0].item() == pytest.approx(2 * 1.959964, rel=1e-5)
    with pytest.raises(ValueError, match="one shape"):
        ContinuousPredictive(MomentsDistribution(m, m[:2], m), Origin(10))
    with pytest.raises(ValueError, match="epistemic is a variance"):
        ContinuousPredictive(MomentsDistribution(m, m, m - 1), Origin(10))


def test_bad_input_is_refused_with_the_row():
    with pytest.raises(ValueError, match=r"NaN parameters \(rows 2\)"):
        Predictive.from_draws(D.Normal(torch.tensor([[0, 1, math.nan]]), torch.ones(1, 3), validate_args=False))
    with pytest.raises(ValueError, match=r"std must be positive.*rows \[1\]"):
        Predictive.from_gaussian(torch.zeros(2), torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="does not fit mean"):
        Predictive.from_gaussian(torch.zeros(2), torch.ones(3))
    with pytest.raises(ValueError, match=r"batch shape \(draws, rows"):
        Predictive.from_draws(D.Normal(torch.zeros(3), 1.0))
    with pytest.raises(ValueError, match="strictly between"):
        Predictive.from_gaussian(torch.zeros(2), torch.ones(2)).quantile(1.0)
    with pytest.raises(ValueError, match="does not fit the predictive"):
        Predictive.from_gaussian(torch.zeros(2), torch.ones(2)).cdf(torch.zeros(3))
    with pytest.raises(ValueError, match="y holds NaN"):
        Predictive.from_gaussian(torch.zeros(2), torch.ones(2)).cdf(torch.tensor([0.0, math.nan]))
    with pytest.raises(ValueError, match="sequence_ids must be one id per row"):
        Predictive.from_gaussian(torch.zeros(2), torch.ones(2), sequence_ids=torch.arange(3))


def test_a_distribution_without_mean_still_has_quantiles():
    p = Predictive.from_draws(D.Cauchy(torch.zeros(3, 2), torch.ones(3, 2)))
    assert p.quantile(0.75).tolist() == pytest.approx([1.0, 1.0], rel=1e-5)
    with pytest.raises(ValueError, match="has no mean"):
        _ = p.mean


def test_moment_matched_follows_its_draws():
    p = Predictive.from_draws(D.Laplace(*parameters(32, 6)), seed=1, sampling="stratified", block_size=8)
    matched = p.moment_matched()
    torch.testing.assert_close(matched.mean, p.mean)
    torch.testing.assert_close(matched.variance, p.variance)
    torch.testing.assert_close(matched.standard_error, p.standard_error)
    assert (matched.epistemic.tolist(), matched.degrees_of_freedom) == ([0.0] * 6, p.degrees_of_freedom)
    first = torch.arange(8)
    part = p.keep_draws(first).moment_matched()
    torch.testing.assert_close(matched.keep_draws(first).quantile(0.9), part.quantile(0.9))
    torch.testing.assert_close(matched[2:4].to(torch.float32).keep_draws(first).std, part[2:4].std.float())
    assert matched.keep_draws(first).standard_error is None
    streamed = ContinuousPredictive(MomentsDistribution(p.mean, p.aleatoric, p.epistemic), Origin(32)).moment_matched()
    with pytest.raises(ValueError, match="does not keep its draws"):
        streamed.keep_draws(first)
    with pytest.raises(ValueError, match="1 draw, numbered 0"):
        Predictive.from_gaussian(p.mean, p.std).keep_draws(first)


def test_epistemic_part_of_stratified_draws_is_too_large_by_less_than_one_in_draws_minus_one():
    draws, rows = 16, 40_000
    order = torch.rand(draws, rows, 2).argsort(0)
    strata = (order + torch.rand(draws, rows, 2)).double() / draws
    means = 2 * (strata < 0.5).double().sum(-1)  # variance 2
    p = Predictive.from_draws(D.Normal(means, 1.0), sampling="stratified", block_size=draws)
    excess = p.epistemic.mean().item() / 2 - 1
    assert excess == pytest.approx(1 / (draws - 1), rel=0.1)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9, 1e11, 1e12])
def test_quantiles_far_from_zero_are_those_of_the_spread(offset: float) -> None:
    means = offset + torch.randn(32, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    distribution = Predictive.from_draws(
        torch.distributions.Normal(means, torch.full_like(means, 0.5)), sampling="independent"
    )
    for q in (0.001, 0.1, 0.5, 0.9, 0.999):
        assert float(distribution.cdf(distribution.quantile(q))) == pytest.approx(q, abs=1e-9 + 1e-15 * offset)
