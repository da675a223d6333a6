"""`bayesrnn demo`: the CO2 record of Mauna Loa."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayesrnn.cli.options import Common, with_common_options
from bayesrnn.cli.shown import show_study

if TYPE_CHECKING:
    from bayesrnn.forecasting import Settings

VALIDATION, HELD_OUT = "1982-01-01", "1990-01-01"


def settings() -> "Settings":
    """Return what the demo runs with, all of it chosen on data before 1990."""
    from bayesrnn.forecasting import Settings

    return Settings(horizon=12, context=60)


@with_common_options
def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results; made if missing.")] = Path(
        "demo"
    ),
    draws: Annotated[int | None, typer.Option(help="Mask sets per forecast; by default 200.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Seconds instead of minutes, and worse forecasts.")] = False,
    *,
    common: Common,
) -> None:
    """Forecast Mauna Loa CO2 (real data, no download) with a two-layer LSTM and Gal's masks; judge it on 1990-2001.

    Example: bayesrnn demo -o demo
    """
    from bayesrnn.data import mauna_loa_co2
    from bayesrnn.forecasting import quick as quickened

    common.where()
    asked = {} if draws is None else {"draws": draws}
    chosen = replace(settings(), seed=common.seed, **asked)
    show_study(
        mauna_loa_co2(),
        quickened(chosen, **asked) if quick else chosen,
        output,
        common,
        validation=VALIDATION,
        held_out=HELD_OUT,
    )
