"""Choose rates, average and temperature of a language model for test time, on validation text."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn.inference.averaging import Averaging
from bayesrnn.inference.ensemble import as_models
from bayesrnn.inference.text_reading import TextReading
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
_Average = tuple[float, str | float]  # temperature and average
_MOST_STEPS, _AHEAD = 12, 3  # temperatures beyond the ends; so many of them per reading


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
    along a line, the averages and the temperatures in one reading of the text each. Where the best temperature is the
    lowest or the highest, further ones are tried in steps of the same ratio until it gets worse.

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
    temperature_of = options.pop("temperature_of", "draws")
    _check_options(options)
    search = _Search(models, tokens, draws, temperature_of, options)
    best = min((search.tried(m, [(1.0, means[0])])[0] for m in factors), key=_perplexity)
    best = min([best, *search.tried(best[0], [(1.0, mean) for mean in means])], key=_perplexity)
    along = sorted({1.0, *divisors})
    best = min(search.tried(best[0], [(t, best[3]) for t in along]), key=_perplexity)
    for inner, end in ((along[1], along[0]), (along[-2], along[-1])) if len(along) > 1 else ():
        further = _beyond(inner, end)
        for place, temperature in enumerate(further):
            if best[1] != (further[place - 1] if place else end):
                break
            ahead = [(t, best[3]) for t in further[place + 1 : place + _AHEAD]]
            best = min([best, *search.tried(best[0], [(temperature, best[3])], ahead)], key=_perplexity)
    return Tuned(*best, grid=tuple(search.grid))


class _Search:
    """Settings that were tried; those of one call are computed from one reading of the text."""

    def __init__(
        self, models: list[nn.Module], tokens: Tensor, draws: int, temperature_of: str, options: dict[str, Any]
    ) -> None:
        self.models, self.tokens, self.temperature_of = models, tokens, temperature_of
        self.options = {"draws": draws, "statistics": False, **options}
        self.grid: list[Setting] = []
        self._known: dict[tuple[float, float, str | float], float] = {}

    def tried(self, multiplier: float, settings: list[_Average], ahead: Iterable[_Average] = ()) -> list[Setting]:
        """Return settings with their perplexities; `ahead` are read along if the text must be read anyway."""
        if any((multiplier, *setting) not in self._known for setting in settings):
            new = [s for s in (*settings, *ahead) if (multiplier, *s) not in self._known]
            averagings = [Averaging.of(average, temperature, self.temperature_of) for temperature, average in new]
            reading = TextReading(multiplier=multiplier, **self.options)
            for setting, result in zip(new, reading.predictives(self.models, self.tokens, averagings), strict=True):
                self._known[(multiplier, *setting)] = result.perplexity
        tried = [(multiplier, t, self._known[multiplier, t, average], average) for t, average in settings]
        self.grid += [setting for setting in tried if setting not in self.grid]
        return tried


def _beyond(inner: float, end: float) -> list[float]:
    """Return temperatures that go on from `inner` and `end` in steps of their ratio."""
    further = [inner, end]
    for _ in range(_MOST_STEPS):
        further.append(further[-1] * further[-1] / further[-2])
    return [t for t in further[2:] if 0.0 < t < math.inf]


def _check_options(options: dict[str, Any]) -> None:
    """Refuse what is no argument of a reading, or is chosen here."""
    legal = {field.name for field in fields(TextReading)} - {"multiplier", "statistics", "draws"}
    if unknown := sorted(set(options) - legal):
        raise TypeError(
            f"tune_perplexity passes {', '.join(sorted({*legal, 'temperature_of'}))} on to perplexity, but "
            f"{', '.join(unknown)} was given. Multipliers, averages and temperatures to try are lists."
        )


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
