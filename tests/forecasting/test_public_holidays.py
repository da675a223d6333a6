"""Holidays as features: the right days, hours of their own, chosen by validation, refused in one line."""

import datetime
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bayesrnn.cli import main
from bayesrnn.estimators import BayesianRNNForecaster
from bayesrnn.forecasting import public_holidays
from bayesrnn.forecasting.public_holidays import check_holidays, holiday_columns, holiday_flags


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A stand-in for the library: in the country XA every 10th of a month is free, in its part B the 20th too."""

    def days(country: str, subdiv: str | None, years: range) -> dict[datetime.date, str]:
        which = (10, 20) if subdiv else (10,)
        return {datetime.date(y, m, d): "free" for y in years for m in range(1, 13) for d in which}

    known = SimpleNamespace(
        list_supported_countries=lambda include_aliases: {"XA": ["B"], "US": ["NY"]}, country_holidays=days
    )
    monkeypatch.setitem(sys.modules, "holidays", known)
    public_holidays._days.cache_clear()
    yield known
    public_holidays._days.cache_clear()


@pytest.mark.usefixtures("library")
def test_flags_are_the_day_itself_before_and_after() -> None:
    times = pd.date_range("2024-03-01", "2024-03-31", freq="D")
    flags = holiday_flags(times, "XA-B")
    by_hand = [[float(day.day + k in (10, 20)) for k in (0, 1, -1)] for day in times]
    np.testing.assert_array_equal(flags, by_hand)
    np.testing.assert_array_equal(holiday_columns(times, "XA-B"), flags)
    local = holiday_flags(pd.date_range("2024-03-09", periods=72, freq="h", tz="America/New_York"), "XA")
    np.testing.assert_array_equal(local[:, 0], np.repeat([0, 1, 0], [24, 23, 25])[:72])  # a clock is put forward
    assert holiday_columns(times, None).shape == (31, 0)


@pytest.mark.usefixtures("library")
def test_hours_of_a_holiday_have_columns_of_their_own() -> None:
    times = pd.date_range("2024-03-09", periods=72, freq="h")
    columns, share = holiday_columns(times, "XA"), np.arange(72) % 24 / 24
    waves = [wave(2 * np.pi * k * share) for k in (1, 2) for wave in (np.sin, np.cos)]
    flags = columns[:, :3]
    np.testing.assert_allclose(columns[:, 3:], np.concatenate([flags * w[:, None] for w in waves], 1), atol=1e-12)


def daily(length: int = 420) -> pd.DataFrame:
    days = pd.date_range("2023-01-01", periods=length)
    noise = np.random.default_rng(0).normal(size=length)
    return pd.DataFrame({"ds": days, "y": days.day_of_week + 20.0 * (days.day == 10) + noise})


@pytest.mark.usefixtures("library")
def test_a_forecaster_learns_them_keeps_them_and_needs_no_covariate(tmp_path: Path) -> None:
    options: dict[str, Any] = {"draws": 8, "epochs": 1, "hidden_size": 4, "likelihood": "gaussian", "dropout": 0.1}
    rows = daily()
    last = rows[rows["ds"] < "2024-02-05"]
    with_them = BayesianRNNForecaster(8, holidays="XA", **options).fit(last)
    without = BayesianRNNForecaster(8, **options).fit(last)
    spot = pd.Timestamp("2024-02-10")
    means = [f.predict().set_index("ds")["mean"] for f in (with_them, without)]
    assert means[0][spot] > 18
    assert means[1][spot] < 12
    assert with_them.summary_["holidays"] == "XA"
    assert with_them.summary_["holidays_in_linear_part"] is True
    with_them.save(tmp_path / "model")
    again = BayesianRNNForecaster.load(tmp_path / "model")
    assert again.get_params()["holidays"] == "XA"
    pd.testing.assert_frame_equal(again.predict(), with_them.predict())
    moved = again.update(rows[rows["ds"].between("2024-02-05", "2024-02-07")]).predict().set_index("ds")["mean"]
    assert moved[spot] > 18


@pytest.mark.usefixtures("library")
def test_what_cannot_be_is_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"holidays='XB' is no country .*Near are XA"):
        BayesianRNNForecaster(3, holidays="XB")
    with pytest.raises(ValueError, match=r"knows no part 'NX' of US. Near are US-NY"):
        check_holidays("US-NX")
    months = pd.DataFrame({"ds": pd.date_range("2000-01-01", periods=80, freq="MS"), "y": np.arange(80.0) % 12})
    with pytest.raises(ValueError, match="needs dates with a step of a day or less, but the times are farther apart"):
        BayesianRNNForecaster(3, holidays="XA").fit(months)
    with pytest.raises(ValueError, match="the times are numbers"):
        BayesianRNNForecaster(3, holidays="XA").fit(months.assign(ds=np.arange(80)))


def test_without_the_library_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "holidays", None)
    with pytest.raises(ImportError, match="pip install holidays"):
        BayesianRNNForecaster(3, holidays="US")


def test_the_library_itself() -> None:
    pytest.importorskip("holidays")
    times = pd.date_range("2023-12-20", "2024-01-05", freq="D")
    assert times[holiday_flags(times, "US")[:, 0] == 1].strftime("%m-%d").tolist() == ["12-25", "01-01"]
    assert check_holidays("DE-BY") == "DE-BY"


@pytest.mark.usefixtures("library")
def test_the_command_line_takes_a_country_and_keeps_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = daily()
    rows[rows["ds"] < "2024-02-05"].to_csv(tmp_path / "sold.csv", index=False)
    command = ["forecast", str(tmp_path / "sold.csv"), "--time", "ds", "--target", "y", "--horizon", "8", "--quick"]
    assert main([*command, "-o", str(tmp_path / "bad"), "--holidays", "XB"]) == 2
    assert "Near are XA" in capsys.readouterr().err
    assert main([*command, "-o", str(tmp_path / "run"), "--holidays", "XA", "--threads", "1"]) == 0
    assert main(["predict", str(tmp_path / "run"), "-o", str(tmp_path / "next.csv")]) == 0
    mean = pd.read_csv(tmp_path / "next.csv", index_col="ds")["mean"]
    assert mean["2024-02-10"] == mean.max()
    assert mean["2024-02-10"] > 18
