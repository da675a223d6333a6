"""The commands, gathered."""

import typer

from bayesrnn.cli.lm_train import train
from bayesrnn.cli.lm_trained import evaluate, generate
from bayesrnn.cli.studies import demo, forecast

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
for command in (train, evaluate, generate):
    lm.command()(command)
app.command()(demo)
app.command()(forecast)
app.add_typer(lm, name="lm")
