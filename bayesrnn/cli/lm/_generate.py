"""`bayesrnn lm generate`."""

from typing import Annotated

import typer

from bayesrnn.cli.lm.options import Seed
from bayesrnn.cli.lm.runs import Device, Run, opened

__all__ = ["generate"]


def generate(
    run: Run,
    prompt: Annotated[str, typer.Option(help="Text to go on from; the end of a line if not given.")] = "",
    length: Annotated[int, typer.Option(min=1, help="Tokens to write.")] = 40,
    draws: Annotated[int, typer.Option(min=0, help="Draws; 0 for the deterministic pass.")] = 100,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the most probable token.")] = 1.0,
    seed: Seed = 0,
    plain: Annotated[bool, typer.Option(help="Print the text without the table.")] = False,
    device: Device = "auto",
) -> None:
    """Write text, each token with its probability and its uncertainty (total and epistemic, nats)."""
    from bayesrnn.data.text import tokenize
    from bayesrnn.data.vocabulary import EOS, UNK
    from bayesrnn.inference.generation import generate as write

    model, vocabulary, facts = opened(run, device)
    level = facts["level"]
    words = tokenize(prompt, level)[:-1] if prompt else [EOS]
    if not words:
        raise ValueError(f"--prompt holds no word, only {prompt!r}. Give words, or leave it out to begin a line.")
    result = write(model, vocabulary.encode(words), length=length, draws=draws, seed=seed, temperature=temperature)
    unknown = [word for word in words if word not in vocabulary]
    if unknown:
        typer.echo(f"read as {UNK}, not in the vocabulary: {', '.join(map(repr, unknown))}", err=True)
    tokens = vocabulary.decode(result.tokens)
    typer.echo(("" if level == "character" else " ").join(["\n" if token == EOS else token for token in tokens]))
    if plain:
        return
    typer.echo(f"\n{'token':<20}{'probability':>12}{'entropy':>9}{'epistemic':>11}")
    for i, token in enumerate(tokens):
        probability = float(result.log_prob[i].exp())
        typer.echo(
            f"{token:<20}{probability:>12.4f}{float(result.entropy[i]):>9.3f}{float(result.epistemic[i]):>11.3f}"
        )
