"""`bayesrnn demo`: the CO2 record of Mauna Loa."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bayesrnn.cli.options import Common, with_common_options
from bayesrnn.cli.shown import check_folder, show_study

if TYPE_CHECKING:
    from bayesrnn.data import Series
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
    check_folder(output)
    asked = {} if draws is None else {"draws": draws}
    chosen, series = replace(settings(), seed=common.seed, **asked), mauna_loa_co2()
    if quick:
        chosen = quickened(chosen, **asked)
    else:
        common.say_time("Training and judging take", time_needed(series, chosen), "--quick takes seconds")
    show_study(series, chosen, output, common, validation=VALIDATION, held_out=HELD_OUT)


def time_needed(series: "Series", settings: "Settings") -> float:
    """Return about how many seconds the demo takes: a step of both networks, and of the draws, is timed."""
    import torch

    from bayesrnn._progress import timed
    from bayesrnn.inference import predict
    from bayesrnn.models import Forecaster

    batch, origins = 32, int((series.times >= VALIDATION).sum())
    steps = settings.epochs * -(-(len(series) - origins) // batch)
    x, y, seconds = series.values[: settings.context].expand(batch, -1), torch.zeros(batch, settings.horizon), 0.0
    for scheme in (settings.scheme(), settings.naive_scheme()):
        network = Forecaster(
            settings.context, settings.horizon, period=series.period, hidden_size=settings.hidden_size, dropout=scheme
        )
        seconds += steps * timed(lambda: network(x).log_prob(y).mean().neg().backward())  # noqa: B023
        seconds += origins / batch * timed(lambda: predict(network, x, draws=settings.draws))  # noqa: B023
    return 1.6 * seconds + 8  # the optimizer; the baselines and the pictures
