"""`bayesrnn lm train | evaluate | generate`: language models on the command line."""

import typer

from bayesrnn.cli.lm._train import train
from bayesrnn.cli.lm.trained import evaluate, generate

__all__ = ["lm"]

lm = typer.Typer(help="Language models: train, evaluate, generate.", no_args_is_help=True, rich_markup_mode=None)
for command in (train, evaluate, generate):
    lm.command()(command)
