"""Dates that can be read in two ways, and what is said about unequal steps."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesrnn.data import Series, read_series
from bayesrnn.data.unequal import time_text


def written(folder: Path, times: list[str]) -> Path:
    path = folder / "series.csv"
    path.write_text("t,v\n" + "".join(f"{time},{k}.5\n" for k, time in enumerate(times)))
    return path


@pytest.mark.parametrize("style", ["%d/%m/%Y", "%d.%m.%Y", "%m/%d/%Y", "%Y-%m-%d", "%d/%m/%Y %H:%M"])
@pytest.mark.parametrize(("frequency", "count"), [("D", 60), ("MS", 40), ("W", 40)])
def test_dates_are_read_as_they_were_meant(style: str, frequency: str, count: int, tmp_path: Path) -> None:
    index = pd.date_range("2019-11-04", periods=count, freq=frequency)
    series = read_series(written(tmp_path, list(index.strftime(style))), time="t", target="v")
    assert (pd.DatetimeIndex(series.times) == index).all()


@pytest.mark.parametrize(
    "times", [[f"01/{k:02d}/2010" for k in range(1, 13)], ["03/04/2020", "05/04/2020", "06/07/2020"]]
)
def test_dates_that_fit_two_readings_or_none_are_refused(times: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="with the day or with the month first"):
        read_series(written(tmp_path, times), time="t", target="v")


def test_what_is_no_date_is_said_without_loose_ends(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="are neither dates nor numbers") as error:
        read_series(written(tmp_path, ["32/13/2020", "33/13/2020", "34/13/2020"]), time="t", target="v")
    assert "You might" not in str(error.value)


@pytest.mark.parametrize(
    ("index", "advice"),
    [
        (pd.date_range("2020-01-01", periods=30, freq="MS"), "resample('MS')"),
        (pd.date_range("2020-01-01", periods=30, freq="D"), "resample('D')"),
        (pd.date_range("2020-01-01", periods=30, freq="h"), "offset from UTC"),
        (pd.Index([201011, 201012, 201101, 201102]), "read as plain numbers"),
    ],
)
def test_advice_on_unequal_steps_fits_the_step(index: pd.Index, advice: str) -> None:
    holed = index if len(index) < 10 else index.delete(7)
    with pytest.raises(ValueError, match=re.escape(advice)):
        Series.from_pandas(pd.Series(range(len(holed)), index=holed, dtype=float))


def test_other_separators_are_read_and_said(tmp_path: Path) -> None:
    path = tmp_path / "eu.csv"
    path.write_text("t;v\n2020-01-01;1,5\n2020-01-02;2,5\n2020-01-03;1.003,5\n")
    with pytest.warns(UserWarning, match=r"separated by semicolons; 'v' read with decimal commas; '.' in 'v' read as"):
        series = read_series(path, time="t", target="v")
    assert series.values.tolist() == [1.5, 2.5, 1003.5]


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (pd.date_range("2020-01-01", periods=300)[[*range(20), *range(25, 300, 9)]], "resample"),
        (pd.Timestamp("2020") + pd.to_timedelta([600 * k + 199 * (k % 3) for k in range(40)], unit="s"), "equal steps"),
        (pd.DatetimeIndex(["2020-01-01", "2020-01-02", "2020-01-11", "2020-02-01", "2020-02-11"]), "equal steps"),
    ],
)
def test_times_without_a_step_are_refused_even_if_gaps_are_bridged(index: pd.DatetimeIndex, words: str) -> None:
    with pytest.raises(ValueError, match=f"steps are unequal.*{words}"):
        Series.from_pandas(pd.Series(range(len(index)), index=index, dtype=float), bridge=True)


@pytest.mark.parametrize(
    ("start", "step", "text"),
    [
        ("2026-06-01", "MS", "2026-06"),
        ("2026-01-01", "YS", "2026-01"),
        ("2026-06-30", "ME", "2026-06-30"),
        ("2026-06-01", "D", "2026-06-01"),
        ("2026-06-01", "h", "2026-06-01 00:00"),
        ("2026-06-01 00:00+02:00", "30min", "2026-06-01 00:00+02:00"),
        ("2026-06-01", "10s", "2026-06-01 00:00:00"),
    ],
)
def test_a_time_is_written_as_finely_as_its_steps(start: str, step: str, text: str) -> None:
    times = pd.date_range(start, periods=3, freq=step)
    assert time_text(times[0], times) == text
    assert time_text(times.to_numpy()[0] if times.tz is None else times[0], times.to_series()) == text
    assert time_text(np.int64(5), pd.Index([5, 6])) == "5"
