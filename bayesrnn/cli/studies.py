"""`bayesrnn demo` (the CO2 record of Mauna Loa) and `bayesrnn forecast FILE.csv` (a series of your own)."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayesrnn.cli.shown import show_study

if TYPE_CHECKING:
    from bayesrnn.forecasting import Settings

__all__ = ["demo", "forecast", "settings"]


def forecast(
    file: Annotated[Path, typer.Argument(help="A csv file with a header line; or JSON lines, or Parquet.")],
    target: Annotated[str, typer.Option(help="Column of the values.")],
    horizon: Annotated[int, typer.Option(help="Steps ahead.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results; made if missing.")],
    time: Annotated[
        str | None, typer.Option(help="Column of the times; parts are joined by commas: date,hour.")
    ] = None,
    every: Annotated[str | None, typer.Option(help="Without times: the step, as 5min, h, D, B, W, MS, QS, YS.")] = None,
    start: Annotated[str | None, typer.Option(help="With --every: time of the first row.")] = None,
    day_first: Annotated[
        bool | None,
        typer.Option("--day-first/--month-first", help="How 03/04/2024 is read; by default as the file shows."),
    ] = None,
    decimal: Annotated[str | None, typer.Option(help="Decimal sign: . or ,; by default as the file shows.")] = None,
    missing: Annotated[
        str | None, typer.Option(help="Numbers that mean missing, as -9999,-200; none: keep such numbers.")
    ] = None,
    duplicates: Annotated[str, typer.Option(help="Times that come twice: mean, first, last or error.")] = "error",
    period: Annotated[int | None, typer.Option(help="Steps of a season; by default from the time step.")] = None,
    context: Annotated[int | None, typer.Option(help="Values the network reads; by default five seasons.")] = None,
    units: Annotated[str, typer.Option(help="Units of the values, for labels.")] = "",
    epochs: Annotated[int | None, typer.Option(help="Passes over the training windows.")] = None,
    draws: Annotated[int | None, typer.Option(help="Mask sets per forecast; by default 200.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and masks.")] = 0,
    bridge: Annotated[
        bool, typer.Option("--bridge", help="Bridge missing values and rows; they are neither learned nor scored.")
    ] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Seconds instead of minutes, and worse forecasts.")] = False,
) -> None:
    """Forecast a series of a csv file with intervals, after judging the forecasts on its last part."""
    from bayesrnn._checks import check_whole
    from bayesrnn.data import read_series
    from bayesrnn.forecasting import quick as quickened
    from bayesrnn.forecasting import settings_for

    check_whole(horizon, "--horizon")
    series = read_series(
        file,
        target=target,
        time=time,
        period=period,
        units=units,
        bridge=bridge,
        duplicates=duplicates,
        every=every,
        start=start,
        day_first=day_first,
        decimal=decimal,
        missing=None if missing is None else numbers_of(missing),
    )
    asked = {name: value for name, value in (("epochs", epochs), ("draws", draws)) if value is not None}
    settings = settings_for(series, horizon, context=context, seed=seed, **asked)
    show_study(series, quickened(settings, **asked) if quick else settings, output, future=True)


def numbers_of(text: str) -> list[float]:
    """Return the numbers of --missing."""
    if text.strip().lower() == "none":
        return []
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--missing must be numbers joined by commas, or none, but {text!r} was given.") from None


VALIDATION, HELD_OUT = "1982-01-01", "1990-01-01"


def settings() -> "Settings":
    """Return what the demo runs with, all of it chosen on data before 1990."""
    from bayesrnn.forecasting import Settings

    return Settings(horizon=12, context=60)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results; made if missing.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option(help="Seed of weights and masks.")] = 0,
    draws: Annotated[int | None, typer.Option(help="Mask sets per forecast; by default 200.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Seconds instead of minutes, and worse forecasts.")] = False,
) -> None:
    """Forecast Mauna Loa CO2 (real data, no download) with a two-layer LSTM and Gal's masks; judge it on 1990-2001."""
    from bayesrnn.data import mauna_loa_co2
    from bayesrnn.forecasting import quick as quickened

    asked = {} if draws is None else {"draws": draws}
    chosen = replace(settings(), seed=seed, **asked)
    show_study(
        mauna_loa_co2(),
        quickened(chosen, **asked) if quick else chosen,
        output,
        validation=VALIDATION,
        held_out=HELD_OUT,
    )
