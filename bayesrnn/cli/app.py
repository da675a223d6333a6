"""The command-line application: all commands of `bayesrnn`."""

from collections.abc import Callable

import typer

from bayesrnn.cli.forecasts import forecast
from bayesrnn.cli.lm_train import train
from bayesrnn.cli.lm_trained import evaluate, generate
from bayesrnn.cli.runs import audit, calibrate, compare, models, predict, update
from bayesrnn.cli.sequences import classify, regress
from bayesrnn.cli.studies import demo

app = typer.Typer(
    name="bayesrnn",
    help="Recurrent networks that know what they do not know.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def bayesrnn() -> None:
    """Monte Carlo dropout for recurrent networks: predict with intervals, calibrate, compare."""


lm = typer.Typer(help="Language models: train, evaluate, generate.", no_args_is_help=True, rich_markup_mode=None)
_OF_TEXT: tuple[Callable[..., None], ...] = (train, evaluate, generate)
_COMMANDS: tuple[Callable[..., None], ...] = (
    forecast, classify, regress, predict, update, calibrate, compare, audit, models, demo,
)  # fmt: skip
for command in _OF_TEXT:
    lm.command()(command)
for command in _COMMANDS:
    app.command()(command)
app.add_typer(lm, name="lm")
