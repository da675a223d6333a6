"""Series: what is read, what is refused and in which words."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesrnn.data import Series, mauna_loa_co2, read_series


def monthly(values: np.ndarray) -> pd.Series:
    return pd.Series(values, index=pd.date_range("2000-01-01", periods=len(values), freq="MS"), name="y")


@pytest.mark.parametrize(
    ("frequency", "period"),
    [("MS", 12), ("ME", 12), ("QS", 4), ("YS", 1), ("W", 52), ("D", 7), ("B", 5), ("h", 24), ("30min", 48)],
)
def test_the_season_follows_from_the_time_step(frequency: str, period: int) -> None:
    index = pd.date_range("2000-01-01", periods=40, freq=frequency)
    series = Series.from_pandas(pd.Series(np.arange(40.0), index=index.to_numpy()))  # the frequency is found anew
    assert series.period == period
    assert list(series.future(3)) == list(pd.date_range(index[-1], periods=4, freq=frequency)[1:])


def test_rows_are_put_in_order_of_time() -> None:
    data = monthly(np.arange(24.0))
    series = Series.from_pandas(data.sample(frac=1, random_state=0))
    assert torch.equal(series.values, torch.arange(24, dtype=torch.float64))
    assert series.position("2000-04-01") == 3


def test_numbers_are_times_too() -> None:
    series = Series.from_pandas(pd.Series([1.0, 2.0, 3.0, 4.0], index=[10, 15, 20, 25]), period=2)
    assert list(series.future(2)) == [30, 35]


@settings(max_examples=8)
@given(st.integers(0, 59), st.integers(1, 6))
def test_a_bridge_continues_line_and_season(start: int, length: int) -> None:
    steps = np.arange(96)
    season = 3 * np.sin(2 * np.pi * steps / 12)
    whole = 5 + 0.1 * steps + season
    gap = slice(20 + start % 40, 20 + start % 40 + length)
    holed = whole.copy()
    holed[gap] = np.nan
    series = Series.from_pandas(monthly(holed), bridge=True)
    assert (~series.observed).nonzero().flatten().tolist() == list(range(gap.start, gap.stop))
    assert np.abs(series.values.numpy() - whole).max() < 0.5  # a line alone would be up to 6 away
    assert torch.equal(series.values[series.observed], torch.from_numpy(whole)[series.observed])


def test_mauna_loa_has_five_bridged_months() -> None:
    series = mauna_loa_co2()
    missing = series.times[~series.observed.numpy()].strftime("%Y-%m").tolist()
    assert missing == ["1958-06", "1958-10", "1964-02", "1964-03", "1964-04"]
    assert (len(series), series.period, series.units) == (526, 12, "ppm")
    assert series.values[-1] == pytest.approx(np.mean([370.3, 370.8, 371.2, 371.3, 371.5]))  # December 2001, by hand


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (monthly(np.array([1.0, np.nan, 3.0, 4.0])), r"1 of 4 values are missing \(first at 2000-02\).*bridge=True"),
        (monthly(np.array([1.0, np.inf, 3.0, 4.0])), r"1 values are infinite \(first at 2000-02\)"),
        (monthly(np.array([1.0, 2.0])), r"the series has 2 values; at least 3"),
        (
            pd.Series([1.0, 2, 3, 4], index=pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-04", "2020-01-05"])),
            r"unequal: 2020-01-04 follows 2020-01-02, a step of 2 days where most are 1 day.*resample",
        ),
        (pd.Series([1.0, 2, 3, 4], index=[1, 2, 3, 7]), r"unequal: 7 follows 3, a step of 4 where most are 1"),
        (pd.Series([1.0, 2, 3, 4], index=[1, 2, 2, 3]), r"the time 2 comes more than once"),
        (pd.Series([1.0, 2, 3, 4], index=[1, 2, 3, 4]), r"the season does not follow.*period="),
        (pd.Series([1.0, 2, 3, 4], index=list("abcd")), r"times must be dates or numbers"),
        (
            pd.Series([1.0, 2, 3], index=pd.DatetimeIndex(["2020-01-01", None, "2020-01-03"])),
            r"1 times are missing",
        ),
    ],
)
def test_bad_series_are_refused(data: pd.Series, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Series.from_pandas(data)


def test_a_bridge_needs_two_ends() -> None:
    with pytest.raises(ValueError, match="only 1 values are observed"):
        Series.from_pandas(monthly(np.array([1.0, np.nan, np.nan, np.nan])), bridge=True)


@pytest.mark.parametrize(("duplicates", "value"), [("mean", 3.0), ("first", 1.0), ("last", 5.0)])
def test_a_time_that_comes_twice(duplicates: str, value: float) -> None:
    index = pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-02", "2020-01-03", "2020-01-04"])
    data = pd.Series([0.0, 1, 5, 6, 7], index=index)
    with pytest.raises(ValueError, match=r"2020-01-02 comes more than once.*duplicates='mean' \(--duplicates mean"):
        Series.from_pandas(data)
    with pytest.raises(ValueError, match="duplicates must be one of error, mean, first, last, but 'sum'"):
        Series.from_pandas(data, duplicates="sum")
    assert Series.from_pandas(data, duplicates=duplicates).values.tolist() == [0, value, 6, 7]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
@pytest.mark.parametrize("frequency", ["5min", "h", "D", "B", "W-TUE", "MS", "QS", "ME", "YS", "28D", "2h"])
def test_rows_that_are_missing_are_bridged(frequency: str, zone: str | None) -> None:
    index = pd.date_range("2020-02-03", periods=60, freq=frequency, tz=zone)
    data = pd.Series(np.arange(60.0), index=index)
    holed = data.drop(index[[7, 8, 30]])
    with pytest.raises(ValueError, match="3 of 60 times are missing"):
        Series.from_pandas(holed, period=4)
    series = Series.from_pandas(holed, period=4, bridge=True)
    assert list(series.times) == list(index)
    assert (~series.observed).nonzero().flatten().tolist() == [7, 8, 30]
    assert list(series.future(3)) == list(pd.date_range(index[-1], periods=4, freq=frequency)[1:])


def test_numbers_that_are_missing_are_bridged() -> None:
    series = Series.from_pandas(pd.Series(np.arange(5.0), index=[10, 15, 25, 30, 35]), period=1, bridge=True)
    assert list(series.times) == [10, 15, 20, 25, 30, 35]
    assert series.observed.tolist() == [True, True, False, True, True, True]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_positions_of_dates_in_every_zone(zone: str | None) -> None:
    series = Series.from_pandas(
        pd.Series(range(100), index=pd.date_range("2022-03-25", periods=100, freq="h", tz=zone))
    )
    for time in ("2022-03-26", pd.Timestamp("2022-03-26"), pd.Timestamp("2022-03-26", tz="UTC")):
        assert abs(series.position(time) - 24) <= 1


@pytest.mark.parametrize("day", [1, 15, 28, 30, 31])
@pytest.mark.parametrize("step", [1, 3, 12])
def test_months_dated_on_one_day(day: int, step: int) -> None:
    first = pd.Timestamp(2015, 1, day)
    times = pd.DatetimeIndex([first + pd.DateOffset(months=step * k) for k in range(40)])
    series = Series.from_pandas(pd.Series(np.arange(40.0), index=times))
    assert series.period == 12 // step
    assert list(series.times) == list(times)
    assert list(series.future(3)) == [first + pd.DateOffset(months=step * k) for k in (40, 41, 42)]


@pytest.mark.filterwarnings("error")
def test_what_was_moved_is_said_in_python_too() -> None:
    times = pd.DatetimeIndex(["2020-01-10", "2020-02-12", "2020-03-09", "2020-04-14"])
    with pytest.warns(UserWarning, match="one value per month, dated on different days") as said:
        series = Series.from_pandas(pd.Series(range(4), index=times))
    assert said[0].filename == __file__
    assert list(series.times) == list(pd.date_range("2020-01-01", periods=4, freq="MS"))


def test_what_is_no_series_is_refused() -> None:
    with pytest.raises(TypeError, match="a pandas Series indexed by time, but a list"):
        Series.from_pandas([1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="the values must be numbers"):
        Series.from_pandas(pd.Series(list("abc")))


def test_a_csv_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "y.csv"
    monthly(np.arange(30.0)).rename_axis("when").to_csv(path)
    series = read_series(path, time="when", target="y", units="kg")
    assert (len(series), series.period, series.name, series.units) == (30, 12, "y", "kg")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("when,y\n2020-01-01,1\n2020-01-02,x\n2020-01-03,3\n", r"must hold numbers, but line 3 holds 'x'"),
        ("when,z\n2020-01-01,1\n", r"no column 'y'; its columns are when, z"),
        ("when,y\nsoon,1\nlater,2\nlast,3\n", r"neither dates nor numbers"),
        ("when,y\n2020-01-01,1\n2020-01-02,\n2020-01-03,3\n", r"1 of 3 values are missing"),
        ("", r"not a csv file that can be read"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "y.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_series(path, time="when", target="y")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no file .*nowhere.csv"):
        read_series(tmp_path / "nowhere.csv", time="t", target="y")


def test_hours_whose_offset_from_utc_changes_are_hours(tmp_path: Path) -> None:
    times = pd.date_range("2020-10-24", periods=72, freq="h", tz="Europe/Berlin")  # clocks go back on the 25th
    path = tmp_path / "berlin.csv"
    pd.DataFrame({"t": times, "y": np.arange(72.0)}).to_csv(path, index=False)
    series = read_series(path, time="t", target="y")
    assert len(series) == 72
    assert series.period == 24
    assert list(pd.DatetimeIndex(series.times)) == list(times.tz_convert("UTC"))
    path.write_text(path.read_text(encoding="utf-8").replace("2020-10-24 05:00:00+02:00", "soon"), encoding="utf-8")
    with pytest.raises(ValueError, match="neither dates nor numbers"):
        read_series(path, time="t", target="y")
