"""Options that name a scheme or a recipe, and errors of the library in the words of the options."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from bayesrnn.cli.shown import noted

if TYPE_CHECKING:
    from bayesrnn.schemes import Scheme
    from bayesrnn.training.recipes import Recipe

__all__ = ["RATE", "RECIPES", "SCHEMES", "chosen_recipe", "chosen_scheme", "in_options"]

SCHEMES = ("none", "zaremba", "naive", "gal", "gal-tied", "moon")
RECIPES = ("zaremba", "gal", "one-cycle", "adamw")
RATE = 0.2

_OPTIONS = {
    r"resume=False": "--no-resume",
    r"^seed must": "--seed must",
    r"^temperature sharpens": "--temperature sharpens",
    r"Pass draws=0 for the deterministic pass, or give the model dropout\.": "Give --draws 0, or train with a --scheme "
    "that drops.",
    r"Add the file, or give vocabulary=\.": "Add the file.",
    r"\bmodel\.dropout\.[\w.]+": "--scheme and --rate",
    r"\brecipe\.(optimizer|averaging|clip|keep)[\w.]*": "--recipe",
    r"\brecipe\.precision|\bprecision='bf16'": "--bf16",
    r"Leave out the precision to": "Leave out --bf16 to",
    r"\b(?:model|recipe)\.(\w+)": r"\1",
    r"\bshared_embeddings\b": "--shared",
    r"\b(embedding|hidden)_size\b": r"--\1",
    r"\bnum_layers\b": "--layers",
    r"\b(batch|min|max)_(size|count)\b": r"--\1-\2",
    r"^(draws|window|epochs|length|temperature|lifetime|cell|level|rate|scheme|recipe|device) must": r"--\1 must",
    r"(; |\()(seed|epochs|window|cell): ": r"\1--\2: ",
    r"\ba smaller --batch-size or window\b": "a smaller --batch-size or --window",
    r"Build the vocabulary with .* or replace": "Train a new run, whose vocabulary holds <unk>, or replace",
}
"""What the library says, and what that is on the command line."""


@contextmanager
def in_options() -> Iterator[None]:
    """Let errors and warnings of the library speak of options instead of arguments."""
    try:
        with noted(_in_words):
            yield
    except (ValueError, TypeError) as error:
        raise ValueError(_in_words(str(error))) from error


def _in_words(message: str) -> str:
    for argument, option in _OPTIONS.items():
        message = re.sub(argument, option, message)
    return message


def chosen_scheme(name: str, rate: float | None) -> "Scheme":
    """Return the scheme of a name at a rate, `RATE` if none is given.

    Raises:
        ValueError: If there is no such scheme, the rate is outside [0, 1), or `none` is given one.
    """
    from bayesrnn import schemes
    from bayesrnn._checks import check_choice, check_rate

    check_choice(name, "scheme", SCHEMES)
    if rate is not None:
        check_rate(rate, "--rate")
    if name == "none":
        if rate:
            raise ValueError(
                f"--scheme none drops nothing, but --rate {rate:g} was given. Leave --rate out, or choose a scheme "
                f"that drops: {', '.join(SCHEMES[1:])}."
            )
        return schemes.none()
    rate = RATE if rate is None else rate
    if rate == 0.0:
        return schemes.none()
    return schemes.gal(rate, gates="tied") if name == "gal-tied" else getattr(schemes, name)(rate)


def chosen_recipe(name: str, epochs: int, batch_size: int, window: int, precision: str | None) -> "Recipe":
    """Return the recipe of a name, squeezed into `epochs`."""
    from bayesrnn._checks import check_choice
    from bayesrnn.training.recipes import AdamW, Recipe, gal, one_cycle, zaremba

    check_choice(name, "recipe", RECIPES)
    if name == "adamw":
        return Recipe(epochs, AdamW(), batch_size, window, clip=1.0, precision=precision)
    wholes = {"zaremba": zaremba("small"), "gal": gal("medium"), "one-cycle": one_cycle()}
    return replace(wholes[name].shortened(epochs), batch_size=batch_size, window=window, precision=precision)
