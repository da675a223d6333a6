"""When to abstain: the least confidence at which the error of the answers is bounded."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Rows = dict[str, list[float]]  # confidence, falling, and 1 where the answer is wrong
CONFIDENCE = 0.9  # probability with which the answers keep to the risk, over calibration rows


def held_out_errors(predictive: Any, target: Tensor) -> Rows:
    """Return confidence and error of each row, the most confident first."""
    confidence = predictive.probabilities.amax(-1).double().numpy()
    wrong = (predictive.mode != predictive.class_index(target)).numpy()
    order = np.argsort(-confidence, kind="stable")
    return {"confidence": confidence[order].tolist(), "wrong": wrong[order].astype(float).tolist()}


def error_bound(wrong: Any, count: Any) -> NDArray[np.float64]:
    r"""Return the upper bound of an error of which w of k rows show a wrong answer.

    One-sided, at 90 %: the p with $P(\mathrm{Bin}(k, p) \le w) = 0.1$, and 1 if all are wrong.

    Source: Clopper & Pearson 1934 (Biometrika 26).
    """
    from scipy.stats import beta

    wrong, count = np.broadcast_arrays(np.asarray(wrong, float), np.asarray(count, float))
    right = count - wrong
    return np.where(right > 0, beta.ppf(CONFIDENCE, wrong + 1, np.where(right > 0, right, 1)), 1.0)


def least_confidence(calibrated: Rows, watched: Rows | None, risk: float) -> float:
    """Return the least confidence at which the bound of the error is at most the risk, infinite if none is.

    The thresholds are tested one after the other from the most certain rows downward, and the first that fails ends
    the sequence, so that no number of thresholds makes the choice optimistic. Other rows say where it begins: where
    their errors lie the most standard errors below the risk.

    Args:
        calibrated: What `held_out_errors` says of the calibration rows.
        watched: What it says of other held-out rows; None begins at the fewest rows that can pass.
        risk: Error of the answers that is accepted.

    Source: fixed sequence testing of Angelopoulos et al. 2021 (arXiv:2110.01052); the bound on answers of Geifman &
    El-Yaniv 2017 (arXiv:1705.08500).
    """
    confidence, count, wrong = _sequence(calibrated, watched, risk)
    if not len(count):
        return float("inf")
    passed = error_bound(wrong, count) <= risk
    steps = len(passed) if passed.all() else int(passed.argmin())
    return float(confidence[steps - 1]) if steps else float("inf")


def rows_missing(calibrated: Rows, watched: Rows | None, risk: float) -> str:
    """Return a sentence: how many calibration rows would be needed where no threshold keeps to the risk."""
    total = len(calibrated["confidence"])
    _, count, wrong = _sequence(calibrated, watched, risk)
    if not len(count):
        return (
            f"{total} calibration rows are too few for a risk of {risk:.3g}: even without a wrong answer it takes "
            f"{_fewest(risk)}."
        )
    rows_seen = f"{total}" if count[0] == total else f"{count[0]} most certain of {total}"
    seen = f"of the {rows_seen} calibration rows, {wrong[0]:.0f} would be answered wrongly"
    times = np.geomspace(1, 1e4, 1000)
    enough = error_bound(times * wrong[0], times * count[0]) <= risk
    if not enough.any():
        return f"{seen}. If that share stays, no number of rows allows a risk of {risk:.3g}."
    rows = float(times[enough.argmax()]) * total
    unit = 10 ** (int(np.log10(rows)) - 1)
    return f"{seen}. If that share stays, a risk of {risk:.3g} takes about {int(np.ceil(rows / unit) * unit)} rows."


def _sequence(calibrated: Rows, watched: Rows | None, risk: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the thresholds in the order of their tests, and how many rows each answers, and how many wrongly.

    Equal confidences are kept or refused together. Thresholds that could not pass without a single error are left out.
    """
    confidence = np.asarray(calibrated["confidence"])
    count = np.flatnonzero(np.append(confidence[1:] < confidence[:-1], True)) + 1
    count = count[count >= _fewest(risk)]
    if watched is not None and len(count):
        kept = np.arange(1, len(watched["wrong"]) + 1)
        margin = (risk * kept - np.cumsum(watched["wrong"])) / np.sqrt(kept)
        least = min(_fewest(risk), len(kept)) - 1
        begin = watched["confidence"][least + int(margin[least:].argmax())]
        count = count[max(int((confidence[count - 1] >= begin).sum()) - 1, 0) :]
    return confidence[count - 1], count, np.cumsum(calibrated["wrong"])[count - 1]


def _fewest(risk: float) -> int:
    r"""Return how many rows without an error bring the bound to the risk: $(1 - \mathrm{risk})^k = 0.1$."""
    return int(np.ceil(np.log1p(-CONFIDENCE) / np.log1p(-risk)))
