import math

import numpy as np
import pytest
import sklearn.metrics
import torch
import torchmetrics.functional as tm
from scipy import integrate
from torch import distributions as D

from bayesrnn import metrics as M
from bayesrnn.metrics._reliability import bin_index, equal_mass_bins
from bayesrnn.metrics.smooth import smooth_error
from bayesrnn.predictive import Origin, Predictive, TokenPredictive

pytestmark = pytest.mark.filterwarnings("ignore::bayesrnn.metrics.bootstrap.FewSequencesWarning")


@pytest.fixture
def classes():
    logits = 2 * torch.randn(500, 4, dtype=torch.double)
    c = Predictive.from_draws(D.Categorical(logits=logits[None]))
    return c, D.Categorical(logits=logits / 2).sample()


def test_scores_are_sklearns(classes):
    c, y = classes
    p = c.probabilities.numpy()
    assert float(M.accuracy(c, y)) == sklearn.metrics.accuracy_score(y, p.argmax(1))
    assert float(M.nll(c, y)) == pytest.approx(sklearn.metrics.log_loss(y, p, labels=range(4)))
    brier = sklearn.metrics.brier_score_loss(y, p, labels=range(4), scale_by_half=False)
    assert float(M.brier_score(c, y)) == pytest.approx(brier)
    wrong = p.argmax(1) != y.numpy()
    assert float(M.error_auroc(c, y)) == pytest.approx(sklearn.metrics.roc_auc_score(wrong, 1 - p.max(1)))


def test_binned_error_is_torchmetrics(classes):
    c, y = classes
    oracle = tm.classification.multiclass_calibration_error(c.probabilities.float(), y, num_classes=4, n_bins=15)
    assert float(M.expected_calibration_error(c, y, bins=15)) == pytest.approx(float(oracle), abs=1e-6)


def test_probability_one_sits_in_the_last_bin():
    c = Predictive.from_probabilities(torch.tensor([[1.0, 0.0], [0.95, 0.05]]))
    assert float(M.expected_calibration_error(c, torch.tensor([0, 1]), bins=10)) == pytest.approx(abs(1 - 1.95) / 2)


def test_vote_fractions_fall_on_exact_edges():
    votes = np.arange(11) / 10
    assert bin_index(votes, 10).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]
    single = Predictive.from_probabilities(torch.tensor([[0.7, 0.3]]))
    assert M.reliability(single, torch.tensor([0]), bins=10).lower.tolist() == [0.7]


def test_equal_mass_bins_keep_ties_together():
    values = np.repeat([0.2, 0.5, 0.9], [5, 90, 5])
    which = equal_mass_bins(values, 10)
    assert len(np.unique(which[values == 0.5])) == 1
    assert set(which) == set(range(which.max() + 1))


def test_floor_is_what_a_calibrated_model_scores():
    confidence = 0.5 + 0.5 * torch.rand(300, dtype=torch.double)
    c = Predictive.from_probabilities(torch.stack([confidence, 1 - confidence], -1))
    for metric in (M.expected_calibration_error, M.adaptive_calibration_error, M.smooth_calibration_error):
        found = []
        for seed in range(60):
            y = (torch.rand(300, generator=torch.Generator().manual_seed(seed)) >= confidence).long()
            found.append(float(metric(c, y)))
        assert metric(c, y, floor=True).floor == pytest.approx(np.mean(found), rel=0.15)


def test_smooth_error_solves_its_equation():
    rng = np.random.default_rng(0)
    c = rng.uniform(0.3, 1, 60)
    y = (rng.random(60) < c - 0.2).astype(float)
    found = smooth_error(np.column_stack([c, y]))

    def error(width):
        def smoothed(t):
            images = sum(
                np.exp(-0.5 * ((t - (2 * k + side * c)) / width) ** 2) for k in range(-2, 3) for side in (1, -1)
            )
            return abs(((y - c) * images).mean()) / (width * math.sqrt(2 * math.pi))

        return integrate.quad(smoothed, 0, 1, limit=200)[0]

    assert error(found) == pytest.approx(found, abs=2e-3)


def test_smooth_error_of_perfect_and_hopeless():
    n = np.ones(50)
    assert smooth_error(np.column_stack([n, n])) < 1e-3
    assert smooth_error(np.column_stack([n, 0 * n])) > 0.4


def test_classwise_and_top_label_by_hand(classes):
    c, y = classes
    p = c.probabilities.numpy()

    def ece(conf, hit):
        which = np.minimum((conf * 15).astype(int), 14)
        return sum(abs((hit - conf)[which == b].sum()) for b in range(15)) / len(conf)

    classwise = np.mean([ece(p[:, k], (y == k).numpy()) for k in range(4)])
    assert float(M.classwise_calibration_error(c, y)) == pytest.approx(classwise)
    mode = p.argmax(1)
    parts = [(mode == k).mean() * ece(p[mode == k].max(1), (y.numpy() == mode)[mode == k]) for k in range(4)]
    assert float(M.top_label_calibration_error(c, y)) == pytest.approx(sum(parts))
    gap = (p.max(1) - (mode == y.numpy())).mean()
    assert float(M.confidence_gap(c, y)) == pytest.approx(gap)
    assert float(M.expected_calibration_error(c, y)) >= abs(gap) - 1e-12


def test_confusion_matrix_is_sklearns(classes):
    c, y = classes
    names = np.array(["b", "a", "d_$", "c"])
    c, keep = c.with_class_names(names), y != 2
    found = M.confusion_matrix(c, names[y])
    predicted = names[c.mode]
    assert (found.to_frame() == sklearn.metrics.confusion_matrix(names[y], predicted, labels=names)).all(axis=None)
    assert found.to_frame().loc["b", "a"] == int(((y == 0) & (c.mode == 1)).sum())
    assert found.counts.trace() / 500 == float(M.accuracy(c, y))
    precision, recall, _, count = sklearn.metrics.precision_recall_fscore_support(names[y], predicted, labels=names)
    frame = found.by_class()
    assert frame["class"].tolist() == list(names)
    np.testing.assert_allclose(frame[["recall", "precision", "observed"]].T, [recall, precision, count])
    some = M.confusion_matrix(c, y, mask=keep)
    assert some.counts.sum() == keep.sum()
    assert np.isnan(some.shares[2]).all()
    assert np.isnan(some.by_class()["recall"][2])
    first = found.confusions(1).iloc[0]
    wrong = found.counts - np.diag(found.counts.diagonal())
    assert first["targets"] == wrong.max() == found.to_frame().loc[first["observed"], first["predicted"]]
    with pytest.raises(ValueError, match="about classes"):
        M.confusion_matrix(Predictive.from_gaussian(torch.zeros(2), torch.ones(2)), torch.zeros(2))


def test_confusion_matrix_of_sequences_counts_the_steps_within_their_rows():
    c = Predictive.from_probabilities(torch.eye(3)[torch.tensor([[[0, 1, 2], [2, 2, 0]]])], class_names="abc")
    y = np.array([["a", "a", None], ["c", "b", "a"]], dtype=object)
    assert M.confusion_matrix(c, y, lengths=[2, 3]).counts.tolist() == [[2, 1, 0], [0, 0, 1], [0, 0, 1]]


def test_brier_decomposition_adds_up(classes):
    c, y = classes
    parts = M.brier_decomposition(c, y)
    assert parts.score == pytest.approx(float(M.brier_score(c, y)))
    assert parts.score == pytest.approx(parts.miscalibration - parts.discrimination + parts.uncertainty)
    assert parts.miscalibration > 0
    assert parts.discrimination > 0


def test_ranked_probability_by_hand():
    c = Predictive.from_probabilities(torch.tensor([[0.2, 0.5, 0.3]]).double())
    assert float(M.ranked_probability_score(c, torch.tensor([2]))) == pytest.approx(0.2**2 + 0.7**2)


def test_prediction_sets():
    c = Predictive.from_probabilities(torch.tensor([[0.6, 0.3, 0.1], [0.95, 0.03, 0.02]]).double())
    assert float(M.set_size(c, level=0.9)) == 1.5
    assert float(M.set_coverage(c, torch.tensor([1, 1]), level=0.9)) == 0.5


def test_finite_draw_bias_of_brier_entropy_and_information():
    logits = torch.randn(10, 2000, 4, dtype=torch.double)
    many = Predictive.from_draws(D.Categorical(logits=torch.randn(4000, 200, 4, dtype=torch.double)))
    few, y = Predictive.from_draws(D.Categorical(logits=logits)), torch.zeros(2000, dtype=torch.long)
    information = M.mean_mutual_information(few, monte_carlo=True)
    truth = float(M.mean_mutual_information(many))
    assert abs(information.corrected - truth) < 0.3 * abs(information.value - truth)
    brier = M.brier_score(few, y, monte_carlo=True)
    plug_in = brier.value - float((few.draws.var(0) / 10).sum(-1).mean())
    assert brier.corrected == pytest.approx(plug_in)


def test_risk_coverage_averages_ties():
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]]).double()
    c = Predictive.from_probabilities(p)
    for y in ([0, 1, 0], [1, 0, 0]):
        curve = M.risk_coverage(c, torch.tensor(y))
        np.testing.assert_allclose(curve.risk, [0.5, 0.5, 1 / 3])
        assert float(M.area_under_risk_coverage(c, torch.tensor(y))) == pytest.approx(curve.area)


def test_shift_auroc_is_sklearns():
    near = Predictive.from_draws(D.Categorical(logits=torch.randn(10, 80, 3)))
    far = Predictive.from_draws(D.Categorical(logits=3 * torch.randn(10, 60, 3)))
    oracle = sklearn.metrics.roc_auc_score([0] * 80 + [1] * 60, torch.cat([near.epistemic, far.epistemic]))
    assert float(M.shift_auroc(near, far)) == pytest.approx(oracle, abs=1e-6)
    with pytest.raises(ValueError, match="takes no mask"):
        M.shift_auroc(near, far, mask=torch.ones(3))


def test_a_single_kind_is_refused(classes):
    c, _ = classes
    with pytest.raises(ValueError, match="nothing to tell apart"):
        M.error_auroc(c, c.mode)
    with pytest.raises(ValueError, match="uncertainty must have the target's shape"):
        M.error_auroc(c, c.mode, uncertainty=torch.ones(3))
    with pytest.raises(ValueError, match="is about classes"):
        M.accuracy(Predictive.from_gaussian(torch.zeros(2), torch.ones(2)), torch.zeros(2))
    with pytest.raises(ValueError, match="compares with the target"):
        M.brier_score(c, None)


def test_token_scores():
    logs = -2 * torch.rand(5, 4, 9, dtype=torch.double)
    t = TokenPredictive.from_blocks(
        logs,
        origin=Origin(5),
        lengths=torch.tensor([9, 5, 1, 2]),
        entropy=torch.ones(4, 9).double(),
        confidence=torch.full((4, 9), 0.5).double(),
        correct=torch.ones(4, 9, dtype=torch.bool),
    )
    score = M.perplexity(t, monte_carlo=True, interval=0.9)
    assert float(score) == pytest.approx(t.perplexity)
    assert score.interval[0] <= score.value <= score.interval[1]
    assert (score.n, score.sequences) == (17, 4)
    nll = M.nll(t, monte_carlo=True)
    assert nll.corrected == pytest.approx(t.nll_corrected)
    assert nll.standard_error == pytest.approx(t.standard_error)
    assert float(M.bits_per_token(t)) == pytest.approx(t.nll / math.log(2))
    assert float(M.entropy_gap(t)) == pytest.approx(1 - t.nll)
    assert float(M.expected_calibration_error(t)) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="deterministic pass was not made"):
        M.deterministic_perplexity(t)
    with pytest.raises(ValueError, match="about token streams"):
        M.perplexity(Predictive.from_gaussian(torch.zeros(2), torch.ones(2)))
    with pytest.raises(ValueError, match="does not keep"):
        M.brier_score(t, None)
    with pytest.raises(ValueError, match="have no order"):
        M.pit(t, None)


def test_token_nll_is_torchmetrics_perplexity():
    logits = torch.randn(3, 6, 11)
    target = torch.randint(11, (3, 6))
    logs = logits.log_softmax(-1).gather(-1, target[..., None])[..., 0]
    t = TokenPredictive(logs, Origin(1))
    assert t.perplexity == pytest.approx(float(tm.text.perplexity(logits, target)), rel=1e-5)
