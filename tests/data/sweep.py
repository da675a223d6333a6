"""A small file, what it holds, and the check that it is read right or refused with advice that works."""

import re
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bayesrnn.cli import main
from bayesrnn.data import Series, read_series

N = 40
VALUES = np.round(20 + 5 * np.sin(np.arange(N)) + 0.1 * np.arange(N), 2)


@dataclass(frozen=True)
class File:
    """A file, how it is read, and what comes of it.

    Attributes:
        text: What it holds.
        options: Of `read_series`; time "t" and target "y" if nothing else is given.
        times: The times it has.
        values: Its values; NaN where bridged.
        said: Words of the note.
        refused: Words of the refusal; then `advice` are the options that it names.
        period: The season.
    """

    text: str | bytes
    times: Any
    values: Any = field(default_factory=lambda: VALUES)
    options: dict[str, Any] = field(default_factory=dict)
    said: str | None = None
    refused: str | None = None
    advice: dict[str, Any] = field(default_factory=dict)
    period: int = 12
    name: str = "file.csv"


def rows(times: Any, values: Any = VALUES, *, head: str = "t,y", sign: str = ",") -> str:
    return "\n".join([*([head] if head else []), *(f"{t}{sign}{v}" for t, v in zip(times, values))]) + "\n"


def steps(frequency: str, start: str = "2019-11-01", count: int = N) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=count, freq=frequency)


M, D, H = (steps(f) for f in ("MS", "D", "h"))
HOLED = np.where(np.arange(N) % 15 == 5, np.nan, VALUES)
KEPT = ~np.isnan(HOLED)


def read(path: Path, options: dict[str, Any]) -> tuple[Series, str]:
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        series = read_series(path, **({"time": "t", "target": "y"} | options))
    assert len(notes) <= 1
    return series, str(notes[0].message) if notes else ""


def check(series: Series, file: File) -> None:
    if file.times is not None:
        assert list(series.times) == list(file.times)
        assert np.array_equal(series.observed.numpy(), ~np.isnan(file.values))
        np.testing.assert_allclose(series.values[series.observed], file.values[~np.isnan(file.values)])
    assert series.period == file.period
    assert len(series.future(3)) == 3
    assert series.future(1)[0] > series.times[-1]


def written(folder: Path, file: File) -> Path:
    path = folder / file.name
    path.write_bytes(file.text if isinstance(file.text, bytes) else file.text.encode())
    return path


def check_read_or_refused(file: File, folder: Path) -> None:
    """Read a file; where it is refused, read it again with the options that the refusal names."""
    path = written(folder, file)
    if file.refused:
        with pytest.raises(ValueError, match=file.refused):
            read(path, file.options)
        if not file.advice:
            return
    series, said = read(path, file.options | file.advice)
    check(series, file)
    if not file.refused:
        assert bool(said) == bool(file.said), said
        assert file.said is None or re.search(file.said, said), said


def check_command_line(
    file: File, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refuse on the command line in one line and write nothing; with the advice followed, read the same rows."""
    path = written(folder, file)
    assert main(_command(path, folder, file.options)) == 2
    error = capsys.readouterr().err
    assert error.startswith("bayesrnn: ")
    assert error.count("\n") == 1
    assert not (folder / "out" / "run.json").exists()
    if file.advice:
        check_read_there(replace(file, options=file.options | file.advice), folder, capsys, monkeypatch)


def check_read_there(
    file: File, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare the rows that the command line reads, before anything is learned from them."""
    rows: list[pd.DataFrame] = []

    def learn(forecaster: Any, frame: pd.DataFrame, *others: Any) -> None:
        rows.append(frame)
        raise ValueError("the rows were read")

    monkeypatch.setattr("bayesrnn.cli.forecasts._judged", learn)
    assert main(_command(written(folder, file), folder, file.options)) == 2
    assert "the rows were read" in capsys.readouterr().err
    check_rows(rows[0], file)


def check_rows(frame: pd.DataFrame, file: File) -> None:
    """Compare the rows of a table with the observed steps of the series that it holds."""
    if file.times is None:
        return
    time, target = frame.columns[0], frame.columns[-1]
    rows = frame.dropna(subset=[target]).sort_values(time)
    held = ~np.isnan(file.values)
    assert list(pd.to_datetime(rows[time])) == list(pd.to_datetime(pd.Index(file.times)[held]))
    np.testing.assert_allclose(rows[target], file.values[held])


def _command(path: Path, folder: Path, options: dict[str, Any]) -> list[str]:
    """Return the arguments of `bayesrnn forecast` that say the same as options of `read_series`."""
    words = ["forecast", str(path), "--horizon", "1", "-o", str(folder / "out")]
    for key, value in ({"time": "t", "target": "y"} | options).items():
        if key == "day_first":
            words.append("--day-first" if value else "--month-first")
        elif value is True:
            words.append("--bridge")
        elif value is not None:
            words += [f"--{key}", ",".join(map(str, value)) or "none" if key == "missing" else str(value)]
    return words
