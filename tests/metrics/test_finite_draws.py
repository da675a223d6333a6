import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributions as D

from bayesrnn import metrics as M
from bayesrnn.metrics import _crps as crps_left_out
from bayesrnn.metrics.jackknife import left_out
from bayesrnn.predictive import ContinuousPredictive, MomentsDistribution, Origin, Predictive, TokenPredictive
from bayesrnn.predictive.distributions.transformed import SpreadDistribution
from bayesrnn.predictive.finite_draws import spread
from bayesrnn.recalibration import VarianceScaling

TOKEN_METRICS = (
    M.accuracy,
    M.expected_calibration_error,
    M.adaptive_calibration_error,
    M.smooth_calibration_error,
    M.confidence_gap,
    M.area_under_risk_coverage,
    M.error_auroc,
    M.mean_entropy,
    M.mean_mutual_information,
    M.entropy_gap,
)


def tokens(seed, draws=8):
    """A stream whose every statistic is an average over draws."""
    distributions = torch.log_softmax(2 * torch.randn(draws, 4, 50, 5, dtype=torch.double), -1)
    target = torch.randint(5, (4, 50), generator=torch.Generator().manual_seed(seed))
    mean = distributions.exp().mean(0)
    entropy = torch.special.entr(mean).sum(-1)
    aleatoric = torch.special.entr(distributions.exp()).sum(-1).mean(0)
    return TokenPredictive.from_blocks(
        distributions.gather(-1, target.expand(draws, 4, 50)[..., None])[..., 0],
        origin=Origin(draws),
        entropy=entropy,
        aleatoric=aleatoric,
        epistemic=entropy - aleatoric,
        confidence=mean.amax(-1),
        correct=mean.argmax(-1) == target,
        target=target,
        deterministic_log_prob=distributions[0, ..., 0],
    )


@pytest.mark.parametrize("metric", TOKEN_METRICS)
def test_a_statistic_of_tokens_that_came_accumulated_has_an_unknown_error(metric):
    p = tokens(0)
    score = metric(p, monte_carlo=True)
    assert score.value == metric(p).value
    assert (score.standard_error, score.corrected) == (None, None)
    exact = TokenPredictive(
        p.log_prob,
        Origin(1, sampling="deterministic"),
        **{name: getattr(p, name) for name in ("entropy", "aleatoric", "epistemic", "target", "confidence", "correct")},
    )
    assert metric(exact, monte_carlo=True).standard_error == 0


def test_the_pass_without_masks_has_no_error_of_finite_draws():
    p = tokens(0)
    assert M.deterministic_perplexity(p, monte_carlo=True).standard_error == 0
    assert M.nll(p, monte_carlo=True).standard_error == pytest.approx(p.standard_error)


def test_an_answer_that_no_block_of_draws_changes_has_an_unknown_error():
    p = Predictive.from_probabilities((torch.tensor([2.0, 0.0]) + 0.1 * torch.randn(8, 3, 2)).softmax(-1))
    assert M.accuracy(p, torch.tensor([0, 1, 0]), monte_carlo=True).standard_error is None


def test_error_of_a_given_uncertainty_is_unknown():
    p, y = Predictive.from_probabilities(torch.randn(8, 200, 3).softmax(-1)), torch.randint(3, (200,))
    for metric in (M.error_auroc, M.area_under_risk_coverage):
        assert metric(p, y, monte_carlo=True).standard_error > 0
        assert metric(p, y, uncertainty=p.epistemic, monte_carlo=True).standard_error is None


@pytest.mark.parametrize("shared", [False, True])
def test_error_of_shift_auroc_is_its_spread_over_repetitions(shared):
    scores = []
    for _ in range(60):
        masks = torch.randn(24, 200, 3)
        seeds = (7, 7) if shared else (1, 2)
        # under one seed, row k of both sees the same masks
        other = masks if shared else torch.randn(24, 200, 3)
        slopes = torch.linspace(0.2, 2.0, 200)[:, None]
        near = Predictive.from_draws(D.Categorical(logits=slopes * masks), seed=seeds[0])
        far = Predictive.from_draws(D.Categorical(logits=(slopes.flip(0) + 0.3) * other), seed=seeds[1])
        scores.append(M.shift_auroc(near, far, monte_carlo=True))
    spread = np.std([s.value for s in scores], ddof=1)
    assert np.mean([s.standard_error for s in scores]) == pytest.approx(spread, rel=0.35)
    assert scores[0].draws == 24


def test_error_of_shift_auroc_is_unknown_where_draws_are_not_kept():
    near, far = (Predictive.from_draws(D.Categorical(logits=k * torch.randn(10, 30, 3))) for k in (1, 2))
    certain = Predictive.from_probabilities(torch.rand(30, 3).softmax(-1))
    entropy = partial(M.shift_auroc, uncertainty=lambda p: p.entropy, monte_carlo=True)
    assert entropy(certain, far).standard_error > 0
    assert entropy(certain, certain).standard_error == 0
    assert entropy(near, far.recalibrated(far.log_mean)).standard_error is None
    assert M.shift_auroc(tokens(0), tokens(1), monte_carlo=True).standard_error is None


@pytest.mark.parametrize("kind", [D.Gamma, D.Normal])
def test_paired_error_of_a_copy_with_the_same_means_is_zero(kind):
    dtype = torch.double if kind is D.Normal else torch.float
    p = Predictive.from_draws(kind(torch.rand(40, 200, dtype=dtype) + 1, torch.ones(40, 200, dtype=dtype)))
    y = D.Gamma(torch.full((200,), 1.5), 1.0).sample()
    copies = [
        VarianceScaling().fit(p, y).apply(p),
        p.with_distribution(SpreadDistribution(p.distribution, 2.0)),
        p.moment_matched(),
    ]
    for copy in copies:
        for metric in (M.rmse, M.mae):
            found = M.paired_difference(metric, p, copy, y, monte_carlo=True, resamples=20)
            assert found.value == pytest.approx(0, abs=1e-12)
            assert found.standard_error == pytest.approx(0, abs=1e-12)
            assert metric(copy, y, monte_carlo=True).standard_error > 1e-3


@pytest.mark.parametrize("seeds", [(3, 3), (3, 4)])
def test_paired_error_is_the_spread_of_the_difference(seeds):
    y = torch.randn(50, dtype=torch.double)
    found, apart = [], []
    for _ in range(60):
        means = torch.randn(25, 50, dtype=torch.double)
        others = means if seeds[0] == seeds[1] else torch.randn(25, 50, dtype=torch.double)
        first = Predictive.from_draws(D.Normal(means, 1.0), seed=seeds[0])
        second = Predictive.from_draws(D.Normal(0.5 * others + 0.1, 1.0), seed=seeds[1])
        score = M.paired_difference(M.mae, first, second, y, monte_carlo=True, resamples=10)
        found.append(score)
        both = [M.mae(p, y, monte_carlo=True).standard_error for p in (first, second)]
        apart.append(math.hypot(*both))
    spread = np.std([s.value for s in found], ddof=1)
    claimed = np.mean([s.standard_error for s in found])
    assert claimed == pytest.approx(spread, rel=0.35)
    assert (claimed < 0.7 * np.mean(apart)) == (seeds[0] == seeds[1])


def test_paired_error_is_unknown_where_one_of_them_is():
    p = Predictive.from_draws(D.Normal(torch.randn(10, 30), 1.0))
    streamed = ContinuousPredictive(MomentsDistribution(p.mean, p.aleatoric, p.epistemic), p.origin)
    y = torch.randn(30)
    assert M.paired_difference(M.rmse, p, streamed, y, monte_carlo=True, resamples=10).standard_error is None
    assert M.paired_difference(M.rmse, p, streamed, y, resamples=10).standard_error is None


def test_moment_matched_distribution_has_the_error_of_its_spread_over_repetitions():
    y = torch.randn(50, dtype=torch.double)
    scores = []
    for _ in range(60):
        p = Predictive.from_draws(D.Normal(torch.randn(25, 50, dtype=torch.double), 1.0))
        scores.append(M.crps(p.moment_matched(), y, monte_carlo=True))
    spread = np.std([s.value for s in scores], ddof=1)
    assert np.mean([s.standard_error for s in scores]) == pytest.approx(spread, rel=0.35)
    error = M.crps(VarianceScaling().fit(p, y).apply(p.moment_matched()), y, monte_carlo=True).standard_error
    assert error is None or error > 0
    streamed = ContinuousPredictive(MomentsDistribution(p.mean, p.aleatoric, p.epistemic), Origin(25)).moment_matched()
    assert M.crps(streamed, y, monte_carlo=True).standard_error is None


@pytest.mark.parametrize("other", [{"draws": 64}, {"block_size": 1}, {"seed": 4}, {"sampling": "independent"}])
def test_draws_are_shared_only_where_all_that_makes_them_is(other: dict[str, Any]) -> None:
    facts: dict[str, Any] = {"draws": 32, "seed": 3, "sampling": "stratified", "block_size": 16}
    assert Origin(**facts).shares_draws(Origin(**facts))
    assert not Origin(**facts).shares_draws(Origin(**(facts | other)))
    assert not Origin(**(facts | {"seed": None})).shares_draws(Origin(**(facts | {"seed": None})))


def test_draws_in_no_block_count_in_the_value_and_not_in_its_correction() -> None:
    logs = -torch.rand(10, 4, 50, dtype=torch.double)
    blocks = logs[:8].view(4, 2, 4, 50).exp().mean(1).log()
    t = TokenPredictive(logs.exp().mean(0).log(), Origin(10, block_size=2), block_log_prob=blocks)
    score = M.nll(t, monte_carlo=True)
    whole = -blocks.exp().mean(0).log().mean()
    without = [-blocks[[k for k in range(4) if k != r]].exp().mean(0).log().mean() for r in range(4)]
    assert score.value == pytest.approx(-float(logs.exp().mean(0).log().mean()))
    assert score.corrected == pytest.approx(score.value + 3 * float(whole - torch.stack(without).mean()))
    assert t.nll_corrected == pytest.approx(score.corrected)


@pytest.mark.parametrize("sampling", ["independent", "stratified"])
@pytest.mark.parametrize("shape", [(7,), (5, 3)])
def test_crps_without_each_block_is_that_of_the_other_draws(sampling: str, shape: tuple[int, ...], monkeypatch):
    generator = torch.Generator().manual_seed(3)
    draws = 37
    mean = torch.randn(draws, *shape, generator=generator)
    std = torch.rand(draws, *shape, generator=generator) + 0.1
    y = torch.randn(shape, generator=generator)
    size = 4 if sampling == "stratified" else 1
    p = Predictive.from_draws(D.Normal(mean, std), sampling=sampling, block_size=size).to(torch.float64)
    monkeypatch.setattr(crps_left_out, "_PIECE", 3 * draws**2)  # several pieces, the last one shorter
    blocks = p.origin.blocks(20)
    found = crps_left_out.crps_without_blocks(p, y, blocks)
    every = torch.arange(draws)
    for block, values in zip(blocks, found, strict=True):
        rest = torch.cat([every[: block.start], every[block.stop :]])
        assert torch.allclose(values, M.crps_values(p.keep_draws(rest).distribution, y), rtol=1e-10)
    assert crps_left_out.crps_without_blocks(Predictive.from_draws(D.StudentT(4.0, mean, std)), y, blocks) is None


def test_the_error_of_crps_is_the_plain_jackknife():
    generator = torch.Generator().manual_seed(4)
    p = Predictive.from_draws(D.Normal(torch.randn(24, 30, generator=generator), torch.ones(24, 30)))
    y = torch.randn(30, generator=generator)
    score = M.crps(p, y, monte_carlo=True)
    plain = left_out(lambda q: float(M.crps(q, y)), p)
    assert score.left_out == pytest.approx(plain, rel=1e-10)
    assert score.standard_error == pytest.approx(spread(plain), rel=1e-6)
