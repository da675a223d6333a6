"""Factors that follow the interval score: right in the long run, never far from raw, the same in pieces."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

from bayesrnn.forecasting.distribution import ForecastDistribution, table_of
from bayesrnn.forecasting.hedged import HedgedIntervals
from bayesrnn.metrics._crps import crps_values
from bayesrnn.predictive import Predictive

SCORES = torch.linspace(-5, 5, 101, dtype=torch.float64).reshape(-1, 1, 1)


def gaussian(mean: Tensor, std: Tensor | float) -> ForecastDistribution:
    values = mean + SCORES * std
    levels = torch.special.ndtr(SCORES).expand_as(values)
    return ForecastDistribution(levels, values, torch.zeros_like(mean), torch.eye(mean.shape[1], dtype=torch.float64))


def rolling(std: float, origins: int = 1500, horizon: int = 3) -> tuple[ForecastDistribution, Tensor, Tensor]:
    """Forecasts N(0, std) of standard normal noise, their targets and when these are known."""
    noise = torch.randn(origins + horizon, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    known = torch.arange(origins)[:, None] + torch.arange(1, horizon + 1)
    return gaussian(torch.zeros(origins, horizon, dtype=torch.float64), std), noise[known], known


def interval_score(low: Tensor, high: Tensor, target: Tensor, level: float) -> float:
    beyond = (low - target).clamp(min=0) + (target - high).clamp(min=0)
    return float((high - low + 2 / (1 - level) * beyond).mean())


@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
def test_factors_go_to_what_the_interval_score_asks_for(std: float) -> None:
    hedge = HedgedIntervals(3)
    raw, target, known = rolling(std)
    past, origins = hedge.past(raw, target, known), list(range(1500))
    factors = hedge.rolled(hedge.start(), past, origins, since=0, until=1502)[0]
    usual = factors[:, 900:].log().mean(1).exp()
    np.testing.assert_allclose(usual[1], 1 / std, rtol=0.1)
    np.testing.assert_allclose(usual[2], 1 / std, rtol=0.2)  # at 95 % raw weighs most, so a wide interval stays wider
    np.testing.assert_allclose(usual[0], 1 / std, rtol=0.2)  # the score of a middle interval is flat
    assert torch.allclose(factors[:, 0], torch.ones(3, 3, dtype=torch.float64), atol=0.1)  # nothing is known at first
    after = hedge.stretch(raw, factors).select(slice(900, None))
    right = rolling(1.0)[0].select(slice(900, None))
    for level in (0.8, 0.95):
        tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        tails = tails.reshape(2, 1, 1).expand(2, *after.shape)
        mine, best = (interval_score(*d.quantile(tails), target[900:], level) for d in (after, right))
        assert mine < 1.1 * best


def test_the_score_is_never_much_worse_than_raw() -> None:
    """A raw forecast that is right, over 40 series: at most one percent is lost at 95 %."""
    hedge, lost = HedgedIntervals(6), []
    for seed in range(40):
        noise = torch.randn(206, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        known = torch.arange(200)[:, None] + torch.arange(1, 7)
        raw = gaussian(torch.zeros(200, 6, dtype=torch.float64), 1.0)
        past = hedge.past(raw, noise[known], known)
        factors, _ = hedge.rolled(hedge.start(), past, list(range(200)), since=0, until=205)
        after = hedge.stretch(raw, factors)
        tails = torch.tensor([0.025, 0.975], dtype=torch.float64).reshape(2, 1, 1).expand(2, *raw.shape)
        scores = [interval_score(*d.quantile(tails), noise[known], 0.95) for d in (after, raw)]
        lost.append(scores[0] / scores[1] - 1)
    assert np.mean(lost) < 0.01


def test_targets_in_two_pieces_count_like_all_at_once() -> None:
    hedge = HedgedIntervals(3)
    raw, target, known = rolling(0.7, origins=60)
    target[20:22] = torch.nan
    past = hedge.past(raw, target, known)
    _, whole = hedge.rolled(hedge.start(), past, [], since=0, until=62)
    _, early = hedge.rolled(hedge.start(), past, [], since=0, until=31)
    _, pieces = hedge.rolled(early, past, [], since=31, until=62)
    assert torch.allclose(whole, pieces, rtol=1e-12)


def test_nothing_after_an_origin_enters_its_factors() -> None:
    hedge = HedgedIntervals(3)
    raw, target, known = rolling(0.7, origins=60)
    later = torch.where(known > 30, target + 10, target)
    runs = [
        hedge.rolled(hedge.start(), hedge.past(raw, t, known), list(range(60)), since=0, until=62)[0]
        for t in (target, later)
    ]
    assert torch.equal(runs[0][:, :31], runs[1][:, :31])
    assert not torch.equal(runs[0][:, 31:], runs[1][:, 31:])


def test_factors_and_losses_are_those_of_plain_loops() -> None:
    levels, gains, horizon = (0.5, 0.9), (0.0, 0.3, 0.6), 2
    hedge = HedgedIntervals(horizon, gains, memory=50.0, reach=1.5, levels=levels)
    raw, target, known = rolling(0.6, origins=30, horizon=horizon)
    factors, state = hedge.rolled(hedge.start(), hedge.past(raw, target, known), [20, 31], since=0, until=31)
    for level, p in enumerate(levels):
        q = float(norm.ppf((1 + p) / 2))
        half, rate = 0.6 * q, curvature_over_variance(p) / horizon
        logs, losses = np.zeros((3, horizon)), np.zeros((3, horizon))
        for now in range(1, 32):
            if now == 21:
                check_factors(factors[level, 0], logs, losses, rate, p)
            losses *= np.exp(-1 / 50) if now > 1 else 1.0
            due = [(float(target[now - h, h - 1]), h) for h in (1, 2) if 0 <= now - h < 30]
            moved, lost = np.zeros_like(logs), np.zeros_like(losses)
            for g, gain in enumerate(gains):
                for h in range(horizon):
                    near = [np.exp(-abs(h + 1 - step) / 1.5) for _, step in due]
                    for (y, step), w in zip(due, near):
                        s = np.exp(logs[g, step - 1])
                        beyond = max(abs(y) - s * half, 0.0)
                        w = w / sum(near)
                        moved[g, h] += w * gain / horizon * ((beyond > 0) - (1 - p)) / np.sqrt(p * (1 - p))
                        lost[g, h] += w * (s + 2 / (1 - p) * beyond / (2 * half))
            logs, losses = logs + moved, losses + lost
        np.testing.assert_allclose(state[0, :, level], logs, atol=2e-4)  # quantiles come from a table
        np.testing.assert_allclose(state[1, :, level], losses, rtol=1e-3)
        check_factors(factors[level, 1], logs, losses, rate, p)


def check_factors(factors: Tensor, logs: np.ndarray, losses: np.ndarray, rate: float, level: float) -> None:
    first = np.array([[4.0 if level >= 0.9 else 1.0], [1.0], [1.0]])  # of the raw interval
    weights = first * np.exp(-rate * (losses - losses.min(0)))
    np.testing.assert_allclose(factors, np.exp((weights * logs).sum(0) / weights.sum(0)), rtol=1e-3)


def curvature_over_variance(p: float) -> float:
    """Of the interval score in the logarithm of the factor, for Gaussian errors: by numbers."""
    q = float(norm.ppf((1 + p) / 2))

    def score(log: float) -> float:
        half = q * np.exp(log)
        beyond = 2 * (norm.pdf(half) - half * norm.sf(half))
        return float(np.exp(log) + 2 / (1 - p) * beyond / (2 * q))

    curvature = (score(1e-3) + score(-1e-3) - 2 * score(0.0)) / 1e-6
    return curvature / (((1 - 1 / (1 - p)) ** 2) * (1 - p) + p)


def test_the_raw_interval_stays_without_gains() -> None:
    hedge = HedgedIntervals(3, gains=(0.0,))
    raw, target, known = rolling(0.5, origins=60)
    _, state = hedge.rolled(hedge.start(), hedge.past(raw, target, known), [], since=0, until=62)
    assert torch.equal(hedge.factors(state), torch.ones(3, 3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gains": (0.1, -0.1)}, "gains must be finite and not negative"),
        ({"gains": ()}, "at least one"),
        ({"gains": "a"}, "gains must be speeds, at least one, such as"),
        ({"gains": 0.1}, "gains must be speeds"),
        ({"gains": ["a"]}, "gains must be finite and not negative, but 'a'"),
        ({"memory": "a"}, "memory must be positive and finite, but 'a'"),
        ({"reach": [1.0]}, "reach must be positive"),
        ({"levels": None}, "levels must be a number in"),
        ({"levels": 0.5}, "levels must be distinct and increase"),
        ({"memory": 0.0}, "memory must be positive"),
        ({"levels": (0.8, 0.5)}, "levels must be distinct and increase"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        HedgedIntervals(3, **options)  # type: ignore[arg-type]


def mixtures() -> list[Predictive]:
    generator = torch.Generator().manual_seed(0)
    loc = 5 + torch.randn(40, 6, 4, generator=generator, dtype=torch.float64)
    scale = 0.5 + torch.rand(40, 6, 4, generator=generator, dtype=torch.float64)
    share = torch.full_like(loc, 0.1)
    two = Normal(torch.stack([loc, loc], -1), torch.stack([scale, 3 * scale], -1))
    weights = Categorical(probs=torch.stack([1 - share, share], -1))
    return [Predictive.from_draws(Normal(loc, scale)), Predictive.from_draws(MixtureSameFamily(weights, two))]


@pytest.mark.parametrize("which", [0, 1])
def test_the_table_follows_the_mixture_over_draws(which: int) -> None:
    exact = mixtures()[which]
    table = table_of(exact.distribution, torch.eye(4, dtype=torch.float64))
    levels = torch.tensor([0.01, 0.1, 0.5, 0.9, 0.99], dtype=torch.float64)
    for level in levels:
        reached = exact.cdf(table.quantile(level.expand(1, 6, 4))[0])
        np.testing.assert_allclose(reached, float(level), atol=5e-4)
    np.testing.assert_allclose(table.mean(), exact.mean, atol=1e-3)
    np.testing.assert_allclose(table.variance(), exact.aleatoric + exact.epistemic * 39 / 40, rtol=5e-3)
    np.testing.assert_allclose(table.epistemic() / table.variance(), exact.epistemic / exact.variance, rtol=1e-9)
    target = exact.mean + 1
    np.testing.assert_allclose(table.crps(target), crps_values(exact.distribution, target), atol=2e-3)
    np.testing.assert_allclose(table.log_prob(target), exact.log_prob(target), atol=3e-2)


def test_paths_keep_each_step_and_move_together() -> None:
    correlation = torch.tensor([[1.0, 0.8, 0.5], [0.8, 1.0, 0.7], [0.5, 0.7, 1.0]], dtype=torch.float64)
    raw = gaussian(torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64), torch.tensor([1.0, 2.0, 3.0]))
    table = ForecastDistribution(raw.levels, raw.values, raw.share, correlation)
    generators = [torch.Generator().manual_seed(k) for k in (0, 1)]
    paths = table.paths(20_000, *generators)[:, 0]
    np.testing.assert_allclose(paths.mean(0), [1, 2, 3], atol=0.06)
    np.testing.assert_allclose(np.corrcoef(paths.T), correlation, atol=0.02)
    np.testing.assert_allclose(paths.std(0), [1, 2, 3], rtol=0.03)
