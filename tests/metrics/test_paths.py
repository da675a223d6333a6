"""Scores of paths, against scoringrules and the law of total variance."""

import math
from typing import Any

import numpy as np
import pytest
import scoringrules
import torch
from torch import distributions as D

from bayesrnn import metrics as M
from bayesrnn import recalibration as R
from bayesrnn.predictive import ContinuousPredictive, MomentsDistribution, Origin, Predictive


def samples(members: int = 15, rows: int = 6, steps: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(members, rows, steps, generator=generator).double().cumsum(-1)
    return x, torch.randn(rows, steps, generator=generator).double().cumsum(-1)


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0])
def test_scores_of_samples_are_scoringrules(p: float) -> None:
    x, y = samples()
    members = x.transpose(0, 1).numpy()
    energy = scoringrules.es_ensemble(y.numpy(), members, estimator="fair")
    variogram = scoringrules.vs_ensemble(y.numpy(), members, p=p, estimator="fair")
    predictive = Predictive.from_samples(x)
    assert float(M.energy_score(predictive, y)) == pytest.approx(energy.mean(), rel=1e-9)
    assert float(M.variogram_score(predictive, y, p=p)) == pytest.approx(variogram.mean(), rel=1e-9)
    for row in range(6):
        assert float(M.energy_score(predictive[row], y[row : row + 1])) == pytest.approx(energy[row], rel=1e-9)


def test_masked_steps_are_left_out_of_their_row() -> None:
    x, y = samples()
    lengths = torch.tensor([4, 3, 2, 4, 4, 1])
    scores = [
        [
            float(metric(Predictive.from_samples(x[:, r : r + 1, :length]), y[r : r + 1, :length]))
            for r, length in enumerate(lengths.tolist())
        ]
        for metric in (M.energy_score, M.variogram_score)
    ]
    missing = torch.where(torch.arange(4) < lengths[:, None], y, torch.nan)
    for metric, each in zip((M.energy_score, M.variogram_score), scores):
        found = metric(Predictive.from_samples(x), y, lengths=lengths)
        assert float(found) == pytest.approx(np.mean(each), rel=1e-9)
        assert found.n == 6
        dropped = metric(Predictive.from_samples(x), missing, nan="drop")
        assert (float(dropped), dropped.dropped) == (pytest.approx(float(found)), 6)


def moving_together(rows: int = 400, steps: int = 12) -> tuple[ContinuousPredictive, torch.Tensor]:
    """Draws whose means move together over the steps (sd 1), noise .5; targets of the same kind."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(64, rows, 1, generator=generator).double().expand(-1, -1, steps)
    noise = 0.5 * torch.randn(rows, steps, generator=generator).double()
    predictive = Predictive.from_draws(D.Normal(means, 0.5 * torch.ones_like(means)))
    return predictive, torch.randn(rows, 1, generator=generator).double() + noise


def test_the_variance_of_a_total_is_that_of_the_law_of_total_variance() -> None:
    predictive, _ = moving_together()
    draws = predictive.distribution.draws()
    exact = (draws.sum(-1).var(0, correction=0) + 12 * 0.25).mean()
    total = predictive.paths(300).sum(-1).var(0).mean()
    assert float(total) == pytest.approx(float(exact), rel=0.02)
    assert float(exact) > 120
    assert float(predictive.sample(300).sum(-1).var(0).mean()) < 20
    values = predictive.paths(200)[:, 0, 0]
    assert float(values.std()) == pytest.approx(float(predictive.std[0, 0]), rel=0.15)


def test_scores_tell_paths_from_steps_on_their_own() -> None:
    predictive, y = moving_together()
    alone = Predictive.from_samples(predictive.sample(200))
    assert float(M.energy_score(predictive, y)) < 0.97 * float(M.energy_score(alone, y))
    assert float(M.variogram_score(predictive, y)) < 0.8 * float(M.variogram_score(alone, y))
    score = M.energy_score(predictive, y, interval=0.9, monte_carlo=True)
    assert score.interval is not None
    assert score.interval[0] < score.value < score.interval[1]
    assert score.standard_error is None


@pytest.mark.parametrize(
    "make",
    [
        lambda p, y: R.VarianceScaling().fit(p, y).apply(p),
        lambda p, y: R.QuantileRecalibration().fit(p, y).apply(p),
        lambda p, y: R.SplitConformal().fit(p, y).apply(p),
        lambda p, y: R.ConformalizedQuantiles().fit(p, y).apply(p),
        lambda p, y: R.PerHorizon(R.VarianceScaling).fit(p, y).apply(p),
        lambda p, y: R.PerHorizon(R.QuantileRecalibration).fit(p, y).apply(p),
    ],
)
def test_recalibrated_steps_still_move_together(make: Any) -> None:
    predictive, y = moving_together(40, 3)
    fixed = make(predictive, 1.6 * y)
    paths = fixed.paths(80)
    assert paths.shape == (80, 40, 3)
    spread = paths.std(0).mean() / fixed.std.mean()
    assert float(spread) == pytest.approx(1, abs=0.06)  # each step keeps its own distribution
    before, after = (torch.corrcoef(p[:, 0].T)[0, 1] for p in (predictive.paths(80), paths))
    assert float(after) == pytest.approx(float(before), abs=0.2)


def test_a_path_of_samples_is_one_sample_along_the_row() -> None:
    x, _ = samples()
    paths = Predictive.from_samples(x).paths(50)
    for path in paths:
        for row in range(6):
            assert bool((x[:, row] == path[row]).all(-1).any())


def test_what_does_not_know_how_steps_move_has_no_paths() -> None:
    predictive, y = moving_together(5, 3)
    streamed = ContinuousPredictive(
        MomentsDistribution(predictive.mean, predictive.aleatoric, predictive.epistemic), Origin(64)
    )
    for given in (streamed, streamed.moment_matched(), predictive.moment_matched()):
        with pytest.raises(ValueError, match=r"has no paths.*keep_draws=True"):
            given.paths(3)
        with pytest.raises(ValueError, match="has no paths"):
            M.energy_score(given, y)
    single = predictive.at_step(0)
    assert torch.equal(single.paths(4), single.sample(4))
    for metric in (M.energy_score, M.variogram_score):
        with pytest.raises(ValueError, match="use crps"):
            metric(single, y[:, 0])
    with pytest.raises(ValueError, match="power of a variogram"):
        M.variogram_score(predictive, y, p=-1)
    with pytest.raises(ValueError, match="paths must be at least 2"):
        M.energy_score(predictive, y, paths=1)
    assert math.isfinite(float(M.energy_score(predictive, y, paths=2)))
