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
from bayesrnn.predictive import ContinuousPredictive, MomentsDistribution, Origin, Predictive, TokenPredictive

CONTINUOUS = [
    R.VarianceScaling,
    R.QuantileRecalibration,
    R.SplitConformal,
    R.ConformalizedQuantiles,
    R.AdaptiveConformal,
]
CLASSES = [R.Temperature, R.VectorScaling, R.Isotonic]


def gaussian(rows, spread=1.0, shift=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(rows, dtype=torch.double, generator=generator)
    std = 0.5 + torch.rand(rows, dtype=torch.double, generator=generator)
    y = mean + shift + spread * std * torch.randn(rows, dtype=torch.double, generator=generator)
    return Predictive.from_gaussian(mean, std), y


def classes(rows, temperature=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(8, rows, 3, dtype=torch.double, generator=generator)
    c = Predictive.from_draws(D.Categorical(logits=logits))
    p = torch.log_softmax(c.log_mean / temperature, -1).exp()
    return c, torch.multinomial(p, 1, generator=generator)[:, 0]


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


@pytest.mark.parametrize("kind", [R.SplitConformal, R.ConformalizedQuantiles])
def test_conformal_coverage_over_splits_is_at_the_level(kind):
    covered, level, size, new = 0, 0.8, 49, 50
    for seed in range(200):
        p, y = gaussian(size + new, spread=3.0, shift=0.5, seed=seed)
        fixed = kind(levels=[level]) if kind is R.ConformalizedQuantiles else kind()
        low, high = fixed.fit(p[:size], y[:size]).apply(p[size:]).interval(level)
        covered += int(((low <= y[size:]) & (y[size:] <= high)).sum())
    # exact mean ceil(50 * .8) / 50 = .8; the coverage of one split is Beta(40, 10)
    error = math.sqrt((0.8 * 0.2 / 51 + 0.8 * 0.2 / new) / 200)
    assert covered / (200 * new) == pytest.approx(level, abs=3.5 * error)


def test_conformal_radius_is_the_order_statistic():
    p = Predictive.from_gaussian(torch.zeros(99), torch.ones(99))
    y = torch.arange(1.0, 100.0)
    fixed = R.SplitConformal().fit(p, y).apply(p)
    assert fixed.interval(0.42)[1][0].item() == 42.0
    assert fixed.interval(0.99)[1][0].item() == 99.0
    assert fixed.interval(0.995)[1][0].item() == math.inf
    assert fixed.quantile(0.5)[0].item() == 0.0
    atoms = np.concatenate([y.numpy(), -y.numpy()])
    at = 30.5
    brute = np.abs(atoms - at).mean() - 0.5 * np.abs(atoms[:, None] - atoms).mean()
    assert M.crps_values(fixed.distribution, torch.full((99,), at))[0].item() == pytest.approx(brute)
    for call in (fixed.log_prob, lambda v: R.ConformalizedQuantiles().fit(p, y).apply(p).log_prob(v)):
        with pytest.raises(ValueError, match="no density"):
            call(torch.zeros(99))


def test_conformalized_intervals_nest_and_are_one_distribution() -> None:
    """Offsets that fall with the level made the 90 % interval narrower than the 80 % one, where spreads differ."""
    for seed in range(12):
        p, y = gaussian(40, seed=seed)
        new, _ = gaussian(400, seed=seed + 100)
        levels = R.quantiles.LEVELS
        recalibrator = R.ConformalizedQuantiles().fit(p, y)
        fixed = recalibrator.apply(new)
        q = torch.linspace(0.004, 0.996, 125).double().tolist()
        values = fixed.quantile(q)
        assert (values.diff(dim=0) >= -1e-12).all()
        for height, value in zip(q, values):
            lower, upper = fixed.distribution.pit(value)
            assert ((lower <= height + 1e-9) & (height - 1e-9 <= upper)).all()
        for level, offset in zip(levels, recalibrator.fitted["offsets"]):
            (low, high), (inner, outer) = fixed.interval(level), new.interval(level)
            assert (low <= inner - offset + 1e-9).all()  # what was fitted lies inside what is issued
            assert (high >= outer + offset - 1e-9).all()


def test_conformalized_counts_hold_at_their_levels() -> None:
    held, size, runs = np.zeros(2), 60, 60
    for seed in range(runs):
        generator = torch.Generator().manual_seed(seed)
        rate = 1 + 5 * torch.rand(size + 100, generator=generator).double()
        y = torch.poisson(1.7 * rate, generator=generator)
        p = Predictive.from_draws(D.Poisson(rate[None]))
        fixed = R.ConformalizedQuantiles().fit(p[:size], y[:size]).apply(p[size:])
        for k, level in enumerate((0.5, 0.9)):
            low, high = fixed.interval(level)
            held[k] += float(((low <= y[size:]) & (y[size:] <= high)).double().mean()) / runs
    assert held[0] > 0.5
    assert held[1] > 0.9


def test_conformalized_crps_is_that_of_its_cdf():
    p, y = gaussian(300, spread=2.0)
    fixed = R.ConformalizedQuantiles().fit(p, y).apply(p[:4])
    grid = torch.linspace(-15, 15, 6001, dtype=torch.double)
    heights = torch.stack([fixed.cdf(torch.full((4,), x)) for x in grid[::60]])
    steps = (grid[::60][:, None] >= y[:4]).double()
    brute = ((heights - steps) ** 2).sum(0) * 0.3
    torch.testing.assert_close(M.crps_values(fixed.distribution, y[:4]), brute, atol=0.08, rtol=0.05)


def test_adaptive_follows_a_drift_and_split_does_not():
    generator = torch.Generator().manual_seed(0)
    scale = torch.cat([torch.ones(200), torch.linspace(1, 6, 600)])
    y = scale * torch.randn(800, generator=generator)
    p = Predictive.from_gaussian(torch.zeros(800), torch.ones(800))
    adaptive = R.AdaptiveConformal(levels=[0.9], step_size=0.05, window=200).fit(p[:200], y[:200])
    split = R.SplitConformal().fit(p[:200], y[:200]).apply(p[200:])
    hits = []
    for t in range(200, 800):
        low, high = adaptive.apply(p[t]).interval(0.9)
        hits.append(bool(low <= y[t] <= high))
        adaptive.update(p[t], y[t : t + 1])
    assert np.mean(hits) == pytest.approx(0.9, abs=0.015)
    assert float(M.coverage(split, y[200:], level=0.9)) < 0.7


def test_adaptive_recursion_by_hand():
    p = Predictive.from_gaussian(torch.zeros(40), torch.ones(40))
    adaptive = R.AdaptiveConformal(levels=[0.9], step_size=0.01).fit(p, torch.arange(40.0))
    adaptive.update(p[:2], torch.tensor([1000.0, 0.0]))
    assert adaptive.fitted["effective"][0] == pytest.approx(0.9 - 0.01 * (0.1 - 1) - 0.01 * 0.1)
    assert adaptive.fitted["recent"][-2:] == [1000.0, 0.0]


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


@pytest.mark.parametrize("kind", CONTINUOUS + CLASSES)
def test_saved_as_json_and_back(kind):
    predictive, y = gaussian(60) if kind in CONTINUOUS else classes(60)
    fitted = kind().fit(predictive, y)
    back = R.from_dict(json.loads(json.dumps(fitted.to_dict())))
    read = (lambda p: p.quantile(0.8)) if kind in CONTINUOUS else (lambda p: p.probabilities)
    torch.testing.assert_close(read(back.apply(predictive)), read(fitted.apply(predictive)))


@pytest.mark.parametrize("kind", CONTINUOUS + CLASSES)
def test_what_cannot_be_fitted_is_refused(kind):
    predictive, y = gaussian(60) if kind in CONTINUOUS else classes(60)
    other, _ = classes(60) if kind in CONTINUOUS else gaussian(60)
    with pytest.raises(ValueError, match="at least 30 held-out targets, but 29"):
        kind().fit(predictive[:29], y[:29])
    with pytest.raises(ValueError, match="was not fitted"):
        kind().apply(predictive)
    with pytest.raises(ValueError, match="recalibrates a"):
        kind().fit(other, y)
    with pytest.raises(ValueError, match="knows its sequence_ids"):
        kind().fit(predictive, y, training_ids=[1])
    with pytest.raises(ValueError, match="these are not the values"):
        kind.from_dict({"name": "other"})


def test_other_errors():
    ids = torch.arange(60)
    p = Predictive.from_gaussian(torch.zeros(60), torch.ones(60), sequence_ids=ids)
    with pytest.raises(ValueError, match=r"2 of the 60 rows \(ids \[3, 4\]\) were trained on"):
        R.VarianceScaling().fit(p, torch.randn(60), training_ids=[3, 4, 99])
    with pytest.raises(ValueError, match="Fit VarianceScaling first"):
        R.QuantileRecalibration().fit(p, 100 * torch.randn(60))
    with pytest.raises(ValueError, match="every error is zero"):
        R.VarianceScaling().fit(p, torch.zeros(60))
    with pytest.raises(ValueError, match=r"level 0\.99 needs at least 99"):
        R.ConformalizedQuantiles(levels=[0.99]).fit(p, torch.randn(60))
    with pytest.raises(ValueError, match="single class"):
        R.Temperature().fit(classes(60)[0], torch.zeros(60, dtype=torch.long))
    with pytest.raises(ValueError, match="fitted for 3 classes"):
        R.VectorScaling().fit(*classes(60)).apply(Predictive.from_probabilities(torch.full((2, 2), 0.5)))
    with pytest.raises(ValueError, match="no recalibrator is called 'x'"):
        R.from_dict({"name": "x"})
    with pytest.raises(ValueError, match="give at least one level"):
        R.ConformalizedQuantiles(levels=[])
    with pytest.raises(ValueError, match="rows, steps"):
        R.PerHorizon(R.VarianceScaling).fit(p, torch.zeros(60))
    steps = Predictive.from_gaussian(torch.zeros(40, 2), torch.ones(40, 2))
    fitted = R.PerHorizon(R.VarianceScaling).fit(steps, torch.randn(40, 2))
    with pytest.raises(ValueError, match="fitted for 2 steps"):
        fitted.apply(Predictive.from_gaussian(torch.zeros(40, 3), torch.ones(40, 3)))
    with pytest.raises(ValueError, match="was not fitted"):
        R.PerHorizon(R.VarianceScaling).apply(steps)


def test_advice_for_another_kind_is_not_circular() -> None:
    tokens = TokenPredictive(torch.full((1, 40), -1.0), Origin(1))
    with pytest.raises(ValueError, match=r"TokenPredictive was given.*tune_perplexity.*temperature=") as caught:
        R.Temperature().fit(tokens, None)
    assert "For that use Temperature" not in str(caught.value)
    with pytest.raises(ValueError, match=r"a Tensor was given\. Pass what bayesrnn.predict returned"):
        R.Temperature().fit(torch.ones(3), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", CONTINUOUS + CLASSES)
def test_a_mask_leaves_targets_out(kind: Any) -> None:
    predictive, y = gaussian(90) if kind in CONTINUOUS else classes(90)
    keep = torch.arange(90) % 3 != 0
    wrong = torch.where(keep, y, 0 * y + (50 if kind in CONTINUOUS else 1))
    found, expected = kind().fit(predictive, wrong, mask=keep), kind().fit(predictive[keep], y[keep])
    for name, value in expected.fitted.items():
        assert found.fitted[name] == value


def test_each_step_has_a_mask_of_its_own() -> None:
    p = Predictive.from_gaussian(torch.zeros(80, 2).double(), torch.ones(80, 2).double())
    y = torch.randn(80, 2).double()
    mask = torch.stack([torch.arange(80) < 40, torch.arange(80) >= 40], 1)
    found = R.PerHorizon(R.VarianceScaling).fit(p, y, mask=mask)
    for t, step in enumerate(found.steps):
        alone = R.VarianceScaling().fit(p.at_step(t)[mask[:, t]], y[mask[:, t], t])
        assert step.fitted["factor"] == pytest.approx(alone.fitted["factor"])


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


@pytest.mark.parametrize("kind", [R.ConformalizedQuantiles, R.AdaptiveConformal])
def test_levels_may_be_named_in_any_order(kind: Any) -> None:
    p, y = gaussian(200, spread=2.0)
    found, expected = (kind(levels=levels).fit(p, y).apply(p) for levels in ((0.9, 0.5, 0.8), (0.5, 0.8, 0.9)))
    for level in (0.5, 0.65, 0.9):
        torch.testing.assert_close(found.interval(level), expected.interval(level))


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_the_error_of_finite_draws_stays(kind: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    means, y = (torch.randn(*size, dtype=torch.double, generator=generator) for size in ((32, 60), (60,)))
    p = Predictive.from_draws(D.Normal(means, 1.0), sampling="stratified", block_size=8)
    torch.testing.assert_close(kind().fit(p, y).apply(p).standard_error, p.standard_error)


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


def described(kind):
    predictive, target = gaussian(60) if kind in CONTINUOUS else classes(60)
    levels = {"levels": (0.5, 0.8)} if kind in (R.ConformalizedQuantiles, R.AdaptiveConformal) else {}
    return json.loads(json.dumps(kind(**levels).fit(predictive, target).to_dict()))


@pytest.mark.parametrize("kind", [*CONTINUOUS, *CLASSES])
def test_what_was_described_is_read_again_and_nothing_near_it(kind):
    values = described(kind)
    assert R.from_dict(values).to_dict() == values
    for part in ("settings", "parameters"):
        for changed in ({**values[part], "wheels": 4}, [], 3):
            with pytest.raises(ValueError, match=rf"{part} of {kind.__name__}.*(unknown wheels|must be a dict)"):
                R.from_dict(values | {part: changed})
    for name, value in values["parameters"].items():
        for wrong in (math.nan, math.inf, -1e308 if name != "at_bound" else 1e308, "1", None, [], [math.nan], [[1.0]]):
            with pytest.raises(ValueError, match=kind.__name__):
                R.from_dict(values | {"parameters": values["parameters"] | {name: wrong}})
        if isinstance(value, list) and name not in ("recent", "radii", "maps"):
            with pytest.raises(ValueError, match=kind.__name__):
                R.from_dict(values | {"parameters": values["parameters"] | {name: value[:-1]}})
    with pytest.raises(ValueError, match="missing parameters"):
        R.from_dict({key: value for key, value in values.items() if key != "parameters"})


@pytest.mark.parametrize("factor", [-1.0, 0.0, 1e308, math.nan])
def test_factors_that_no_fit_gives_are_refused(factor):
    with pytest.raises(ValueError, match="factor of VarianceScaling must lie within"):
        R.from_dict({"name": "variance_scaling", "settings": {}, "parameters": {"factor": factor}})


def test_a_per_horizon_is_no_step_of_another():
    inner = (
        R.PerHorizon(R.VarianceScaling)
        .fit(Predictive.from_gaussian(torch.zeros(50, 1), torch.ones(50, 1)), torch.randn(50, 1))
        .to_dict()
    )
    assert R.from_dict(inner).to_dict() == inner
    with pytest.raises(ValueError, match="no PerHorizon itself"):
        R.from_dict({"name": "per_horizon", "steps": [inner]})
