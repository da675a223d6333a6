"""Bands around curves against plain transcriptions and against what they promise."""

import numpy as np
import pytest
from scipy import stats

from bayesrnn.plots.bands import binomial_band, ecdf_band, effective_size, ratio_band, ratio_replicates


def test_ratio_replicates_resample_whole_sequences() -> None:
    sequences = np.array([0, 0, 1, 2, 2, 2])
    above, below = np.arange(6.0)[:, None], np.ones((6, 1))
    found = ratio_replicates(above, below, sequences, replicates=50, seed=3)
    counts = np.random.default_rng(3).multinomial(3, [1 / 3] * 3, size=50)
    for k, weight in enumerate(counts):
        values = np.concatenate([np.tile(above[sequences == s, 0], w) for s, w in enumerate(weight)])
        assert found[k, 0] == pytest.approx(values.mean())


def test_band_is_wider_for_dependent_steps() -> None:
    rng = np.random.default_rng(0)
    per_sequence = rng.random((40, 1)).repeat(25, 1).reshape(-1, 1)
    ones = np.ones_like(per_sequence)
    dependent = ratio_band(per_sequence, ones, np.arange(40).repeat(25))
    naive = ratio_band(per_sequence, ones, np.arange(1000))
    assert (dependent[1] - dependent[0]) > 3 * (naive[1] - naive[0])


def test_empty_columns_have_no_band() -> None:
    low, high = ratio_band(np.zeros((4, 1)), np.zeros((4, 1)), np.arange(4))
    assert np.isnan(low).all()
    assert np.isnan(high).all()


@pytest.mark.parametrize("copies", [1, 5, 20])
def test_effective_size_counts_copies_once(copies: int) -> None:
    rng = np.random.default_rng(1)
    shares = (rng.random((300, 3)) < 0.4).astype(float).repeat(copies, 0)
    size = effective_size(shares, np.arange(300).repeat(copies))
    assert size == pytest.approx(300, rel=0.01)


def test_binomial_band_holds_at_its_level() -> None:
    rng = np.random.default_rng(2)
    low, high = binomial_band(np.array([0.9]), 200)
    observed = rng.binomial(200, 0.9, 4000) / 200
    assert ((observed >= low) & (observed <= high)).mean() == pytest.approx(0.96, abs=0.025)


@pytest.mark.parametrize("size", [50, 400])
def test_ecdf_band_is_simultaneous(size: int) -> None:
    rng = np.random.default_rng(4)
    grid = np.linspace(0.01, 0.99, 99)
    low, high = ecdf_band(grid, size)
    inside = []
    for _ in range(600):
        ecdf = np.searchsorted(np.sort(rng.random(size)), grid, side="right") / size
        inside.append(((ecdf >= low - 1e-12) & (ecdf <= high + 1e-12)).all())
    assert 0.925 <= np.mean(inside) <= 0.985


def test_a_column_of_ones_gets_the_exact_interval_of_its_sequences() -> None:
    member = np.array([[1.0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 1]])
    held = np.array([[1.0], [1], [0], [0], [1]])
    low, high = ratio_band(member * held, member, np.array([0, 1, 2, 3, 3]))
    assert (low[0], high[0]) == pytest.approx((stats.beta.ppf(0.025, 2, 1), 1.0))
    assert 0.0 <= low[1] < high[1] < 1.0
    assert low[2] == pytest.approx(stats.beta.ppf(0.025, 2, 1))
    low, _ = ratio_band(np.array([[0.0, 1]] * 3), np.ones((3, 1)), np.arange(3))  # one denominator for all columns
    assert low.tolist() == pytest.approx([0.0, stats.beta.ppf(0.025, 3, 1)])
    one = ratio_band(np.ones((3, 1)), np.ones((3, 1)), np.zeros(3, dtype=np.int64))
    assert one[0] == one[1] == 1.0  # one sequence tells nothing about others
