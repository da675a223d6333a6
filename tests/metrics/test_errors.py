import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import distributions as D

import bayesrnn as br
from bayesrnn import metrics as M
from bayesrnn.metrics.bootstrap import FewSequencesWarning
from bayesrnn.predictive import ContinuousPredictive, Origin, Predictive
from bayesrnn.predictive.distributions.empirical import EmpiricalDistribution

pytestmark = pytest.mark.filterwarnings("ignore::bayesrnn.metrics.bootstrap.FewSequencesWarning")


def test_sequence_bootstrap_covers_where_the_token_bootstrap_does_not():
    inside = {"sequence": 0, "token": 0}
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        shared = torch.randn(60, 1, generator=generator).expand(60, 12)
        y = math.sqrt(0.5) * (shared + torch.randn(60, 12, generator=generator))
        p = Predictive.from_gaussian(torch.zeros(60, 12), torch.ones(60, 12))
        tokens = torch.arange(720).reshape(60, 12)
        for name, sequences in (("sequence", None), ("token", tokens)):
            low, high = M.bias(p, y, interval=0.95, sequences=sequences, resamples=300).interval
            inside[name] += low <= 0 <= high
    assert 0.90 <= inside["sequence"] / 200 <= 0.99
    assert inside["token"] / 200 < 0.75


def test_interval_of_any_statistic_resamples_sequences():
    p = Predictive.from_gaussian(torch.zeros(20, 3), torch.ones(20, 3))
    y = torch.randn(20, 1).expand(20, 3)
    wide = M.miscalibration_area(p, y, interval=0.9)
    narrow = M.miscalibration_area(p, y, interval=0.9, sequences=torch.arange(60).reshape(20, 3))
    assert wide.interval[1] - wide.interval[0] > narrow.interval[1] - narrow.interval[0]
    assert wide.sequences == 20
    assert narrow.sequences == 60


def test_interval_repeats_under_its_seed():
    p, y = Predictive.from_gaussian(torch.zeros(30), torch.ones(30)), torch.randn(30)
    state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first = M.crps(p, y, interval=0.9, seed=4)
    assert first == M.crps(p, y, interval=0.9, seed=4)
    assert first.interval != M.crps(p, y, interval=0.9, seed=5).interval
    assert (np.random.get_state()[1] == state[0]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), state[1])


def test_paired_difference_cancels_what_is_shared():
    hard = 5 * torch.rand(200)
    y = hard * torch.randn(200)
    worse = Predictive.from_gaussian(0.3 * hard, hard + 0.1)
    better = Predictive.from_gaussian(torch.zeros(200), hard + 0.1)
    found = M.paired_difference(M.crps, better, worse, y)
    assert found.value == pytest.approx(float(M.crps(better, y)) - float(M.crps(worse, y)))
    assert found.interval[1] < 0
    alone = M.crps(better, y, interval=0.95).interval
    assert found.interval[1] - found.interval[0] < 0.5 * (alone[1] - alone[0])
    with pytest.raises(ValueError, match="scored on the same targets"):
        M.paired_difference(lambda p, t, **o: M.crps(p, t[: len(p)], **o), better, worse[:100], y)


def test_sequence_ids_group_rows():
    ids = torch.tensor([0, 0, 1, 1, 2, 2])
    p = Predictive.from_gaussian(torch.zeros(6), torch.ones(6), sequence_ids=ids)
    assert M.mae(p, torch.randn(6)).sequences == 3
    with pytest.raises(ValueError, match="only 1"):
        M.mae(p, torch.randn(6), sequences=[7] * 6, interval=0.9)
    with pytest.raises(ValueError, match="sequences must be the sequence id"):
        M.mae(p, torch.randn(6), sequences=[1, 2])


def test_too_many_undefined_resamples_are_refused():
    p = torch.tensor([[0.9, 0.1]] * 5 + [[0.6, 0.4]])
    with pytest.raises(ValueError, match="undefined in more than a tenth"):
        M.error_auroc(Predictive.from_probabilities(p), torch.tensor([0, 0, 0, 0, 0, 1]), interval=0.9)


def test_score_stays_where_its_monte_carlo_error_is_undefined():
    samples, y = torch.randn(32, 20, generator=torch.Generator().manual_seed(0)), torch.zeros(20)
    halves = ContinuousPredictive(EmpiricalDistribution(samples), Origin(32, 0, "stratified", block_size=16))
    with pytest.raises(ValueError, match="16 samples cannot resolve"):
        M.coverage(halves.keep_draws(torch.arange(16)), y, level=0.9)
    score = M.coverage(halves, y, level=0.9, monte_carlo=True)
    assert score.value == M.coverage(halves, y, level=0.9).value
    assert (score.standard_error, score.corrected) == (None, None)
    with pytest.raises(ValueError, match="32 samples cannot resolve"):
        M.coverage(halves, y, level=0.95, monte_carlo=True)


def test_score_is_a_number_and_json():
    p = Predictive.from_draws(D.Normal(torch.randn(4, 9), 1.0))
    score = M.nll(p, torch.zeros(9), interval=0.9, monte_carlo=True)
    assert f"{score:.3f}" == f"{float(score):.3f}"
    assert json.loads(json.dumps(score.to_dict()))["draws"] == 4
    assert str(score).startswith("nll ")
    certain = Predictive.from_draws(D.Categorical(logits=torch.tensor([[[0.0, -math.inf]] * 2]).reshape(1, 2, 2)))
    infinite = M.nll(certain, torch.tensor([1, 0]))
    assert infinite.value == math.inf
    assert infinite.to_dict()["value"] == "inf"


def test_truth_minimizes_the_proper_scores():
    y = torch.randn(4000, dtype=torch.double)
    zero, one = torch.zeros(4000).double(), torch.ones(4000).double()
    truth = Predictive.from_gaussian(zero, one)
    for metric in (M.nll, M.crps, M.interval_score):
        for other in (Predictive.from_gaussian(zero + 0.3, one), Predictive.from_gaussian(zero, 1.4 * one)):
            assert float(metric(truth, y)) < float(metric(other, y))


@pytest.mark.parametrize("metric", [M.miscalibration_area, M.expected_normalized_calibration_error])
def test_intervals_of_a_calibration_error_lie_around_it(metric: Any) -> None:
    """Resampling repeats targets, by which a calibration error grows: the interval must not grow with it."""
    p = Predictive.from_gaussian(torch.zeros(100), 1 + torch.arange(100) / 100)
    score = metric(p, p.std * torch.randn(100), interval=0.9)
    assert score.replicates.mean() == pytest.approx(score.value, rel=0.03)
    assert score.replicates.min() >= 0


@pytest.mark.parametrize("inside", [True, False])
def test_an_unvarying_share_gets_the_exact_interval(inside: bool):
    """Where no resample differs, Clopper and Pearson say what so many sequences can tell, by the beta quantile."""
    y = torch.zeros(12, 3) if inside else torch.full((12, 3), 50.0)
    predictive = Predictive.from_gaussian(torch.zeros(12, 3), torch.ones(12, 3))
    low, high = M.coverage(predictive, y, level=0.9, interval=0.95).interval
    bound = stats.beta.ppf(0.025, 12, 1)  # of twelve rows of three targets, a row counts once
    assert (low, high) == pytest.approx((bound, 1.0) if inside else (0.0, 1.0 - bound))


def test_a_score_that_is_no_share_keeps_its_bootstrap():
    certain = Predictive.from_probabilities(torch.eye(3))
    assert M.brier_score(certain, torch.arange(3), interval=0.95).interval == pytest.approx((0.0, 0.0), abs=1e-40)
    assert M.accuracy(certain, torch.arange(3), interval=0.95).interval[0] == pytest.approx(stats.beta.ppf(0.025, 3, 1))


@pytest.mark.filterwarnings("error")
def test_few_sequences_are_warned_of():
    y = torch.randn(40)
    p = Predictive.from_gaussian(torch.zeros(40), torch.ones(40))
    with pytest.warns(FewSequencesWarning, match='only 20 independent sequences.*method="student"'):
        M.rmse(p, y, interval=0.95, sequences=torch.arange(40) // 2)
    M.rmse(p, y, interval=0.95)
    M.rmse(p, y, interval=0.95, sequences=torch.arange(40) // 2, method="student")
    M.rmse(p, y, sequences=torch.arange(40) // 2)
    with pytest.raises(ValueError, match="method must be"):
        M.rmse(p, y, interval=0.95, method="t")


def test_intervals_of_calibration_errors_hold_the_true_one():
    """Calibrated (true error 0) and five or fifteen points too sure, where each bin's true gap is the same."""
    rng = np.random.default_rng(0)
    for gap in (0.0, 0.15):
        hits = {"ece": 0, "smooth": 0}
        for _ in range(40):
            confidence = rng.uniform(0.7, 0.95, 150)
            right = torch.as_tensor((rng.random(150) >= confidence - gap).astype(np.int64))
            probabilities = torch.as_tensor(np.stack([confidence, 1 - confidence], 1))
            p = Predictive.from_probabilities(probabilities)
            for name, metric in (("ece", M.expected_calibration_error), ("smooth", M.smooth_calibration_error)):
                low, high = metric(p, right, interval=0.95, resamples=50).interval
                hits[name] += low <= gap + 0.01 and gap - 0.01 <= high  # smooth: less than the gap by its kernel
        assert hits["ece"] >= 0.9 * 40
        assert hits["smooth"] >= 0.9 * 40


def test_intervals_of_finite_draws_hold_the_value_of_infinitely_many():
    """All sixteen masks of four units are known; 32 draws make two blocks, so one degree of freedom."""
    masks = 2.0 * torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).double()
    weights = torch.randn(4, 12, generator=torch.Generator().manual_seed(0)).double()
    y = torch.randn(12, generator=torch.Generator().manual_seed(1)).double()
    exact = float(M.nll(Predictive.from_draws(D.Normal(masks @ weights / 4, 1.0)), y))
    hits, narrow, generator = 0, 0, torch.Generator().manual_seed(2)
    for _ in range(300):
        chosen = masks[torch.randint(16, (32,), generator=generator)]
        p = Predictive.from_draws(D.Normal(chosen @ weights / 4, 1.0), block_size=16)
        score = M.nll(p, y, monte_carlo=True)
        assert score.degrees_of_freedom == 1
        low, high = score.draws_interval(0.95)
        hits += low <= exact <= high
        narrow += abs(score.corrected - exact) <= 1.96 * score.standard_error
    assert hits / 300 == pytest.approx(0.95, abs=0.03)
    assert narrow / 300 < 0.8
    shares = M.coverage(p, y, monte_carlo=True)
    assert (shares.standard_error, shares.draws_interval()) == (None, None)
    certain = M.nll(Predictive.from_gaussian(y, torch.ones(12)), y, monte_carlo=True)
    assert certain.draws_interval() == (certain.value, certain.value)


@pytest.mark.parametrize("wrong", [0.5, -3.0])
def test_targets_that_are_no_counts_are_refused(wrong: float) -> None:
    rates = torch.tensor([1.0, 4.0, 9.0]).expand(8, 3)
    predictive = br.Predictive.from_draws(torch.distributions.Poisson(rates))
    counts = torch.tensor([1.0, 5.0, wrong])
    for metric in (br.metrics.crps, br.metrics.nll, br.metrics.rmse):
        with pytest.raises(ValueError, match="is of counts, whole numbers from 0, but 1 targets are not"):
            metric(predictive, counts)
    assert br.metrics.crps(predictive, counts, mask=torch.tensor([True, True, False])).n == 2


def test_sequences_without_an_id_are_refused() -> None:
    predictive = br.Predictive.from_gaussian(torch.zeros(3), torch.ones(3))
    with pytest.raises(ValueError, match="sequences holds 2 NaN"):
        br.metrics.crps(predictive, torch.zeros(3), sequences=[1.0, float("nan"), float("nan")])


def test_a_report_of_few_samples_is_saved(tmp_path: Path) -> None:
    predictive = br.Predictive.from_samples(torch.randn(20, 50))
    br.calibration_report(predictive, torch.randn(50)).save(tmp_path / "report")
    assert (tmp_path / "report" / "report.html").is_file()
