"""Adapted conformal distributions: what they issue is what they test, and every figure is of one distribution."""

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bayesrnn import metrics as M
from bayesrnn import recalibration as R
from bayesrnn.predictive import ContinuousPredictive, Predictive


def standard(rows: int) -> ContinuousPredictive:
    return Predictive.from_gaussian(torch.zeros(rows).double(), torch.ones(rows).double())


def adapted(
    targets: float, updates: int = 60, step: float = 0.005
) -> tuple[ContinuousPredictive, ContinuousPredictive]:
    """The distribution fitted to 500 standard normal errors, before and after targets of another spread."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(500, generator=generator).double()
    levels = tuple(np.round(np.arange(0.05, 0.96, 0.05), 2))
    kept = R.AdaptiveConformal(levels=levels, step_size=step, window=500).fit(standard(500), y)
    before = kept.apply(standard(6))
    kept.update(standard(updates), targets * torch.randn(updates, generator=generator).double())
    return before, kept.apply(standard(6))


def atoms(distribution: ContinuousPredictive) -> Tensor:
    """The values that its quantiles take, each as often as it should; those at infinity left out."""
    levels = (torch.arange(40_000).double() + 0.5) / 40_000
    values = torch.cat([distribution[:1].quantile(part)[:, 0] for part in levels.split(4000)])
    return values[values.isfinite()]


@pytest.mark.parametrize("targets", [0.3, 1.0, 1.6])
def test_the_adapted_distribution_is_one_distribution(targets: float) -> None:
    for distribution in adapted(targets):
        values = atoms(distribution)
        assert float(distribution.std[0]) == pytest.approx(float(values.std()), rel=2e-3)
        y = torch.tensor([-2.5, -0.6, 0.0, 0.2, 1.1, 4.0]).double()
        ranks = 2 * torch.arange(1, len(values) + 1) - len(values) - 1
        spread = float((ranks * values.sort().values).sum()) / len(values) ** 2
        expected = [(values - point).abs().mean().item() - spread for point in y]
        np.testing.assert_allclose(M.crps_values(distribution.distribution, y).numpy(), expected, rtol=2e-3)
        drawn = distribution.sample(40_000)[:, 0]
        assert float(drawn.quantile(0.9) - drawn.quantile(0.1)) == pytest.approx(
            float(M.width(distribution, level=0.8)), rel=0.03
        )
        assert float(drawn.std()) == pytest.approx(float(distribution.std[0]), rel=0.02)


def test_adaptation_reaches_the_score_and_the_spread() -> None:
    before, after = adapted(0.3)
    y = torch.zeros(6).double()
    assert float(after.std[0]) < 0.95 * float(before.std[0])
    assert float(M.crps(after, y)) < 0.95 * float(M.crps(before, y))


def test_an_infinite_interval_makes_the_spread_and_the_score_infinite() -> None:
    _, distribution = adapted(50.0, updates=35, step=0.05)
    assert distribution.interval(0.95)[1][0].item() == math.inf
    assert distribution.std.tolist() == [math.inf] * 6
    assert M.crps_values(distribution.distribution, torch.zeros(6).double()).tolist() == [math.inf] * 6
    drawn = distribution.sample(4000)[:, 0]
    share = float(distribution[:1].quantile(torch.linspace(0, 1, 4002).double()[1:-1]).isinf().double().mean())
    assert float(drawn.isinf().double().mean()) == pytest.approx(share, abs=0.03)
    assert distribution.mean.tolist() == [0.0] * 6


def test_before_adapting_it_issues_the_ends_of_split_conformal() -> None:
    y = torch.arange(1, 100).double() / 10
    split = R.SplitConformal().fit(standard(99), y).apply(standard(99))
    kept = R.AdaptiveConformal().fit(standard(99), y)
    distribution = kept.apply(standard(99))
    ends = [distribution.interval(level)[1][0].item() for level in (0.5, 0.8, 0.9, 0.95)]
    assert ends == pytest.approx([5.0, 8.0, 9.0, 9.5])
    assert ends == [split.interval(level)[1][0].item() for level in (0.5, 0.8, 0.9, 0.95)]
    torch.testing.assert_close(
        M.crps_values(distribution.distribution, y), M.crps_values(split.distribution, y), rtol=1e-9, atol=0
    )
    torch.testing.assert_close(distribution.std, split.std, rtol=1e-9, atol=0)


@pytest.mark.parametrize("effective", [[0.7, 0.7, 0.7, 0.7], [-0.2, 0.0, 0.9, 0.9], [0.6, 0.55, 0.9, 1.3]])
def test_tied_levels_issue_what_update_tests(effective: list[float]) -> None:
    y = torch.arange(1, 100).double() / 10
    kept = R.AdaptiveConformal().fit(standard(99), y)
    saved = json.loads(json.dumps(kept.to_dict()))
    saved["parameters"]["effective"] = effective
    distribution = R.from_dict(saved).apply(standard(99))
    for level, used in zip((0.5, 0.8, 0.9, 0.95), np.maximum.accumulate(effective)):
        rank = math.ceil(100 * used - 1e-9)
        end = math.inf if rank > 99 else max(rank, 0) / 10
        assert distribution.interval(level)[1][0].item() == pytest.approx(end)
        if 0 < rank <= 99:  # the levels whose intervals end there are those up to the last such level
            assert distribution.cdf(torch.full((99,), end + 1e-6))[0].item() >= 0.5 + level / 2 - 1e-9


def test_the_latest_errors_of_the_fit_are_kept() -> None:
    kept = R.AdaptiveConformal(window=30).fit(standard(50), torch.arange(50).double())
    assert kept.fitted["recent"] == list(range(20, 50))


def test_a_row_is_tested_against_the_errors_before_it() -> None:
    """Of 0 to 39 the radius at 0.9 is the 37th, 36, which 36.5 misses; of 41 errors it would be 36.5 itself."""
    kept = R.AdaptiveConformal(levels=[0.9], step_size=0.01).fit(standard(40), torch.arange(40).double())
    kept.update(standard(1), torch.tensor([36.5]).double())
    assert kept.fitted["effective"] == [pytest.approx(0.9 + 0.01 * 0.9)]


@pytest.mark.parametrize("effective", [[0.6, 0.55, 0.9, 0.95], [1.2, 0.8, 0.9, 0.95], [-0.2, 0.0, 0.9, 0.7]])
@pytest.mark.parametrize("target", [0.05, 5.8, 6.2, 8.5, 9.3, 12.0])
def test_a_miss_is_a_target_outside_the_issued_interval(effective: list[float], target: float) -> None:
    kept = R.AdaptiveConformal().fit(standard(99), torch.arange(1, 100).double() / 10)
    saved = json.loads(json.dumps(kept.to_dict()))
    saved["parameters"]["effective"] = effective
    kept = R.from_dict(saved)
    y = torch.tensor([target], dtype=torch.float64)
    issued = [kept.apply(standard(1)).interval(level) for level in kept.levels]
    missed = [float(not low[0] - 1e-9 <= y[0] <= high[0] + 1e-9) for low, high in issued]
    kept.update(standard(1), y)
    moved = (np.asarray(effective) - kept.fitted["effective"]) / kept.step_size
    np.testing.assert_allclose(moved, 1 - np.asarray(kept.levels) - missed, atol=1e-9)
