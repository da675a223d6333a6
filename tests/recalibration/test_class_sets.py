"""Conformal sets of classes against a plain transcription, and their coverage by simulation."""

import math

import numpy as np
import pytest
import torch

from bayesrnn.predictive import Predictive
from bayesrnn.recalibration import ConformalSets, from_dict
from bayesrnn.recalibration.class_sets import _uniform


def problem(rows: int, seed: int, *, sharper: float = 2.0, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """True classes, and probabilities that are too sure of themselves by the power `sharper`."""
    generator = np.random.default_rng(seed)
    truth = generator.dirichlet(np.full(classes, 0.6), size=rows)
    y = np.array([generator.choice(classes, p=row) for row in truth])
    said = truth**sharper + 1e-6
    return said / said.sum(1, keepdims=True), y


def predictive(p: np.ndarray) -> Predictive:
    return Predictive.from_probabilities(torch.tensor(p)[None])


def plain(p: np.ndarray, y: np.ndarray, new: np.ndarray, score: str, level: float, u: list, v: list) -> np.ndarray:
    """The sets, row by row and class by class, as the papers write them."""

    def strange(row: np.ndarray, k: int, uniform: float) -> float:
        if score == "lac":
            return 1 - row[k]
        above = [j for j in range(len(row)) if row[j] > row[k]]
        value = sum(row[j] for j in above) + uniform * row[k]
        return value + 0.3 * max(0, len(above) + 1 - 2) if score == "raps" else value

    scores = sorted(strange(p[i], int(y[i]), u[i]) for i in range(len(y)))
    rank = math.ceil((len(y) + 1) * level - 1e-9)
    q = scores[rank - 1] if rank <= len(y) else math.inf
    return np.array([[strange(row, k, v[i]) <= q + 1e-12 for k in range(len(row))] for i, row in enumerate(new)])


@pytest.mark.parametrize("score", ["lac", "aps", "raps"])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.999])
def test_the_sets_are_those_of_a_plain_transcription(score: str, level: float) -> None:
    (p, y), (new, _) = problem(80, 0), problem(60, 1)
    sets = ConformalSets(score, penalty=0.3, free=2, seed=4).fit(predictive(p), torch.tensor(y))
    u, v = ([_uniform(f"{part}/4/{i}") for i in range(80)] for part in ("fit", "apply"))
    expected = plain(p, y, new, score, level, u, v)
    assert np.array_equal(sets.apply(predictive(new), level=level).members, expected)
    assert expected.any()


@pytest.mark.parametrize("score", ["lac", "aps", "raps"])
@pytest.mark.parametrize("by", [None, "class", "group"])
def test_coverage_is_what_was_asked_for(score: str, by: str | None) -> None:
    """Within 4 standard errors, over 40 held-out sets; for each class or group where sets go by it."""
    held: list[np.ndarray] = []
    for seed in range(40):
        (p, y), (new, t) = problem(400, 2 * seed), problem(400, 2 * seed + 1)
        groups, others = (y + np.arange(400)) % 2, (t + np.arange(400)) % 2
        sets = ConformalSets(score, by, seed=seed).fit(predictive(p), torch.tensor(y), groups)
        covered = sets.apply(predictive(new), others, level=0.8).holds(torch.tensor(t))
        held.append(np.stack([covered, t, others]))
    covered, t, others = np.concatenate(held, 1)
    parts = {None: [np.ones(len(t), bool)], "class": [t == k for k in range(5)], "group": [others == g for g in (0, 1)]}
    for rows in parts[by]:
        n = rows.sum() / 40  # rows of a part in one held-out set: their rank adds its own error
        error = 4 * math.sqrt(0.16 / rows.sum() + 0.16 / (n * 40))
        assert 0.8 - error < covered[rows].mean() < 0.8 + error + 1 / (n + 1)


def test_sets_by_class_repair_what_sets_of_all_hide() -> None:
    """The probabilities of the last class are too low: sets of all rows leave it out too often."""
    (p, y), (new, t) = problem(4000, 0, sharper=1.0), problem(4000, 1, sharper=1.0)
    for rows in (p, new):
        rows[:, -1] *= 0.2
        rows /= rows.sum(1, keepdims=True)
    shares = {}
    for by in (None, "class"):
        sets = ConformalSets("lac", by).fit(predictive(p), torch.tensor(y)).apply(predictive(new), level=0.8)
        table = sets.coverage(torch.tensor(t))
        shares[by] = float(table[table["part"] == "4"]["coverage"].iloc[0])
        everyone = table.iloc[0]
        assert everyone["low"] < 0.8 < everyone["high"] or by == "class"
    assert shares[None] < 0.7
    assert abs(shares["class"] - 0.8) < 0.04


def test_kept_as_json_and_made_again() -> None:
    (p, y), (new, _) = problem(80, 0), problem(20, 1)
    sets = ConformalSets("raps", "class", penalty=0.1, free=2, seed=3).fit(predictive(p), torch.tensor(y))
    again = from_dict(sets.to_dict())
    assert np.array_equal(again.apply(predictive(new)).members, sets.apply(predictive(new)).members)


def test_a_class_that_was_not_held_out_is_in_every_set() -> None:
    p, y = problem(80, 0)
    sets = ConformalSets("lac", "class").fit(predictive(p[y < 4]), torch.tensor(y[y < 4])).apply(predictive(p))
    assert sets.members[:, 4].all()


def test_names_of_classes() -> None:
    p, y = problem(80, 0, classes=2)
    named = predictive(p).with_class_names(["no", "yes"])
    words = np.array(["no", "yes"])[y]
    sets = ConformalSets().fit(named, words.tolist()).apply(named, level=0.5)
    assert np.array_equal(sets.holds(words), sets.holds(torch.tensor(y)))
    assert set(sets.texts()) <= {"", "no", "yes", "no|yes"}
    with pytest.raises(ValueError, match="maybe"):
        sets.holds(["maybe"] * 80)


def test_names_that_are_numbers_are_not_taken_for_places() -> None:
    p, y = problem(80, 0, classes=2)
    named = predictive(p).with_class_names(["1", "0"])
    sets = ConformalSets().fit(named, torch.tensor(y)).apply(named, level=0.5)
    words = np.array(["1", "0"])[y]
    assert np.array_equal(sets.holds(words.tolist()), sets.holds(torch.tensor(y)))
    assert sets.coverage(torch.tensor(y))["part"].tolist() == ["all", "1", "0"]


def test_what_cannot_be_right_is_refused() -> None:
    p, y = problem(80, 0)
    fine = predictive(p)
    for call, words in (
        (lambda: ConformalSets("top"), "score must be one of 'lac', 'aps', 'raps'"),
        (lambda: ConformalSets(penalty=-1.0), "penalty must be finite and at least 0"),
        (lambda: ConformalSets().fit(fine[:10], torch.tensor(y[:10])), "at least 30 held-out rows, but 10"),
        (lambda: ConformalSets().apply(fine), "were not fitted"),
        (lambda: ConformalSets().fit(Predictive.from_gaussian(torch.zeros(40), torch.ones(40)), y), "ClassPredictive"),
        (lambda: ConformalSets(by="group").fit(fine, torch.tensor(y)), "needs the group of each of the 80 rows"),
        (lambda: ConformalSets().fit(fine, torch.tensor(y)).apply(fine, level=1.0), "strictly between 0 and 1"),
        (
            lambda: ConformalSets().fit(fine, torch.tensor(y)).apply(fine).holds(torch.tensor([0])),
            "80 sets but 1 targets",
        ),
        (lambda: ConformalSets().fit(fine, torch.tensor(y)).apply(fine).holds(["x"] * 80), "'x'"),
        (
            lambda: ConformalSets(by="group").fit(fine, torch.tensor(y), ["a"] * 80).apply(fine, ["b"] * 80),
            "the group 'b' was not among the held-out rows",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            call()


@pytest.mark.parametrize("value", ["a", None, [1], True, float("nan"), -1, float("inf")])
@pytest.mark.parametrize("name", ["penalty", "free"])
def test_numbers_that_are_none_are_refused(name: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError), match=f"{name} must be"):
        ConformalSets("raps", **{name: value})  # type: ignore[arg-type]
