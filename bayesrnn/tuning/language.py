"""How sharp and how random a language model should be at test time: chosen on validation text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn.inference._perplexity import perplexity
from bayesrnn.inference.ensemble import as_models
from bayesrnn.inference.token_stream import as_factor, as_stream
from bayesrnn.nn.precision import usable_precision

__all__ = ["Tuned", "tune_perplexity"]


@dataclass(frozen=True)
class Tuned:
    """The best pair, and what every pair came to.

    Attributes:
        multiplier: Factor on the rates.
        temperature: Divisor of the logits.
        perplexity: Of the validation text, with that pair.
        grid: (multiplier, temperature, perplexity) of every pair.
    """

    multiplier: float
    temperature: float
    perplexity: float
    grid: tuple[tuple[float, float, float], ...]


def tune_perplexity(
    model: nn.Module | Sequence[nn.Module],
    tokens: Tensor | Iterable[int],
    *,
    multipliers: Iterable[float] = (0.7, 0.85, 1.0),
    temperatures: Iterable[float] = (0.92, 0.96, 1.0, 1.04),
    draws: int = 100,
    **options: Any,
) -> Tuned:
    """Choose the multiplier of the rates and the temperature that give validation text the lowest perplexity.

    First the multiplier at temperature 1, then the temperature at that multiplier: two searches along a line.

    Args:
        model: As for `perplexity`.
        tokens: VALIDATION text, never the one that is reported on.
        multipliers: Factors on all rates to try; where the highest rate would reach 1 the factor is an error.
        temperatures: Divisors of the logits to try.
        draws: Draws of each try.
        **options: Further arguments of `perplexity`, such as `drop_words` and `batch_size`.

    Raises:
        ValueError: If a list is empty or holds a number that is not above 0, or as `perplexity` does.
        TypeError: If one is no list of numbers, or as `perplexity` does.

    Source: Melis et al. (2018), arXiv:1805.09208, section 4 (their `eval_softmax_temperature` is 1/temperature).

    Example:
        >>> import torch
        >>> from bayesrnn.models.language_model import LanguageModel
        >>> tuned = tune_perplexity(LanguageModel(20, 8, 8, 1, dropout=0.3), torch.arange(20), draws=16)
        >>> len(tuned.grid)
        6
    """
    models, tokens = as_models(model, "tune_perplexity"), as_stream(tokens)
    factors = _factors(multipliers, "multipliers", "scale the rates")
    divisors = _factors(temperatures, "temperatures", "divide the logits")
    device = next((p.device for m in models for p in m.parameters()), torch.device("cpu"))
    options["precision"] = usable_precision(options.get("precision"), device)  # here, to warn once
    grid: list[tuple[float, float, float]] = []

    def tried(multiplier: float, temperature: float) -> tuple[float, float, float]:
        known = next((entry for entry in grid if entry[:2] == (multiplier, temperature)), None)
        if known is not None:
            return known
        result = perplexity(
            models,
            tokens,
            draws=draws,
            multiplier=multiplier,
            temperature=temperature,
            statistics=False,
            **options,
        )
        grid.append((multiplier, temperature, result.perplexity))
        return grid[-1]

    best = min((tried(m, 1.0) for m in factors), key=lambda entry: entry[2])
    best = min((best, *(tried(best[0], t) for t in divisors)), key=lambda entry: entry[2])
    return Tuned(*best, grid=tuple(grid))


def _factors(values: Any, name: str, does: str) -> list[float]:
    """Return the numbers to try, each above 0."""
    if isinstance(values, str) or not isinstance(values, Iterable) or (isinstance(values, Tensor) and not values.dim()):
        raise TypeError(
            f"{name} must be a list of numbers above 0, but {values!r} ({type(values).__name__}) was given. "
            f"To try one, put it in a list; to use it untried, pass {name.removesuffix('s')}= to perplexity."
        )
    factors = [as_factor(value, name, does) for value in values]
    if not factors:
        raise ValueError("give at least one multiplier and one temperature to choose from.")
    return factors
