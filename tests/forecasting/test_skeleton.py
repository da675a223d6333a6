"""The linear part: its regressors in plain loops, its weights by other solvers, nothing from the future."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from bayesrnn.forecasting.calendar import calendar_columns, clock_columns, seasons_of
from bayesrnn.forecasting.design import Design, Layout, Track
from bayesrnn.forecasting.skeleton import Choice, choose, fit_skeleton

LAYOUT = Layout((4, 12), lags=3, repeats=(2, 1), calendar=2, known=1, past=1)
HORIZON = 6


def track(values: np.ndarray, observed: np.ndarray | None = None) -> Track:
    rng, length = np.random.default_rng(1), len(values)
    return Track(
        values,
        np.ones(length, bool) if observed is None else observed,
        rng.normal(size=(length + HORIZON, 2)),
        rng.normal(size=(length + HORIZON, 1)),
        rng.normal(size=(length, 1)),
        float(values.mean()),
        np.zeros((length + HORIZON, 0)),
        np.zeros(0),
        1.0,
    )


def by_hand(t: Track, o: int, h: int) -> list[float]:
    y = t.values
    anchor = float(np.mean(y[o - 3 : o + 1]))
    row = [y[o - j] - anchor for j in range(3)]
    for m, count in ((4, 2), (12, 1)):
        first = next(k for k in range(1, 99) if k * m >= h)
        row += [y[o + h - k * m] - anchor for k in range(first, first + count)]
        row += [y[o - k * m] - anchor for k in range(first, first + count)]
    row += [np.mean(y[o - 11 : o + 1]) - anchor]
    row += [np.mean(y[o - m + 1 : o + 1]) - np.mean(y[o - 2 * m + 1 : o - m + 1]) for m in (4, 12)]
    return [*row, t.mean - anchor, *t.calendar[o + h], t.known[o + h, 0], t.known[o, 0], t.past[o, 0]]


@pytest.mark.parametrize("step", [1, 4, 5])
def test_regressors_are_those_of_plain_loops(step: int) -> None:
    t = track(np.random.default_rng(0).normal(size=60).cumsum())
    design, origins = Design(t, LAYOUT), np.array([30, 41, 53])
    matrix = design.matrix(origins, step, design.shared(origins))
    assert matrix.shape[1] == len(LAYOUT.groups())
    np.testing.assert_allclose(matrix, [by_hand(t, o, step) for o in origins], atol=1e-12)


def test_weights_are_those_of_ridge_regression_from_the_prior() -> None:
    t = track(np.random.default_rng(0).normal(size=200).cumsum())
    design, origins = Design(t, LAYOUT), np.arange(30, 190)
    choice = Choice(3, (2, 1), "season", calendar=True, mean=True, penalty=0.05)
    skeleton, _ = fit_skeleton([(design, origins)], LAYOUT, [choice], HORIZON)
    for h in (1, 6):
        matrix = design.matrix(origins, h, design.shared(origins))
        change = t.values[origins + h] - design.anchor(origins)
        size = np.sqrt((matrix**2).sum(0))
        start = choice.start(LAYOUT)
        ridge = Ridge(alpha=0.05, fit_intercept=False, tol=1e-12).fit(matrix / size, change - matrix @ start)
        np.testing.assert_allclose(skeleton.weights[h - 1], start + ridge.coef_ / size, rtol=1e-4, atol=1e-6)
    forecast = skeleton.predict(t, np.array([100]))
    own = [
        design.matrix(np.array([100]), h, design.shared(np.array([100]))) @ skeleton.weights[h - 1] for h in range(1, 7)
    ]
    np.testing.assert_allclose(forecast[0], np.array(own)[:, 0] + design.anchor(np.array([100])))


def test_cross_fitted_forecasts_leave_their_fold_out() -> None:
    t = track(np.random.default_rng(0).normal(size=150).cumsum())
    design, origins = Design(t, LAYOUT), np.arange(30, 140)
    choice = Choice(2, (1, 1), "last", penalty=0.01)
    (forecasts,) = fit_skeleton([(design, origins)], LAYOUT, [choice], HORIZON, folds=3)[1]
    for fold in np.array_split(origins, 3):
        rest = np.setdiff1d(origins, fold)
        other = fit_skeleton([(design, rest)], LAYOUT, [choice], HORIZON)[0].predict(t, fold)
        np.testing.assert_allclose(forecasts[fold - 30], other, atol=1e-8)


def test_the_forecast_of_several_choices_is_the_mean_of_theirs() -> None:
    t = track(np.random.default_rng(0).normal(size=200).cumsum())
    rows, at = [(Design(t, LAYOUT), np.arange(30, 190))], np.array([60, 100])
    first, second = Choice(3, (0, 1), "season", mean=True), Choice(1, (2, 0), "last", calendar=True, penalty=0.1)
    single = [fit_skeleton(rows, LAYOUT, [choice], HORIZON)[0].predict(t, at) for choice in (first, second)]
    both = fit_skeleton(rows, LAYOUT, [first, second, second], HORIZON)[0].predict(t, at)
    np.testing.assert_allclose(both, (single[0] + 2 * single[1]) / 3, atol=1e-10)


def test_the_mean_of_choices_is_better_in_validation_than_the_best_of_them() -> None:
    t = track(np.random.default_rng(1).normal(size=400) + np.tile(np.arange(12.0), 34)[:400] / 6)
    design, train, held = Design(t, LAYOUT), np.arange(40, 120), np.arange(256, 390)
    choices, error = choose([(design, train)], [(design, held)], LAYOUT, HORIZON)
    actual = np.stack([t.values[held + h] for h in range(1, HORIZON + 1)], 1)

    def size(some: Sequence[Choice]) -> float:
        return float(np.abs(fit_skeleton([(design, train)], LAYOUT, some, HORIZON)[0].predict(t, held) - actual).mean())

    assert size(choices) == pytest.approx(error, rel=1e-9)
    assert error < 0.98 * size(choices[:1])
    assert size(choices[:1]) <= min(size([choice]) for choice in choices) + 1e-12


def test_unobserved_targets_do_not_count() -> None:
    values = np.random.default_rng(0).normal(size=120).cumsum()
    observed = np.ones(120, bool)
    observed[70:75] = False
    choice, origins = Choice(2, (1, 0), "last"), np.arange(30, 110)
    wrong = values.copy()
    wrong[70:75] += 50.0
    kept = origins[(origins < 70 - HORIZON) | (origins > 74 + 24)]  # neither targets nor lags lie in the gap
    parts = [(Design(track(v, observed), LAYOUT), np.array([72 - HORIZON, *kept])) for v in (values, wrong)]
    one, other = (fit_skeleton([part], LAYOUT, [choice], 1)[0].weights for part in parts)
    assert one.shape == other.shape
    gap = [(Design(track(values, observed), LAYOUT), np.arange(69, 74))]
    alone = fit_skeleton(gap, LAYOUT, [choice], 1)[0].weights  # every target is in the gap: the weights are the prior
    np.testing.assert_allclose(alone[0], choice.start(LAYOUT), atol=1e-9)


def test_the_search_finds_the_season_that_repeats() -> None:
    rng = np.random.default_rng(0)
    values = np.tile(rng.normal(scale=3, size=12), 40) + rng.normal(scale=0.3, size=480)
    design = Design(track(values), LAYOUT)
    choices, error = choose([(design, np.arange(40, 330))], [(design, np.arange(336, 470))], LAYOUT, HORIZON)
    assert all(choice.repeats[1] > 0 for choice in choices)
    assert error < 0.4  # the mean absolute value of the noise is .24; of the best forecast of it .24 to .34


def test_seasons_are_those_that_step_and_length_allow() -> None:
    hours = pd.date_range("2024-01-01", periods=3000, freq="h")
    assert seasons_of(hours, 3000) == (24, 168)
    assert seasons_of(hours, 200) == (24,)
    assert seasons_of(pd.date_range("2020-01-01", periods=1200, freq="D"), 1200) == (7, 365)
    assert seasons_of(pd.date_range("2020-01-01", periods=90, freq="MS"), 90) == (12,)
    assert seasons_of(pd.RangeIndex(100), 100) == (1,)


def test_the_calendar_reads_local_clocks() -> None:
    utc = pd.date_range("2024-03-30 22:00", periods=48, freq="h", tz="UTC")
    local = utc.tz_convert("Europe/Berlin")
    for columns in (calendar_columns, clock_columns):
        np.testing.assert_allclose(columns(local, 48), columns(local.tz_localize(None), 48), atol=1e-12)
    day = calendar_columns(utc, 48)
    noon = utc.hour == 12
    np.testing.assert_allclose(day[noon, 1], -1.0)  # the first cosine of the day
    assert calendar_columns(pd.RangeIndex(5), 5).shape == (5, 0)
