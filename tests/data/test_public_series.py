"""Public series that ship with statsmodels, written in the forms in which files of them go about."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels import datasets

from bayesrnn.cli import main
from bayesrnn.data import Series, read_series

pytestmark = pytest.mark.filterwarnings("ignore:.* was read so. :UserWarning")


def loaded(name: str) -> Any:
    return getattr(datasets, name).load_pandas().data


def read(folder: Path, table: Any, time: str, target: str, *, bridge: bool = False, **form: Any) -> Series:
    path = folder / "series.csv"
    table.to_csv(path, **form)
    return read_series(path, time=time, target=target, bridge=bridge)


FORMS: list[dict[str, Any]] = [
    {},
    {"sep": ";", "decimal": ","},
    {"sep": "\t", "encoding": "utf-16"},
    {"sep": "|", "quoting": 1},
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("name", "time", "target", "period", "first", "last"),
    [
        ("sunspots", "YEAR", "SUNACTIVITY", 1, "1700-01-01", "2008-01-01"),
        ("nile", "year", "volume", 1, "1871-01-01", "1970-01-01"),
        ("elnino", "YEAR", "JUL", 1, "1950-01-01", "2010-01-01"),
        ("macrodata", "year,quarter", "realgdp", 4, "1959-01-01", "2009-07-01"),
        ("interest_inflation", "year,quarter", "R", 4, "1972-04-01", "1998-10-01"),
    ],
)
def test_tables_in_every_form(
    form: dict[str, Any], name: str, time: str, target: str, period: int, first: str, last: str, tmp_path: Path
) -> None:
    table = loaded(name)
    series = read(tmp_path, table, time, target, index=False, **form)
    assert (str(series.times[0].date()), str(series.times[-1].date()), series.period) == (first, last, period)
    np.testing.assert_allclose(series.values, table[target].to_numpy(float))


@pytest.mark.parametrize(
    "form", [*FORMS, {"date_format": "%d.%m.%Y"}, {"date_format": "%m/%d/%y"}, {"na_rep": "-9999"}]
)
def test_weeks_of_which_some_are_missing(form: dict[str, Any], tmp_path: Path) -> None:
    table = loaded("co2").rename_axis("week")
    series = read(tmp_path, table, "week", "co2", bridge=True, **form)
    assert list(series.times) == list(table.index)
    assert series.period == 52
    observed = table["co2"].notna().to_numpy()
    assert np.array_equal(series.observed.numpy(), observed)
    np.testing.assert_allclose(series.values[series.observed], table["co2"][observed])


def test_weeks_whose_rows_are_missing(tmp_path: Path) -> None:
    table = loaded("co2").rename_axis("week")
    rows = table.dropna()
    with pytest.raises(ValueError, match=r"59 of 2284 times are missing: bridge them.*resample\('W-SAT'\)"):
        read(tmp_path, rows, "week", "co2")
    series = read(tmp_path, rows, "week", "co2", bridge=True)
    assert list(series.times) == list(table.index)
    assert int(series.observed.sum()) == len(rows)


def test_a_panel_is_refused_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "panel.csv"
    loaded("grunfeld").to_csv(path, index=False)
    command = [
        "forecast",
        str(path),
        "--time",
        "year",
        "--target",
        "invest",
        "--horizon",
        "2",
        "-o",
        str(tmp_path / "o"),
    ]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "comes more than once" in error
    assert "several series, keep the rows of one" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_one_month_column_of_a_long_table(order: slice, tmp_path: Path) -> None:
    wide = loaded("elnino").set_index("YEAR")
    long = wide.rename_axis(columns="MONTH").stack().rename("T").reset_index().iloc[order]
    series = read(tmp_path, long, "YEAR,MONTH", "T", index=False)
    assert list(series.times) == list(pd.date_range("1950-01-01", "2010-12-01", freq="MS"))
    np.testing.assert_allclose(series.values, wide.to_numpy().reshape(-1))
