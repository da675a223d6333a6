"""Intervals of the scores of rolling forecasts: how often they hold the truth, in simulated series of known truth."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from bayesrnn.forecasting.intervals import blocks_of, compare_forecasts, student_interval
from bayesrnn.forecasting.settings import LEVELS
from bayesrnn.predictive import Predictive

PHI = 0.8


def simulated(kind: str, horizon: int, held_out: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Exact forecasts of a random walk or an autoregression from each origin of a held-out span: mean, std, target."""
    noise = np.random.default_rng(seed).normal(size=held_out + 201)
    series = noise.cumsum()
    if kind == "autoregression":
        for t in range(1, len(noise)):
            series[t] = PHI * series[t - 1] + noise[t]
    series = series[200:]
    steps = np.arange(1, horizon + 1)
    origins = np.arange(held_out - horizon + 1)[:, None]
    share = np.ones(horizon) if kind == "walk" else PHI**steps
    std = np.sqrt(np.cumsum(np.concatenate([[1.0], share[:-1] ** 2])))
    mean, target = series[origins] * share, series[origins + steps]
    return torch.from_numpy(mean), torch.from_numpy(np.broadcast_to(std, mean.shape).copy()), torch.from_numpy(target)


def without_each(items: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    sums, counts = np.bincount(blocks, items), np.bincount(blocks)
    return (sums.sum() - sums) / (counts.sum() - counts)


def normal_crps(z: torch.Tensor) -> torch.Tensor:
    density = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    return z * (2 * torch.special.ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi)


def shares(kind: str, horizon: int, held_out: int, runs: int) -> dict[str, float]:
    """How often the intervals of coverage, CRPS and of a difference of two equally good forecasts hold the truth."""
    blocks = blocks_of(torch.arange(held_out - horizon + 1), horizon)
    assert blocks is not None
    held: dict[str, list[bool]] = {"coverage": [], "crps": [], "rmse": [], "difference": []}
    for seed in range(runs):
        mean, std, target = simulated(kind, horizon, held_out, seed)
        z = (target - mean) / std
        truth = float(std[0].mean()) / math.sqrt(math.pi)
        items = {
            "coverage": ((z.abs() <= stats.norm.ppf(0.9)).double(), "logit", 0.8),
            "crps": (std * normal_crps(z), "log", truth),
            "difference": (std * (normal_crps(z - 0.3) - normal_crps(z + 0.3)), "plain", 0.0),
        }
        for name, (item, scale, true) in items.items():
            rows = item.mean(1).numpy()
            left = without_each(rows, blocks.numpy())
            low, high = student_interval(float(rows.mean()), left, overlap=horizon, scale=scale)
            held[name].append(low <= true <= high)
        squares = (target - mean).square().mean(1).numpy()
        left = np.sqrt(without_each(squares, blocks.numpy()))
        low, high = student_interval(math.sqrt(squares.mean()), left, overlap=horizon, scale="log")
        held["rmse"].append(low <= math.sqrt(float(std[0].square().mean())) <= high)
    return {name: float(np.mean(values)) for name, values in held.items()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["walk", "autoregression"])
@pytest.mark.parametrize(("horizon", "held_out"), [(12, 120), (12, 144), (12, 300), (24, 480), (6, 60)])
def test_intervals_hold_the_truth(kind: str, horizon: int, held_out: int) -> None:
    for name, share in shares(kind, horizon, held_out, 4000).items():
        assert 0.93 <= share <= 0.97, (name, share)


@pytest.mark.parametrize("kind", ["walk", "autoregression"])
def test_intervals_hold_the_truth_in_a_short_simulation(kind: str) -> None:
    for name, share in shares(kind, 12, 144, 500).items():
        assert 0.92 <= share <= 0.985, (name, share)  # three standard errors of 500 runs on either side


@pytest.mark.parametrize(
    ("horizon", "held_out", "blocks"),
    [(12, 60, None), (24, 120, None), (12, 24, None), (12, 119, None), (12, 120, 5), (12, 144, 6), (12, 300, 12)],
)
def test_blocks_span_two_horizons(horizon: int, held_out: int, blocks: int | None) -> None:
    block = blocks_of(torch.arange(held_out - horizon + 1), horizon)
    assert (None if block is None else int(block.max()) + 1) == blocks
    if block is not None:
        assert np.ptp(np.bincount(block)) <= 1


def test_blocks_of_spaced_origins() -> None:
    every, far = torch.arange(0, 289, 3), torch.arange(0, 289, 48)
    assert int(blocks_of(every, 12).max()) + 1 == 12
    assert int(blocks_of(far, 12).max()) + 1 == len(far)  # nothing overlaps: each origin for itself
    assert blocks_of(torch.tensor([7]), 12) is None
    holes = torch.cat([torch.arange(60), torch.arange(200, 260)])  # 120 origins are 5 blocks, wherever they lie
    assert int(blocks_of(holes, 12).max()) + 1 == 5


def test_the_comparison_has_these_intervals() -> None:
    """Against the mean and the jackknife written out: four numbers of each kind."""
    mean, std, target = simulated("walk", 12, 144, 0)
    forecasts = {"a": Predictive.from_gaussian(mean, std), "b": Predictive.from_gaussian(mean + 0.4, 1.3 * std)}
    comparison = compare_forecasts(forecasts, target, torch.arange(len(target)), reference="a", units="m")
    blocks = blocks_of(torch.arange(len(target)), 12).numpy()
    z = {"a": (target - mean) / std, "b": (target - mean - 0.4) / (1.3 * std)}
    crps = {"a": std * normal_crps(z["a"]), "b": 1.3 * std * normal_crps(z["b"])}
    inside = {name: (value.abs() <= stats.norm.ppf(0.9)).double() for name, value in z.items()}

    def half(items: torch.Tensor) -> float:
        pseudo = np.array([items.mean(1).numpy()[blocks != b].mean() for b in range(6)])
        return stats.t.ppf(0.975, 5) * math.sqrt(
            1.1 * (1.2 - 0.2 / 144) * 5 / 6 * np.square(pseudo - pseudo.mean()).sum()
        )

    value, width = float(crps["b"].mean()), half(crps["b"])
    low, high = comparison.scores["b"]["crps"].interval
    assert (low, high) == pytest.approx((value * math.exp(-width / value), value * math.exp(width / value)))
    value, width = float(inside["b"].mean()), half(inside["b"])
    ends = [1 / (1 + math.exp(-(math.log(value / (1 - value)) + s * width / value / (1 - value)))) for s in (-1, 1)]
    assert comparison.scores["b"]["coverage_80"].interval == pytest.approx(ends)
    found = comparison.difference("crps", "b")
    value, width = float((crps["b"] - crps["a"]).mean()), half(crps["b"] - crps["a"])
    assert found.interval == pytest.approx((value - width, value + width))
    assert set(comparison.scores["a"]) == {"crps", "nll", "rmse", "mae"} | {
        f"{kind}_{100 * level:g}" for kind in ("coverage", "width") for level in LEVELS
    }
    assert found.verdict == ("worse" if value - width > 0 else "no clear difference")


def test_too_few_blocks_have_no_interval_and_no_verdict() -> None:
    mean, std, target = simulated("walk", 12, 60, 0)
    forecasts = {"a": Predictive.from_gaussian(mean, std), "b": Predictive.from_gaussian(mean + 50, std)}
    comparison = compare_forecasts(forecasts, target, torch.arange(len(target)), reference="a")
    assert all(score.interval is None for by_key in comparison.scores.values() for score in by_key.values())
    assert {d.verdict for d in comparison.differences} == {"no clear difference"}
    assert comparison.difference("crps").value > 40


def test_a_coverage_of_one_has_an_exact_interval() -> None:
    mean, std, target = simulated("walk", 12, 144, 0)
    forecasts = {"a": Predictive.from_gaussian(target, std), "b": Predictive.from_gaussian(mean, std)}
    comparison = compare_forecasts(forecasts, target, torch.arange(len(target)), reference="a")
    assert comparison.scores["a"]["coverage_95"].interval == pytest.approx((0.025 ** (1 / 6), 1.0))


def test_coverages_differ_by_their_distance_from_the_level() -> None:
    target = torch.linspace(-2, 2, 240).view(120, 2)
    forecasts = {
        name: Predictive.from_gaussian(torch.zeros(120, 2), s * torch.ones(120, 2))
        for name, s in (("a", 0.3), ("b", 9.0))
    }
    comparison = compare_forecasts(forecasts, target, torch.arange(120), reference="a")
    for level in (0.5, 0.95):
        key = f"coverage_{100 * level:g}"
        off = [abs(comparison.scores[name][key].value - level) for name in ("b", "a")]
        assert comparison.difference(key).loss == pytest.approx(off[0] - off[1])
