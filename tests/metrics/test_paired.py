"""Paired differences: rows are paired by one grouping, and intervals agree with independent computations."""

from typing import Any

import numpy as np
import pytest
import scoringrules
import torch
from scipy import stats

from bayesrnn import metrics as M
from bayesrnn.comparison import Verdict, compare_predictives
from bayesrnn.metrics.groups import rows_by_group
from bayesrnn.metrics.pairs import numbered
from bayesrnn.predictive import Predictive

pytestmark = pytest.mark.filterwarnings("ignore::bayesrnn.metrics.bootstrap.FewSequencesWarning")

ROWS = 200


def gaussians(first_ids: Any = None, second_ids: Any = None) -> tuple[Predictive, Predictive, torch.Tensor]:
    y = torch.randn(ROWS, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    one = torch.ones(ROWS, dtype=torch.float64)
    first = Predictive.from_gaussian(0.1 * one, one, sequence_ids=first_ids)
    return first, Predictive.from_gaussian(0 * one, one, sequence_ids=second_ids), y


def independent_bootstrap(y: torch.Tensor, clusters: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Percentiles of the paired difference in CRPS over resamples of whole clusters, one resample at a time."""
    gap = scoringrules.crps_normal(y.numpy(), 0.1, 1.0) - scoringrules.crps_normal(y.numpy(), 0.0, 1.0)
    rng, names = np.random.default_rng(99), np.unique(clusters)
    means = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(clusters == name) for name in rng.choice(names, len(names))])
        means.append(gap[rows].mean())
    return np.quantile(means, [(1 - level) / 2, (1 + level) / 2])


IDS = [
    torch.arange(ROWS),
    torch.randperm(ROWS, generator=torch.Generator().manual_seed(0)) + 1000,
    torch.randint(2**60, (ROWS,), generator=torch.Generator().manual_seed(1)),
]


@pytest.mark.parametrize("first", [None, *IDS], ids=["none", "rows", "shuffled", "hashes"])
@pytest.mark.parametrize("second", [None, *IDS], ids=["none", "rows", "shuffled", "hashes"])
def test_ids_do_not_change_which_rows_are_paired(first: Any, second: Any) -> None:
    a, b, y = gaussians(first, second)
    score = M.paired_difference(M.crps, a, b, y, seed=1)
    assert score.interval is not None
    assert score.interval == pytest.approx(independent_bootstrap(y, np.arange(ROWS)), abs=1.5e-3)
    difference = compare_predictives({"b": b, "a": a}, y, seed=1, monte_carlo=False).difference("crps")
    assert difference.interval == pytest.approx(score.interval, abs=1e-12)


@pytest.mark.parametrize("carrier", ["first", "second", "explicit"])
def test_rows_of_one_sequence_stay_together_whoever_knows_them(carrier: str) -> None:
    clusters = torch.arange(ROWS) // 10
    ids = clusters.flip(0) + 7
    a, b, y = gaussians(ids if carrier == "first" else None, ids if carrier == "second" else None)
    options = {"sequences": clusters} if carrier == "explicit" else {}
    score = M.paired_difference(M.crps, a, b, y, **options)
    assert score.sequences == 20
    assert score.interval == pytest.approx(independent_bootstrap(y, clusters.numpy()), abs=2e-3)


def test_groupings_that_do_not_match_are_refused() -> None:
    a, b, y = gaussians(torch.arange(ROWS), torch.arange(ROWS) // 2)
    with pytest.raises(ValueError, match=r"group the rows differently.*sequences="):
        M.paired_difference(M.crps, a, b, y)
    with pytest.raises(ValueError, match="'b' and 'a' carry sequence ids that group the rows differently"):
        compare_predictives({"b": b, "a": a}, y)
    assert M.paired_difference(M.crps, a, b, y, sequences=np.arange(ROWS)).sequences == ROWS


def test_scores_of_other_resamples_are_not_subtracted() -> None:
    from bayesrnn.metrics.paired import difference

    a, b, y = gaussians()
    mine = M.crps(a, y, interval=0.9, seed=0)
    for options in ({"seed": 1}, {"sequences": np.arange(ROWS) // 2}, {"mask": y > 0}, {"method": "student"}):
        other = M.crps(b, y, interval=0.9, **{"seed": 0, **options})
        with pytest.raises(ValueError, match="scored on the same targets"):
            difference(mine, other)


def test_the_t_interval_is_scipys_where_each_row_is_a_sequence() -> None:
    a, b, y = gaussians()
    gap = scoringrules.crps_normal(y.numpy(), 0.1, 1.0) - scoringrules.crps_normal(y.numpy(), 0.0, 1.0)
    expected = stats.ttest_1samp(gap, 0.0).confidence_interval(0.9)
    score = M.paired_difference(M.crps, a, b, y, interval=0.9, method="student")
    assert score.interval == pytest.approx((expected.low, expected.high), rel=1e-9)
    found = compare_predictives({"b": b, "a": a}, y, interval=0.9, method="student", monte_carlo=False)
    assert found.difference("crps").interval == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_the_t_interval_holds_its_level_with_five_sequences() -> None:
    hits, runs = {"student": 0, "bootstrap": 0}, 400
    rng = np.random.default_rng(0)
    for _ in range(runs):
        y = torch.as_tensor(rng.normal(size=(5, 1)) + 0.5 * rng.normal(size=(5, 6))).reshape(-1)
        p = Predictive.from_gaussian(torch.zeros(30), torch.ones(30))
        for method in hits:
            options: Any = {"method": method, "resamples": 200, "sequences": np.arange(30) // 6}
            low, high = M.bias(p, y, interval=0.95, **options).interval  # type: ignore[misc]
            hits[method] += low <= 0 <= high
    assert hits["student"] / runs == pytest.approx(0.95, abs=0.035)
    assert hits["bootstrap"] / runs < 0.9


def test_verdicts() -> None:
    y = torch.randn(300, generator=torch.Generator().manual_seed(0))
    sharp, wide = (Predictive.from_gaussian(torch.zeros(300), s * torch.ones(300)) for s in (1.0, 3.0))
    found = compare_predictives({"wide": wide, "sharp": sharp}, y, monte_carlo=False)
    assert found.difference("crps").verdict is Verdict.BETTER
    assert found.difference("sharpness").verdict is Verdict.SMALLER
    assert compare_predictives({"sharp": sharp, "wide": wide}, y).difference("crps").verdict is Verdict.WORSE
    same = compare_predictives({"a": sharp, "b": sharp}, y, monte_carlo=False)
    assert {d.verdict for d in same.differences} == {Verdict.UNDECIDED}


def test_equal_groupings_have_equal_numbers() -> None:
    assert numbered(np.array([9, 9, 4, 7, 4])).tolist() == [0, 0, 1, 2, 1]
    assert numbered(np.array(["b", "b", "a", "c", "a"])).tolist() == [0, 0, 1, 2, 1]


def test_groups_stand_in_natural_order() -> None:
    import pandas as pd

    def order(groups: Any) -> list[str]:
        return list(rows_by_group(groups, len(groups)))

    assert order([10, 2, 1, 2]) == ["1", "2", "10"]
    assert order(np.array([0.5, -1.0, 0.5])) == ["-1.0", "0.5"]
    assert order(torch.tensor([11, 3])) == ["3", "11"]
    assert order(["10", "9", "b", "a"]) == ["9", "10", "a", "b"]
    assert order(["week 10", "week 9", "Week"]) == ["Week", "week 9", "week 10"]
    assert order([None, "x", 3, True]) == ["3", "None", "True", "x"]
    sizes = pd.Series(pd.Categorical(["large", "small", "mid"], ["small", "mid", "large"], ordered=True))
    assert order(sizes) == ["small", "mid", "large"]
    assert rows_by_group(["b", "a", "b"], 3)["b"].tolist() == [True, False, True]
    with pytest.raises(ValueError, match="groups has 2 labels for 3 rows"):
        rows_by_group(["a", "b"], 3)
