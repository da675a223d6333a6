"""When to abstain: against a transcription of the definition, and over many data sets of a known model."""

import re

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom, binomtest

from bayesrnn.models import SequenceClassifier
from bayesrnn.tables.abstention import error_bound, least_confidence
from bayesrnn.tables.inputs import Inputs
from bayesrnn.tables.model import SequenceRun

Rows = tuple[np.ndarray, np.ndarray]


def run_of(confidence: list[float], wrong: list[int], watched: dict[str, list[float]] | None = None) -> SequenceRun:
    model = SequenceClassifier(vocabulary=4, hidden_size=2, labels=["a", "b"], dropout=0.2)
    rows = {"confidence": confidence, "wrong": wrong}
    return SequenceRun("classify", model, Inputs(), {}, held_out=rows, watched=watched)


def walked_down(rows: Rows, watched: Rows, risk: float) -> float:
    """The definition, one threshold after the other: binomial tails, no beta quantile."""
    confidence, wrong = rows

    def passes(count: int, errors: float) -> bool:
        return bool(binom.cdf(errors, count, risk) <= 0.1)

    margins = {}
    for k in range(1, len(watched[0]) + 1):
        if passes(k, 0):
            margins[k] = sum(risk - watched[1][:k]) / k**0.5
    begin = watched[0][max(margins, key=margins.get) - 1] if margins else watched[0][-1]
    thresholds = [t for t in sorted(set(confidence), reverse=True) if passes((confidence >= t).sum(), 0)]
    best = np.inf
    for threshold in [t for t in thresholds if t >= begin][-1:] + [t for t in thresholds if t < begin]:
        kept = confidence >= threshold
        if not passes(kept.sum(), wrong[kept].sum()):
            break
        best = threshold
    return best


def as_lists(rows: Rows) -> dict[str, list[float]]:
    return {"confidence": rows[0].tolist(), "wrong": rows[1].tolist()}


def rows_drawn(generator: np.random.Generator, count: int, spread: float = 4.0) -> Rows:
    """Confidences of a binary classifier that knows how sure it is, most certain first, and its errors."""
    confidence = np.sort(expit(np.abs(generator.normal(0, spread, count))))[::-1]
    return confidence, (generator.random(count) < 1 - confidence).astype(float)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("risk", [0.02, 0.05, 0.1, 0.3])
def test_the_threshold_is_where_testing_downward_stops(seed: int, risk: float) -> None:
    generator = np.random.default_rng(seed)
    rows, watched = ((np.round(c, 2), wrong) for c, wrong in (rows_drawn(generator, k) for k in (400, 340)))  # ties
    run = run_of(*as_lists(rows).values(), as_lists(watched))
    assert run.threshold(risk) == walked_down(rows, watched, risk)
    assert (run.shortage(risk) == "") == np.isfinite(run.threshold(risk))


@pytest.mark.parametrize(("rows", "risk", "spread"), [(300, 0.1, 4.0), (1500, 0.05, 4.0), (1500, 0.1, 2.0)])
def test_the_error_of_the_answers_keeps_to_the_risk_in_nine_of_ten_data_sets(
    rows: int, risk: float, spread: float
) -> None:
    generator = np.random.default_rng(0)
    population = np.sort(expit(np.abs(generator.normal(0, spread, 400_000))))[::-1]
    error = np.cumsum(1 - population) / np.arange(1, len(population) + 1)
    above, answered = 0, []
    for _ in range(200):
        watched, calibrated = (as_lists(rows_drawn(generator, k, spread)) for k in (rows * 12 // 14, rows))
        threshold = least_confidence(calibrated, watched, risk)
        count = int(np.searchsorted(-population, -threshold, "right"))
        above += count > 0 and error[count - 1] > risk
        answered.append(count / len(population))
    assert above <= 20
    assert np.mean(answered) > 0.5 * np.mean(error <= risk)  # and it answers


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    for wrong, count in ((0, 45), (3, 60), (7, 7), (99, 1000)):
        exact = binomtest(wrong, count, alternative="less").proportion_ci(0.9, "exact").high
        assert error_bound(wrong, count) == pytest.approx(exact, abs=1e-12)


def test_where_no_row_is_answered_it_says_how_many_would_be_needed() -> None:
    right = run_of([0.99] * 44, [0] * 44)
    assert right.threshold(0.05) == np.inf
    assert "44 calibration rows are too few for a risk of 0.05: even without a wrong answer it takes 45" in (
        right.shortage(0.05)
    )
    assert run_of([0.99] * 45, [0] * 45).threshold(0.05) == 0.99
    few = run_of([0.99] * 100, [0] * 96 + [1] * 4)
    needed = int(re.search(r"about (\d+) rows", few.shortage(0.05)).group(1))
    assert error_bound(0.04 * needed, needed) <= 0.05 < error_bound(0.04 * 0.9 * needed, 0.9 * needed)
    assert "no number of rows" in run_of([0.99] * 100, [0] * 94 + [1] * 6).shortage(0.05)
