import math

import numpy as np
import pytest
import scoringrules
import sklearn.metrics
import torch
from scipy import integrate, stats
from torch import distributions as D

from bayesrnn import metrics as M
from bayesrnn.predictive import ContinuousPredictive, MomentsDistribution, Origin, Predictive
from bayesrnn.predictive.distributions.transformed import LevelDistribution


@pytest.fixture
def mixture():
    m, s = torch.randn(12, 40, dtype=torch.double), torch.rand(12, 40, dtype=torch.double) + 0.3
    return Predictive.from_draws(D.Normal(m, s)), torch.randn(40, dtype=torch.double), m, s


def test_point_scores_are_sklearns(mixture):
    p, y, m, _ = mixture
    mean = m.mean(0).numpy()
    assert float(M.rmse(p, y)) == pytest.approx(sklearn.metrics.root_mean_squared_error(y, mean))
    assert float(M.mae(p, y)) == pytest.approx(sklearn.metrics.mean_absolute_error(y, mean))
    assert float(M.bias(p, y)) == pytest.approx((mean - y.numpy()).mean())
    q = p.quantile(0.3).numpy()
    assert float(M.pinball_loss(p, y, q=0.3)) == pytest.approx(sklearn.metrics.mean_pinball_loss(y, q, alpha=0.3))


def test_nll_and_crps_of_a_mixture_are_scoringrules(mixture):
    p, y, m, s = mixture
    a, b, c = y.numpy(), m.T.numpy(), s.T.numpy()
    assert float(M.nll(p, y)) == pytest.approx(scoringrules.logs_mixnorm(a, b, c).mean())
    integral = [_crps(lambda x, i=i: stats.norm.cdf(x, b[i], c[i]).mean(), a[i]) for i in range(5)]
    np.testing.assert_allclose(M.crps_values(p.distribution, y)[:5].numpy(), integral, rtol=1e-6)


def _crps(cdf, y):
    left = integrate.quad(lambda x: cdf(x) ** 2, y - 60, y, limit=300)[0]
    return left + integrate.quad(lambda x: (1 - cdf(x)) ** 2, y, y + 60, limit=300)[0]


def test_crps_closed_forms_and_estimators():
    y = torch.randn(30, dtype=torch.double)
    mean, std = torch.randn(30, dtype=torch.double), torch.rand(30, dtype=torch.double) + 0.1
    oracle = scoringrules.crps_normal(y.numpy(), mean.numpy(), std.numpy())
    np.testing.assert_allclose(M.gaussian_crps(mean, std, y).numpy(), oracle, rtol=1e-10)
    x = torch.randn(15, 30, dtype=torch.double)
    fair = scoringrules.crps_ensemble(y.numpy(), x.T.numpy(), estimator="fair")
    assert float(M.crps(Predictive.from_samples(x), y)) == pytest.approx(fair.mean())


@pytest.mark.parametrize(
    ("distribution", "oracle"),
    [
        (D.StudentT(torch.full((1, 4), 5.0).double(), 1.0, 2.0), lambda y: scoringrules.crps_t(y, 5, 1, 2)),
        (D.Laplace(torch.ones(1, 4).double(), 2.0), lambda y: scoringrules.crps_laplace(y, 1, 2)),
        (D.Poisson(torch.full((1, 4), 3.5).double()), lambda y: scoringrules.crps_poisson(y, 3.5)),
        (
            D.Gamma(torch.full((1, 4), 2.0).double(), torch.full((1, 4), 0.5).double()),
            lambda y: scoringrules.crps_gamma(y, 2, 0.5),
        ),
    ],
)
def test_crps_of_other_distributions(distribution, oracle):
    y = torch.tensor([0.0, 1.0, 3.0, 9.0], dtype=torch.double)
    found = M.crps_values(Predictive.from_draws(distribution).distribution, y)
    np.testing.assert_allclose(found.numpy(), oracle(y.numpy()), rtol=2e-4)


@pytest.mark.parametrize("rate", [0.05, 1.0, 40.0])
def test_crps_of_counts_at_any_real_target(rate):
    y = torch.tensor([-3.0, -0.4, 0.0, 0.25, 2.0, 2.5, 7.9, 60.3], dtype=torch.double)
    p = Predictive.from_draws(D.Poisson(torch.full((1, len(y)), rate).double()))
    k = np.arange(400)
    mass = stats.poisson.pmf(k, rate)
    spread = 0.5 * (mass[:, None] * mass * np.abs(k[:, None] - k)).sum()
    expected = [(mass * np.abs(k - point)).sum() - spread for point in y.numpy()]
    np.testing.assert_allclose(M.crps_values(p.distribution, y).numpy(), expected, rtol=1e-7)


@pytest.mark.parametrize(
    ("spread", "scale", "draws"), [(3.0, 0.5, 20), (3.0, 0.05, 20), (10.0, 0.05, 5), (1.0, 1.0, 20)]
)
def test_crps_of_a_staircase(spread, scale, draws):
    loc = spread * torch.randn(draws, 7, dtype=torch.double)
    y = torch.cat([spread * torch.randn(6), torch.tensor([30.0])]).double()
    p = Predictive.from_draws(D.Laplace(loc, torch.full_like(loc, scale)))
    gap = (loc[:, None] - loc).abs()  # E|X - X'| of Laplace distributions of one scale: d + (3 b + d) exp(-d/b) / 2
    pairs = (gap + (1.5 * scale + 0.5 * gap) * torch.exp(-gap / scale)).mean((0, 1))
    off = (loc - y).abs()
    expected = (off + scale * torch.exp(-off / scale)).mean(0) - 0.5 * pairs
    np.testing.assert_allclose(M.crps_values(p.distribution, y).numpy(), expected.numpy(), rtol=5e-3)


def test_crps_of_a_staircase_whose_levels_are_mapped():
    loc = 3 * torch.randn(20, 30, dtype=torch.double)
    p = Predictive.from_draws(D.Normal(loc, torch.full_like(loc, 0.02)))
    y = 3 * torch.randn(30, dtype=torch.double)
    same = torch.tensor([0.0, 1.0])
    np.testing.assert_allclose(
        M.crps_values(LevelDistribution(p.distribution, same, same), y), M.crps_values(p.distribution, y), rtol=5e-3
    )


def test_interval_score_coverage_and_width(mixture):
    p, y, *_ = mixture
    low, high = (v.numpy() for v in p.interval(0.8))
    oracle = scoringrules.interval_score(y.numpy(), low, high, 0.2).mean()
    assert float(M.interval_score(p, y, level=0.8)) == pytest.approx(oracle)
    assert float(M.coverage(p, y, level=0.8)) == ((low <= y.numpy()) & (y.numpy() <= high)).mean()
    assert float(M.width(p, level=0.8)) == pytest.approx((high - low).mean())
    assert float(M.sharpness(p)) == pytest.approx(math.sqrt(p.variance.mean()))


def test_pit_is_uniform_when_calibrated_even_for_counts():
    distribution = D.Poisson(torch.rand(1, 3000).double() * 4 + 0.2)
    p = Predictive.from_draws(distribution)
    found = M.pit(p, distribution.sample()[0])
    assert stats.kstest(found.sample(), "uniform").pvalue > 1e-3
    assert np.abs(found.histogram(10) - 0.1).max() < 0.02
    grid = np.linspace(0, 1, 21)
    assert np.abs(found.ecdf(grid) - grid).max() < 0.03


def test_pit_of_ordered_classes_and_samples():
    logits = torch.randn(4000, 5, dtype=torch.double)
    c = Predictive.from_draws(D.Categorical(logits=logits[None]))
    found = M.pit(c, D.Categorical(logits=logits).sample())
    assert stats.kstest(found.sample(), "uniform").pvalue > 1e-3
    x = Predictive.from_samples(torch.randn(9, 4000))
    assert stats.kstest(M.pit(x, torch.randn(4000)).sample(), "uniform").pvalue > 1e-3


def test_miscalibration_area_is_the_integral_and_its_floor_is_its_mean():
    y = torch.randn(200, 50, dtype=torch.double)
    areas = []
    for row in y:
        p = Predictive.from_gaussian(torch.zeros(50).double(), torch.ones(50).double())
        areas.append(float(M.miscalibration_area(p, row)))
    score = M.miscalibration_area(p, y[0], floor=True)
    assert score.floor == pytest.approx(0.3133 / math.sqrt(50), rel=1e-3)
    assert np.mean(areas) == pytest.approx(score.floor, rel=0.15)
    folded = np.abs(2 * stats.norm.cdf(y[0].numpy()) - 1)
    grid = (np.arange(200_000) + 0.5) / 200_000
    brute = np.abs(np.searchsorted(np.sort(folded), grid) / 50 - grid).mean()
    assert score.value == pytest.approx(brute, abs=1e-5)


def test_spread_errors_notice_a_wrong_spread():
    std = torch.rand(2000, dtype=torch.double) + 0.5
    y = std * torch.randn(2000, dtype=torch.double)
    right, wrong = (
        Predictive.from_gaussian(torch.zeros(2000), std),
        Predictive.from_gaussian(torch.zeros(2000), std / 2),
    )
    calibrated = M.expected_normalized_calibration_error(right, y, floor=True)
    assert calibrated.value < 2 * calibrated.floor
    assert float(M.expected_normalized_calibration_error(wrong, y)) == pytest.approx(1, abs=0.1)
    assert float(M.mean_squared_z(wrong, y)) == pytest.approx(4, rel=0.15)
    constant = Predictive.from_gaussian(torch.zeros(2000), torch.ones(2000))
    expected = abs(math.sqrt((y**2).mean()) - 1)
    assert float(M.expected_normalized_calibration_error(constant, y)) == pytest.approx(expected)


def test_interval_reliability_agrees_with_coverage(mixture):
    p, y, *_ = mixture
    for score, level in zip(M.interval_reliability(p, y, [0.5, 0.9]), (0.5, 0.9)):
        assert float(score) == float(M.coverage(p, y, level=level))


def test_monte_carlo_error_and_corrections():
    exact = Predictive.from_gaussian(torch.zeros(400), torch.full((400,), math.sqrt(2.0)))
    y = math.sqrt(2.0) * torch.randn(400)
    p = Predictive.from_draws(D.Normal(torch.randn(20, 400), torch.ones(20, 400)))
    for metric in (M.nll, M.crps):
        score = metric(p, y, monte_carlo=True)
        truth = float(metric(exact, y))
        assert score.value > truth
        assert abs(score.corrected - truth) < 0.5 * (score.value - truth) + 2 * score.standard_error
    score = M.crps(exact, y, monte_carlo=True)
    assert (score.standard_error, score.corrected) == (0.0, score.value)
    streamed = ContinuousPredictive(MomentsDistribution(torch.zeros(9), torch.ones(9), torch.ones(9)), Origin(10))
    assert M.rmse(streamed, torch.zeros(9), monte_carlo=True).standard_error is None


def test_monte_carlo_error_is_the_spread_over_repetitions():
    y = torch.randn(50)
    scores = [
        M.mae(Predictive.from_draws(D.Normal(torch.randn(25, 50), torch.ones(25, 50))), y, monte_carlo=True)
        for _ in range(60)
    ]
    spread = np.std([float(s) for s in scores], ddof=1)
    assert np.mean([s.standard_error for s in scores]) == pytest.approx(spread, rel=0.35)


def test_targets_that_do_not_fit_are_refused(mixture):
    p, y, *_ = mixture
    with pytest.raises(ValueError, match="does not fit the predictive"):
        M.rmse(p, y[:, None])
    with pytest.raises(TypeError, match="Predictive is needed first"):
        M.rmse(y, p)
    with pytest.raises(TypeError, match=r"unknown options \['levels'\]"):
        M.rmse(p, y, levels=3)
    with pytest.raises(ValueError, match="strictly between"):
        M.coverage(p, y, level=90.0)
    with pytest.raises(ValueError, match="continuous or count"):
        M.rmse(Predictive.from_probabilities(torch.full((2, 2), 0.5)), torch.zeros(2))
    with pytest.raises(ValueError, match="bins need at least"):
        M.expected_normalized_calibration_error(p, y, bins=100)


def test_missing_targets_are_counted(mixture):
    p, y, *_ = mixture
    holes = y.clone()
    holes[3] = math.nan
    with pytest.raises(ValueError, match=r"1 NaN.*rows \[3\]"):
        M.nll(p, holes)
    score = M.nll(p, holes, nan="drop")
    assert (score.n, score.dropped) == (39, 1)
    keep = torch.arange(40) != 3
    assert float(score) == pytest.approx(float(M.nll(p[keep], y[keep])))
    assert float(M.nll(p, y, mask=keep)) == float(score)
    with pytest.raises(ValueError, match="no target is left"):
        M.nll(p, y, mask=torch.zeros(40, dtype=torch.bool))
    with pytest.raises(ValueError, match="mask must be bool"):
        M.nll(p, y, mask=torch.ones(40))


def test_lengths_leave_padding_out():
    p = Predictive.from_gaussian(torch.zeros(3, 4), torch.ones(3, 4))
    y = torch.tensor([[1.0, 1, 9, 9], [1, 9, 9, 9], [1, 1, 1, 1]])
    assert float(M.mae(p, y, lengths=torch.tensor([2, 1, 4]))) == 1.0
    with pytest.raises(ValueError, match="lengths need targets"):
        M.mae(p[0:3].at_step(0), y[:, 0], lengths=torch.tensor([1, 1, 1]))
