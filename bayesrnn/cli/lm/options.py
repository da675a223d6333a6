"""Options that name a scheme or a recipe, and the ranges of numbers."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bayesrnn.schemes import Scheme
    from bayesrnn.training.recipes import Recipe

__all__ = ["RATE", "RECIPES", "SCHEMES", "BatchSize", "Seed", "Window", "chosen_recipe", "chosen_scheme"]

SCHEMES = ("none", "zaremba", "naive", "gal", "gal-tied", "moon")
RECIPES = ("zaremba", "gal", "one-cycle", "adamw")
RATE = 0.2

Seed = Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of weights, masks and choices.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Parallel rows.")]
Window = Annotated[int, typer.Option(min=1, help="Steps of a window.")]


def chosen_scheme(name: str, rate: float | None) -> "Scheme":
    """Return the scheme of a name at a rate, `RATE` if none is given.

    Raises:
        ValueError: If there is no such scheme, the rate is outside [0, 1), or `none` is given one.
    """
    from bayesrnn import schemes
    from bayesrnn._checks import check_choice, check_rate

    check_choice(name, "--scheme", SCHEMES)
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

    check_choice(name, "--recipe", RECIPES)
    if name == "adamw":
        return Recipe(epochs, AdamW(), batch_size, window, clip=1.0, precision=precision)
    wholes = {"zaremba": zaremba("small"), "gal": gal("medium"), "one-cycle": one_cycle()}
    return replace(wholes[name].shortened(epochs), batch_size=batch_size, window=window, precision=precision)
