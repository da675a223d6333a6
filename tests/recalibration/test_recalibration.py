import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributions as D

from bayesrnn import metrics as M
from bayesrnn import recalibration as R
from bayesrnn.predictive import ContinuousPredictive, MomentsDistribution, Origin, Predictive
from tests.recalibration.examples import CLASSES, CONTINUOUS, classes, gaussian


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_repairs_a_spread_that_is_too_small(kind):
    p, y = gaussian(800, spread=2.0)
    new, target = gaussian(2000, spread=2.0, seed=1)
    assert float(M.coverage(new, target, level=0.9)) < 0.65
    fixed = kind().fit(p, y).apply(new)
    assert float(M.coverage(fixed, target, level=0.9)) == pytest.approx(0.9, abs=0.03)
    assert float(M.coverage(fixed, target, level=0.5)) == pytest.approx(0.5, abs=0.06)
    assert float(M.crps(fixed, target)) < float(M.crps(new, target))
    assert M.miscalibration_area(fixed, target).value < 0.04


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_leaves_a_calibrated_predictive_alone(kind):
    p, y = gaussian(4000)
    fixed = kind().fit(p, y).apply(p)
    for q in (0.1, 0.5, 0.9):
        assert ((fixed.quantile(q) - p.quantile(q)) / p.std).abs().max() < 0.12
    assert (fixed.std / p.std - 1).abs().max() < 0.05


@settings(max_examples=12)
@given(st.floats(0.5, 2), st.floats(-0.5, 0.5), st.integers(0, 10_000))
def test_never_worsens_the_nll_of_its_own_fit(spread, shift, seed):
    p, y = gaussian(120, spread, shift, seed)
    assert float(M.nll(R.VarianceScaling().fit(p, y).apply(p), y)) <= float(M.nll(p, y)) + 1e-9


@pytest.mark.parametrize("kind", CLASSES)
@settings(max_examples=8)
@given(st.floats(0.4, 3), st.integers(0, 10_000))
def test_never_worsens_the_nll_of_its_own_classes(kind, temperature, seed):
    c, y = classes(120, temperature, seed)
    assert float(M.nll(kind().fit(c, y).apply(c), y)) <= float(M.nll(c, y)) + 1e-9


@pytest.mark.parametrize("kind", CLASSES)
def test_class_maps_repair_overconfidence(kind):
    c, y = classes(3000, temperature=3.0)
    new, target = classes(3000, temperature=3.0, seed=1)
    fixed = kind().fit(c, y).apply(new)
    assert float(M.nll(fixed, target)) < float(M.nll(new, target)) - 0.02
    before, after = (float(M.expected_calibration_error(v, target)) for v in (new, fixed))
    assert after < 0.6 * before
    torch.testing.assert_close(fixed.aleatoric + fixed.epistemic, fixed.entropy)
    torch.testing.assert_close(fixed.probabilities.sum(-1), torch.ones(3000).double())


def test_temperature_is_found():
    c, y = classes(20_000, temperature=2.0)
    found = R.Temperature().fit(c, y)
    assert found.fitted["temperature"] == pytest.approx(2.0, rel=0.06)
    assert not found.at_bound
    certain = Predictive.from_probabilities(torch.tensor([[0.9, 0.1], [0.1, 0.9]] * 20))
    assert R.Temperature().fit(certain, torch.tensor([0, 1] * 20)).at_bound


def test_variance_scaling_is_the_closed_form_and_keeps_the_split():
    p, y = gaussian(500, spread=1.7)
    factor = R.VarianceScaling().fit(p, y).fitted["factor"]
    assert factor == pytest.approx(math.sqrt((((y - p.mean) / p.std) ** 2).mean()), rel=1e-4)
    m = torch.randn(9, 60, dtype=torch.double)
    mixture = Predictive.from_draws(D.Normal(m, torch.ones_like(m)))
    scaler = R.VarianceScaling().fit(mixture, 3 * torch.randn(60))
    fixed, s2 = scaler.apply(mixture), scaler.fitted["factor"] ** 2
    torch.testing.assert_close(fixed.mean, mixture.mean)
    torch.testing.assert_close(fixed.aleatoric, s2 * mixture.aleatoric)
    torch.testing.assert_close(fixed.epistemic, s2 * mixture.epistemic)


@pytest.mark.parametrize(
    "make", [lambda m, s: D.Normal(m, s), lambda m, s: D.Gamma(m.exp(), s), lambda m, s: D.Gumbel(m, s)]
)
def test_scaled_distributions_are_consistent(make):
    p = Predictive.from_draws(make(torch.randn(5, 40).double(), torch.rand(5, 40).double() + 0.5))
    y = p.mean + 2 * p.std * torch.randn(40)
    fixed = R.VarianceScaling().fit(p, y).apply(p)
    x = fixed.quantile(0.7)
    torch.testing.assert_close(fixed.cdf(x), torch.full((40,), 0.7).double(), rtol=1e-8, atol=1e-8)
    step = 1e-5 * fixed.std
    slope = (fixed.cdf(x + step) - fixed.cdf(x - step)) / (2 * step)
    torch.testing.assert_close(fixed.log_prob(x).exp(), slope, rtol=1e-4, atol=1e-6)


def test_level_map_is_consistent_and_integrates():
    p, y = gaussian(400, spread=1.5, shift=0.4)
    fixed = R.QuantileRecalibration().fit(p, y).apply(p)
    for q in (0.05, 0.5, 0.95):
        torch.testing.assert_close(fixed.cdf(fixed.quantile(q)), torch.full((400,), q).double(), rtol=1e-7, atol=1e-9)
    values = fixed[:5].sample(4000)
    torch.testing.assert_close(values.mean(0), fixed[:5].mean, atol=0.15, rtol=0)
    torch.testing.assert_close(values.std(0), fixed[:5].std, atol=0.1, rtol=0.05)
    torch.testing.assert_close(fixed.aleatoric + fixed.epistemic, fixed.variance)
    assert (fixed.mean - p.mean).mean().item() == pytest.approx(0.4, abs=0.2)


def test_counts_keep_their_kind():
    rate = torch.rand(1, 600, dtype=torch.double) * 6 + 1
    y = D.NegativeBinomial(rate[0] / 2, probs=torch.tensor(2 / 3).double()).sample()
    p = Predictive.from_draws(D.Poisson(rate))
    fixed = R.QuantileRecalibration().fit(p, y).apply(p)
    assert float(M.nll(fixed, y)) < float(M.nll(p, y))
    assert (fixed.quantile(0.8) == fixed.quantile(0.8).round()).all()
    with pytest.raises(ValueError, match="whole numbers"):
        R.VarianceScaling().fit(p, y)


@pytest.mark.parametrize(
    "kind", [R.VarianceScaling, R.QuantileRecalibration, R.SplitConformal, R.ConformalizedQuantiles]
)
def test_per_horizon_fits_each_step(kind):
    growth = torch.tensor([1.0, 1.4, 1.9]).double()
    p = Predictive.from_gaussian(torch.zeros(900, 3).double(), torch.ones(900, 3).double())
    y = growth * torch.randn(900, 3).double()
    fixed = R.from_dict(json.loads(json.dumps(R.PerHorizon(kind).fit(p, y).to_dict()))).apply(p)
    low, high = fixed.interval(0.8)
    covered = ((low <= y) & (y <= high)).double().mean(0)
    torch.testing.assert_close(covered, torch.full((3,), 0.8).double(), atol=0.03, rtol=0)
    torch.testing.assert_close(fixed.std.mean(0), growth, atol=0.12, rtol=0)
    assert fixed[:5].sample(2).shape == (2, 5, 3)
    assert float(M.crps(fixed, y)) < float(M.crps(p, y))


@pytest.mark.parametrize("kind", CLASSES)
def test_class_maps_keep_the_shares_of_the_entropy(kind: Any) -> None:
    c, y = classes(600, temperature=0.3)
    fixed = kind().fit(c, y).apply(c)
    assert (fixed.entropy - c.entropy).abs().max() > 0.1
    torch.testing.assert_close(fixed.aleatoric / fixed.entropy, c.aleatoric / c.entropy)


@pytest.mark.parametrize("size", [30, 100, 300])
def test_recalibrated_levels_hold_new_targets_as_often_as_they_say(size: int) -> None:
    """The k-th of n levels holds a new target with probability k / (n + 1), whatever the model said."""
    covered, runs = np.zeros(3), 120
    for seed in range(runs):
        y = 0.5 + 1.6 * torch.randn(size + 200, generator=torch.Generator().manual_seed(seed)).double()
        p = Predictive.from_gaussian(torch.zeros_like(y), torch.ones_like(y))
        fixed = R.QuantileRecalibration().fit(p[:size], y[:size]).apply(p[size:])
        covered += [float(fixed.distribution.inside(y[size:], level).double().mean()) for level in (0.5, 0.8, 0.9)]
    assert (covered / runs).tolist() == pytest.approx([0.5, 0.8, 0.9], abs=0.02)


def test_level_maps_stand_at_weibull_levels() -> None:
    p, y = gaussian(60, spread=2.0, shift=0.5)
    fitted = R.QuantileRecalibration().fit(p, y).fitted
    before, after = (np.array(fitted[name]) for name in ("before", "after"))
    below = (p.cdf(y).numpy()[:, None] <= before[1:-1]).sum(0)
    np.testing.assert_allclose(after[1:-1], below / 61, rtol=1e-12)
    assert (after[[0, -1]] == [0, 1]).all()


def test_one_target_far_out_is_no_reason_to_refuse() -> None:
    for size in (30, 60, 99):
        p, y = gaussian(size)
        y[7] = p.mean[7] - 9 * p.std[7]
        fixed = R.QuantileRecalibration().fit(p, y).apply(p)
        assert ((fixed.cdf(fixed.quantile(0.9)) - 0.9).abs() < 1e-6).all()


def test_isotonic_maps_leave_calibrated_probabilities_alone() -> None:
    """Out of sample: on 100 rows maps without a guard lose .06 nats of a calibrated forecast."""
    lost, runs = 0.0, 25
    for seed in range(runs):
        generator = torch.Generator().manual_seed(seed)
        p = (1.2 * torch.randn(1100, 3, generator=generator)).double().softmax(-1)
        y = torch.multinomial(p, 1, generator=generator)[:, 0]
        c = Predictive.from_probabilities(p)
        fixed = R.Isotonic().fit(c[:100], y[:100]).apply(c[100:])
        lost += (float(M.nll(fixed, y[100:])) - float(M.nll(c[100:], y[100:]))) / runs
    assert lost < 0.005


def test_isotonic_maps_leave_every_class_possible() -> None:
    """Of 40 targets that a threshold tells apart, each map ends at 1/42 and 41/42: one more of each class."""
    target = torch.arange(40) % 2
    sure = 0.7 + 0.2 * torch.rand(40, dtype=torch.double)
    c = Predictive.from_probabilities(torch.where(target[:, None] == torch.arange(2), sure[:, None], 1 - sure[:, None]))
    found = R.Isotonic().fit(c, target).apply(c).probabilities
    torch.testing.assert_close(found.amax(-1), torch.full((40,), 41 / 42).double())


def test_isotonic_maps_stay_out_where_they_would_harm() -> None:
    target = torch.arange(40) % 2
    c = Predictive.from_probabilities(0.9998 * torch.eye(2).double()[target] + 0.0001)
    fixed = R.Isotonic().fit(c, target).apply(c)
    assert float(M.nll(fixed, target)) <= float(M.nll(c, target)) + 1e-9


def test_variances_that_were_streamed_are_scaled_by_the_closed_form() -> None:
    p = ContinuousPredictive(
        MomentsDistribution(torch.zeros(40), torch.full((40,), 1.0), torch.full((40,), 3.0)), Origin(25)
    )
    scaler = R.VarianceScaling().fit(p, torch.full((40,), 6.0))
    fixed = scaler.apply(p)
    assert scaler.fitted["factor"] == pytest.approx(3.0)
    torch.testing.assert_close(fixed.aleatoric, torch.full((40,), 9.0))
    torch.testing.assert_close(fixed.epistemic, torch.full((40,), 27.0))


def test_vector_scaling_meets_the_frequencies_of_the_classes() -> None:
    """Where the nll is least in the biases, mean probabilities are the shares of the classes."""
    c, _ = classes(900)
    y = (torch.arange(900) % 10 >= 7).long() + (torch.arange(900) % 10 == 9).long()
    fixed = R.VectorScaling().fit(c, y).apply(c)
    torch.testing.assert_close(fixed.probabilities.mean(0), torch.tensor([0.7, 0.2, 0.1]).double(), atol=0.01, rtol=0)
