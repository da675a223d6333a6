"""Choose rates, average and temperature of a language model for test time, on validation text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn.inference._perplexity import perplexity
from bayesrnn.inference.averaging import Averaging
from bayesrnn.inference.ensemble import as_models
from bayesrnn.inference.token_stream import as_factor, as_stream
from bayesrnn.nn.precision import usable_precision


@dataclass(frozen=True)
class Tuned:
    """The best setting, and the perplexity of every setting.

    Attributes:
        multiplier: Factor on the rates.
        temperature: Divisor of the logits.
        perplexity: Of the validation text, with that setting.
        average: How draws are averaged: a name or a power.
        grid: (multiplier, temperature, perplexity, average) of every setting.
    """

    multiplier: float
    temperature: float
    perplexity: float
    average: str | float
    grid: tuple["Setting", ...]


Setting = tuple[float, float, float, str | float]
_MOST_STEPS = 12  # beyond the ends of the temperatures


def tune_perplexity(
    model: nn.Module | Sequence[nn.Module],
    tokens: Tensor | Iterable[int],
    *,
    multipliers: Iterable[float] = (0.7, 0.85, 1.0),
    averages: Iterable[str | float] = ("arithmetic",),
    temperatures: Iterable[float] = (0.92, 0.96, 1.0, 1.04),
    draws: int = 100,
    **options: Any,
) -> Tuned:
    """Choose the rates' multiplier, the average and the temperature that give validation text the lowest perplexity.

    First the multiplier at temperature 1 under the first average, then the average, then the temperature: searches
    along a line. Where the best temperature is the lowest or the highest, further ones are tried in steps of the same
    ratio until it gets worse.

    Args:
        model: As for `perplexity`.
        tokens: VALIDATION text, never the one that is reported on.
        multipliers: Factors on all rates to try; where the highest rate would reach 1 the factor is an error.
        averages: Averages to try: "arithmetic", "geometric" or powers, such as (1.0, 0.5, 0.0).
        temperatures: Divisors of the logits to try.
        draws: Draws of each try.
        **options: Further arguments of `perplexity`, such as `drop_words`, `batch_size` and `temperature_of`.

    Raises:
        ValueError: If a list is empty or holds a number that is not above 0, or as `perplexity` does.
        TypeError: If one is no list of numbers, or as `perplexity` does.

    Source: Melis et al. (2018), arXiv:1805.09208, section 4 (their `eval_softmax_temperature` is 1/temperature).

    Example:
        >>> import torch
        >>> from bayesrnn.models.language_model import LanguageModel
        >>> tuned = tune_perplexity(LanguageModel(20, 8, 8, 1, dropout=0.3), torch.arange(20), draws=16)
        >>> sorted({multiplier for multiplier, *_ in tuned.grid})
        [0.7, 0.85, 1.0]
    """
    models, tokens = as_models(model, "tune_perplexity"), as_stream(tokens)
    factors = _factors(multipliers, "multipliers", "scale the rates")
    divisors = _factors(temperatures, "temperatures", "divide the logits")
    device = next((p.device for m in models for p in m.parameters()), torch.device("cpu"))
    options["precision"] = usable_precision(options.get("precision"), device)  # here, to warn once
    means = _averages(averages)
    grid: list[Setting] = []

    def tried(multiplier: float, temperature: float, average: str | float) -> Setting:
        known = [s for s in grid if (s[0], s[1], s[3]) == (multiplier, temperature, average)]
        if not known:
            result = perplexity(
                models, tokens, draws=draws, multiplier=multiplier, temperature=temperature, average=average,
                statistics=False, **options,
            )  # fmt: skip
            known = [(multiplier, temperature, result.perplexity, average)]
            grid.extend(known)
        return known[0]

    best = min((tried(m, 1.0, means[0]) for m in factors), key=_perplexity)
    best = min((best, *(tried(best[0], 1.0, mean) for mean in means)), key=_perplexity)
    along = sorted({1.0, *divisors})
    best = min((tried(best[0], t, best[3]) for t in along), key=_perplexity)
    for end, inner in ((along[0], along[1]), (along[-1], along[-2])) if len(along) > 1 else ():
        for _ in range(_MOST_STEPS):
            if best[1] != end:
                break
            end, inner = end * end / inner, end
            best = min((best, tried(best[0], end, best[3])), key=_perplexity)
    return Tuned(*best, grid=tuple(grid))


def _perplexity(setting: Setting) -> float:
    return setting[2]


def _averages(values: Any) -> list[str | float]:
    """Return the averages to try."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"averages must be a list such as ('arithmetic', 0.5), but {values!r} was given.")
    averages = list(values)
    for average in averages:
        Averaging.of(average, 1.0)
    if not averages:
        raise ValueError("give at least one average to choose from.")
    return averages


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
