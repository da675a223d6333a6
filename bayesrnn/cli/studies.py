"""`bayesrnn demo`: the CO2 record of Mauna Loa."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayesrnn.cli.shown import show_study

if TYPE_CHECKING:
    from bayesrnn.forecasting import Settings

__all__ = ["demo", "settings"]


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
