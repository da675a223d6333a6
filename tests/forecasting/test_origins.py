"""Origins that are taken where not all can be."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesrnn.forecasting.origins import spacing, spread


@given(wanted=st.integers(1, 200), season=st.integers(1, 400))
def test_origins_visit_every_time_of_the_season(wanted: int, season: int) -> None:
    steps = spacing(wanted, season)
    assert len(set(np.arange(season) * steps % season)) == season or season == 1
    nearer = [k for k in range(1, 700) if max(k / wanted, wanted / k) < max(steps / wanted, wanted / steps)]
    assert all(math.gcd(k, season) > 1 for k in nearer)


@given(wanted=st.integers(1, 60), season=st.integers(1, 60), more=st.integers(0, 9))
def test_a_spacing_is_held_below_the_horizon(wanted: int, season: int, more: int) -> None:
    steps = spacing(wanted, season, most=wanted + more)
    assert 1 <= steps <= wanted + more
    assert math.gcd(steps, season) == 1 or season == 1


@given(count=st.integers(1, 3000), kept=st.integers(1, 3000))
def test_positions_are_spread_evenly(count: int, kept: int) -> None:
    chosen = spread(count, kept)
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] == 0
    assert chosen[-1] < count
    assert 0.6 * min(count, kept) <= len(chosen) <= kept or len(chosen) == count <= kept
    assert np.diff(chosen, append=count).max() <= 2 * max(count / kept, 1) + 1  # at most two parts


@pytest.mark.parametrize("season", [7, 12, 24, 48, 144, 168])
@pytest.mark.parametrize("steps", [2, 3, 4, 12, 24])
def test_every_time_of_a_season_is_learned_from_alike(season: int, steps: int) -> None:
    """Equal steps of 24 meet a day of 24 hours at one of them."""
    chosen = spread(steps * 5000, 5000) % season
    counts = np.bincount(chosen, minlength=season)
    assert counts.min() > 0.8 * 5000 / season
    assert counts.max() < 1.2 * 5000 / season
