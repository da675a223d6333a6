"""`BayesianRNNForecaster`: from a table to forecasts, saved, updated, judged."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import bayesrnn as br
from bayesrnn.estimators import BayesianRNNForecaster
from bayesrnn.forecasting.distribution import ForecastDistribution
from bayesrnn.forecasting.features import Windows
from bayesrnn.forecasting.fitted import last_windows

LENGTH = 150


def table(series: int = 2, length: int = LENGTH) -> pd.DataFrame:
    """Daily series with a week, a covariate that acts, one that is only seen afterwards, and a gap."""
    rng = np.random.default_rng(0)
    parts = []
    for k in range(series):
        promo = rng.integers(0, 2, length)
        y = 10 * (k + 1) + np.arange(length) % 7 + 3 * promo + rng.normal(scale=0.3, size=length)
        y[40] = np.nan
        parts.append(
            pd.DataFrame(
                {
                    "unique_id": f"s{k}",
                    "ds": pd.date_range("2024-01-01", periods=length, freq="D"),
                    "y": y,
                    "promo": promo,
                    "kind": rng.choice(["a", "b"], length),
                    "temperature": rng.normal(size=length),
                    "region": "north" if k else "south",
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def ahead(series: int = 2, steps: int = 4, **columns: Any) -> pd.DataFrame:
    start = pd.Timestamp("2024-01-01") + pd.Timedelta(days=LENGTH)
    parts = [
        pd.DataFrame({"unique_id": f"s{k}", "ds": pd.date_range(start, periods=steps), "promo": 1, "kind": "a"})
        for k in range(series)
    ]
    return pd.concat(parts, ignore_index=True).assign(**columns)


@pytest.fixture(scope="module")
def fitted() -> BayesianRNNForecaster:
    forecaster = BayesianRNNForecaster(
        4, known=["promo", "kind"], past=["temperature"], static=["region"], draws=16, epochs=1, hidden_size=8,
        likelihood="gaussian",
    )  # fmt: skip
    return forecaster.fit(table())


def test_a_table_of_series_is_forecast_with_its_covariates(fitted: BayesianRNNForecaster) -> None:
    forecast = fitted.predict(known=ahead())
    assert list(forecast.columns[:5]) == ["unique_id", "ds", "mean", "median", "std"]
    assert list(forecast.columns[5:]) == ["lo-50", "hi-50", "lo-80", "hi-80", "lo-95", "hi-95"]
    assert forecast["unique_id"].tolist() == ["s0"] * 4 + ["s1"] * 4
    days = (pd.to_datetime(forecast["ds"]) - pd.Timestamp("2024-01-01")).dt.days
    base = np.where(forecast["unique_id"] == "s0", 10, 20) + days % 7
    np.testing.assert_allclose(forecast["mean"], base + 3, atol=1.0)
    without = fitted.predict(known=ahead(promo=0))
    np.testing.assert_allclose(forecast["mean"] - without["mean"], 3, atol=0.6)


def test_a_saved_forecaster_says_the_same(fitted: BayesianRNNForecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    loaded = BayesianRNNForecaster.load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.predict(known=ahead()), fitted.predict(known=ahead()))
    assert {file.suffix for file in (tmp_path / "model").iterdir()} <= {".json", ".safetensors", ".lock", ""}


def test_a_changed_file_is_refused(fitted: BayesianRNNForecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    card = tmp_path / "model" / "forecaster.json"
    card.write_text(card.read_text().replace('"horizon": 4', '"horizon": 5', 1))
    with pytest.raises(ValueError, match="is damaged"):
        BayesianRNNForecaster.load(tmp_path / "model")


def test_rolling_origins_judge_each_series(fitted: BayesianRNNForecaster) -> None:
    test = fitted.backtest(start="2024-05-01", every=5)
    frame = test.to_frame()
    assert set(frame["id"]) == {"s0", "s1"}
    assert frame["origin"].min() == pd.Timestamp("2024-04-30")
    other = fitted.backtest(start="2024-05-01", every=5, forecast=lambda history, h: np.zeros((3, h)))
    np.testing.assert_array_equal(other.target, test.target)
    assert float(other.predictive.mean.abs().max()) == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.assign(y="high"), "the target 'y' must be numbers"),
        (lambda f: f.drop(columns="promo"), "no column 'promo'"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "more than one row at 2024-01-01"),
        (
            lambda f: f.assign(region=(np.arange(len(f)) % 2).astype(str)),
            "'region' of the series 's0' changes over time",
        ),
        (lambda f: f.groupby("unique_id").head(12), "too few for a horizon of 4"),
        (lambda f: f[(f["unique_id"] == "s0") | (f["ds"].dt.day_of_week == 0)], "'s0' has D and 's1' has W"),
        (lambda f: f.assign(y=7.0), r"are constant \(7\)"),
    ],
)
def test_a_table_that_cannot_be_right_is_refused(change: Any, message: str) -> None:
    forecaster = BayesianRNNForecaster(4, known=["promo"], static=["region"], draws=2, epochs=1)
    with pytest.raises(ValueError, match=message):
        forecaster.fit(change(table()))


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (None, "needs them for the next 4 steps: pass known="),
        (ahead(steps=3), "missing in the horizon, first at 2024-06-02"),
        (ahead(series=1), "known has no rows of the series 's1'"),
        (ahead(kind="c"), "has 'c', never seen in training; known are 'a', 'b'"),
        (ahead(promo=np.nan), "missing in the horizon"),
    ],
)
def test_covariates_that_do_not_fit_are_refused(fitted: BayesianRNNForecaster, known: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted.predict(known=known)


def test_updates_refuse_gaps_and_unknown_series(fitted: BayesianRNNForecaster) -> None:
    later = table(length=LENGTH + 6).groupby("unique_id").tail(6)
    with pytest.raises(ValueError, match=r"must begin at 2024-05-30, .* Give the rows between"):
        fitted.update(later[later["ds"] > "2024-05-31"])
    with pytest.raises(ValueError, match="Give only what is new"):
        fitted.update(table())
    with pytest.raises(ValueError, match="'new' was not there at the fit"):
        fitted.update(later.assign(unique_id="new").drop_duplicates("ds"))


def test_new_rows_at_once_or_one_after_the_other_give_the_same_numbers(tmp_path: Path) -> None:
    rows = table(length=LENGTH + 9)
    days = (rows["ds"] - rows["ds"].min()).dt.days
    rows.loc[days.isin([LENGTH - 1, LENGTH, LENGTH + 4]), "y"] = np.nan  # gaps at and across the ends of pieces
    rows.loc[days == LENGTH + 2, "temperature"] = np.nan
    early, late = rows.groupby("unique_id").head(LENGTH), rows.groupby("unique_id").tail(9)
    forecaster = BayesianRNNForecaster(
        3, past=["temperature"], draws=8, epochs=1, hidden_size=4, likelihood="gaussian"
    ).fit(early)
    before = forecaster.predict()
    forecaster.save(tmp_path / "model")
    whole, pieces = (BayesianRNNForecaster.load(tmp_path / "model") for _ in range(2))
    whole.update(late)
    for _, day in late.groupby("ds"):
        pieces.update(day)
    for name, hedges in whole.state_.hedges.items():
        assert torch.allclose(hedges, pieces.state_.hedges[name], rtol=1e-10)
        assert not torch.allclose(hedges, forecaster.state_.hedges[name], rtol=1e-3)
    pd.testing.assert_frame_equal(whole.predict(), pieces.predict(), rtol=1e-9)
    assert (whole.predict()["ds"].min() - before["ds"].min()).days == 9


def test_a_forecast_knows_nothing_after_its_origin(fitted: BayesianRNNForecaster) -> None:
    rows = table()
    later = rows["ds"] > "2024-05-05"
    changed = rows.assign(y=rows["y"].where(~later, rows["y"] * 3), temperature=rows["temperature"].where(~later, 9.0))
    tests = [fitted.backtest(f, start="2024-04-20", every=3) for f in (rows, changed)]
    early = (torch.stack([t.target for t in tests]).diff(dim=0)[0].abs().nan_to_num(0) == 0).all(1)
    assert 0 < int(early.sum()) < len(early)
    days = tests[0].series[0].times[tests[0].origins.numpy()] <= "2024-05-05"
    same = torch.isclose(tests[0].predictive.mean, tests[1].predictive.mean, rtol=1e-9).all(1)
    assert same[torch.from_numpy(days)].all()
    assert not same.all()


def test_the_last_window_is_read_from_the_end_of_the_history(fitted: BayesianRNNForecaster) -> None:
    state = fitted._fitted()
    record, reader = state.records[0], state.fitted.reader
    many = -(-3 * reader.needed // len(record))
    times = pd.date_range(end=record.times[-1], periods=many * len(record), freq=record.times.freq)
    parts = {name: np.concatenate([getattr(record, name)] * many) for name in ("values", "observed", "known", "past")}
    long, later = replace(record, id="new", times=times, **parts), np.ones((reader.horizon, record.known.shape[1]))
    whole = state.fitted.windows(long, np.array([len(long) - 1]), later)
    ends = last_windows(state.fitted, [long], [later])
    assert len(long.last(2 * reader.needed)) < len(long)
    for name in Windows.__annotations__:
        torch.testing.assert_close(getattr(ends, name), getattr(whole, name), equal_nan=True)


def test_a_new_series_is_forecast_from_its_history(fitted: BayesianRNNForecaster) -> None:
    new = table().query("unique_id == 's1'").tail(40).assign(unique_id="new", region="south", y=lambda f: 5 * f["y"])
    known = ahead(series=1).assign(unique_id="new", promo=0)
    forecast = fitted.predict(new, known)
    days = (pd.to_datetime(forecast["ds"]) - pd.Timestamp("2024-01-01")).dt.days
    np.testing.assert_allclose(forecast["mean"], 5 * (20 + days % 7), rtol=0.15)


def test_paths_move_together_as_errors_did() -> None:
    """Errors of a random walk add up: the spread of a total is wide, and that of independent steps too narrow."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=2000).cumsum()
    frame = pd.DataFrame({"ds": np.arange(2000), "y": y})
    forecaster = BayesianRNNForecaster(6, seasons=[1], draws=8, epochs=1, hidden_size=4, likelihood="gaussian")
    paths = forecaster.fit(frame).paths(4000)[:, 0]
    exact = sum((7 - k) ** 2 for k in range(1, 7)) ** 0.5  # a total of six steps counts the first innovation six times
    assert float(paths.sum(1).std()) == pytest.approx(exact, rel=0.2)
    low, high = forecaster.predict_distribution().interval(0.8)
    inside = ((paths >= low) & (paths <= high)).double().mean(0)
    np.testing.assert_allclose(inside, 0.8, atol=0.03)
    test = forecaster.backtest(start=1600, every=7)
    table = test.predictive.distribution
    apart = ForecastDistribution(table.levels, table.values, table.share, torch.eye(6, dtype=torch.float64))
    for score in (br.metrics.energy_score, br.metrics.variogram_score):
        together, independent = (
            float(score(test.predictive.with_distribution(d), test.target).value) for d in (table, apart)
        )
        assert together < independent


def test_a_series_without_a_season_is_not_told_of_one() -> None:
    years = pd.date_range("2000", periods=14, freq="YS")
    frame = pd.DataFrame({"ds": years, "y": np.random.default_rng(0).normal(size=14)})
    with pytest.raises(ValueError, match="too few for a horizon of 5") as refused:
        BayesianRNNForecaster(horizon=5, draws=4, epochs=1, likelihood="gaussian").fit(frame)
    assert "season" not in str(refused.value)


def test_levels_are_percentages(fitted: BayesianRNNForecaster) -> None:
    with pytest.raises(ValueError, match=r"percentages from 1 to below 100, but 0\.8 was given"):
        fitted.predict(known=ahead(), levels=(0.8,))


def test_a_forecaster_that_was_not_fitted_says_so() -> None:
    with pytest.raises(ValueError, match="was not fitted"):
        BayesianRNNForecaster(4).predict()


def test_the_network_reads_as_many_steps_as_context_says(tmp_path: Path) -> None:
    times = pd.date_range("2020-01-01", periods=90, freq="D")
    frame = pd.DataFrame({"ds": times, "y": np.sin(np.arange(90) / 3)})
    forecaster = BayesianRNNForecaster(2, draws=4, epochs=1, likelihood="gaussian", dropout=0.1, context=9).fit(frame)
    assert forecaster.state_ is not None
    assert forecaster.state_.fitted.reader.context == 9
    forecaster.save(tmp_path / "model")
    again = BayesianRNNForecaster.load(tmp_path / "model")
    assert again.get_params()["context"] == 9
    pd.testing.assert_frame_equal(again.predict(), forecaster.predict())


@pytest.mark.parametrize("values", [20.0 + 7 * np.arange(60) % 11, np.tile([1.0, 5, 2, 8], 20)])
def test_a_series_that_repeats_exactly_is_refused_by_its_cause(values: np.ndarray) -> None:
    season = 11 if len(values) == 60 else 4
    frame = pd.DataFrame({"ds": np.arange(len(values)), "y": values})
    with pytest.raises(ValueError, match="forecasts every value exactly"):
        BayesianRNNForecaster(2, seasons=(season,), draws=4, epochs=1, likelihood="gaussian").fit(frame)
