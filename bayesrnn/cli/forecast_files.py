"""The files of a forecast: rows with values, rows ahead, and the lists among the options."""

from io import StringIO
from pathlib import Path
from typing import Any

_AHEAD = "ahead.json"
"""File in a run: the rows of known covariates ahead that it has seen."""


def read_frame(file: Path, reading: dict[str, Any], *, ahead: bool = False) -> tuple[Any, dict[str, str]]:
    """Return the rows of a file as a forecaster takes them, and the names of its columns for `fit`.

    One series without covariates is read as `read_series` reads it; with ids or covariates missing rows and values
    count as not observed. Rows `ahead` have no target.
    """
    from bayesrnn.data import read_series
    from bayesrnn.data.panels import read_panel_file

    covariates = [*reading["known"], *reading["past"], *reading["static"]]
    target, id = reading["target"], reading["id"]
    shared = {name: reading[name] for name in ("day_first", "decimal", "missing")}
    if id is None and not covariates:
        import numpy as np
        import pandas as pd

        kept = {name: reading[name] for name in ("time", "every", "start", "duplicates", "bridge")}
        series = read_series(file, target=target, period=1, **kept, **shared)  # its seasons are chosen later
        time = reading["time"] or "time"
        values = np.where(series.observed.numpy(), series.values.numpy(), np.nan)
        return pd.DataFrame({time: series.times, target: values}), {"time": time, "target": target}
    if reading["time"] is None or reading["duplicates"] != "error":
        raise ValueError(
            "a file with ids or covariates needs --time, and has each time of a series once: --every, --start and "
            "--duplicates are for one series without covariates."
        )
    names = {"time": reading["time"], "target": target} | ({} if id is None else {"id": id})
    wanted = reading["known"] if ahead else covariates
    frame = read_panel_file(
        file, time=reading["time"], target=None if ahead else target, id=id, covariates=wanted, **shared
    )
    return frame, names


def with_future(run_reading: dict[str, Any], file: Path | None, future: Path | None) -> tuple[Any, Any]:
    """Return the rows with values and the rows of known covariates ahead, from one file or two."""
    from bayesrnn.data.panels import without_future

    frame = ahead = None
    if file is not None:
        frame, names = read_frame(file, run_reading)
        if run_reading["known"]:
            frame, ahead = without_future(frame, names["time"], names["target"])
    if future is not None:
        if not run_reading["known"]:
            raise ValueError("--future holds known covariates, but the run has none. Leave it out.")
        ahead = read_frame(future, run_reading, ahead=True)[0]
    return None if frame is None or not len(frame) else frame, None if ahead is None or not len(ahead) else ahead


def remember(folder: Path, ahead: Any) -> None:
    """Keep the rows of known covariates ahead with a run."""
    from bayesrnn._files import atomic_write

    if ahead is not None:
        dates = [name for name in ahead if getattr(ahead[name].dtype, "tz", None) is not None]
        rows = ahead.assign(**{name: ahead[name].dt.tz_convert("UTC") for name in dates}).reset_index(drop=True)
        atomic_write(folder / _AHEAD, rows.to_json(orient="table", index=False, double_precision=15, date_unit="ns"))


def remembered(run: Path) -> Any:
    """Return the rows of known covariates ahead that were kept with a run, None if there are none.

    Raises:
        ValueError: If the file is damaged.
    """
    import pandas as pd

    file = run / _AHEAD
    if not file.is_file():
        return None
    try:
        return pd.read_json(StringIO(file.read_text(encoding="utf-8")), orient="table", precise_float=True)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is damaged ({error}). Give the rows ahead as --future FILE, or train anew.") from None


def numbers_of(text: str) -> list[float]:
    """Return the numbers of --missing."""
    if text.strip().lower() == "none":
        return []
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--missing must be numbers joined by commas, or none, but {text!r} was given.") from None


def whole(text: str, name: str) -> int:
    """Return a whole number of an option."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} must be whole numbers joined by commas, but {text!r} was given.") from None
