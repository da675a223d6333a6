"""The results of a study, in sentences."""

from collections.abc import Mapping

import torch
from torch import Tensor

from bayesrnn.data.series import Series
from bayesrnn.data.unequal import time_text
from bayesrnn.forecasting._backtest import Backtest
from bayesrnn.forecasting.settings import Settings
from bayesrnn.forecasting.splits import Split
from bayesrnn.metrics import Score
from bayesrnn.predictive import ContinuousPredictive
from bayesrnn.report.format import number, percent
from bayesrnn.report.page import Tone

_TOLERANCE = 0.4
"""How far a coverage may lie from its level, as a share of the misses that the level allows: 8 points at 80 %."""

PANELS = (
    "Left: the share of held-out targets inside intervals of every level, on the diagonal if the intervals hold what "
    "they promise. Middle: where targets fall in their predicted distribution, flat if it is right. Right: the share "
    "inside by steps ahead."
)


def setup(series: Series, split: Split, settings: Settings, raw: Backtest) -> str:
    """Return which span served for what."""
    first, start, test, last = (
        time_text(series.times[k], series.times) for k in (0, split.validation, split.held_out, -1)
    )
    return (
        f"Trained on {first} to {start}, recalibration begun on the errors from {start} to {test}, judged on {test} to "
        f"{last}: forecasts of {settings.horizon} steps from {len(raw)} origins ({raw.target.numel()} values), "
        f"{settings.draws} mask sets each, one set for all steps. Nothing was fitted to the held-out span."
    )


def coverage(which: str, scores: Mapping[str, Score]) -> tuple[str, Tone]:
    """Return what the intervals of 80 and 95 % hold, and whether that is near enough, too far, or perhaps chance."""
    parts, tones = [], list[Tone]()
    tone: Tone
    for level in (0.8, 0.95):
        score = scores[f"coverage_{100 * level:g}"]
        off, near = score.value - level, _TOLERANCE * (1 - level)
        if abs(off) <= near:
            verdict, tone = f"as they should (within {100 * near:.0f} points)", "good"
        elif score.interval is None or score.interval[0] <= level <= score.interval[1]:
            verdict, tone = f"{'below' if off < 0 else 'above'} the level, perhaps by chance", "warn"
        else:
            verdict, tone = "too narrow" if off < 0 else "too wide", "bad"
        tones.append(tone)
        ends = f" ({' to '.join(map(percent, score.interval))})" if score.interval else ""
        parts.append(f"The {which} {100 * level:g} % intervals hold {percent(score.value)}{ends}: {verdict}.")
    return " ".join(parts), max(tones, key=("good", "warn", "bad").index)


def widening(factors: Tensor) -> tuple[str, Tone]:
    """Return what recalibration did to the 80 % intervals; `factors` are (levels, O, H)."""
    factor = float(factors[1].mean())
    change = "widened" if factor > 1 else "narrowed"
    text = f"Recalibration {change} the 80 % intervals by a factor of {factor:.2f} on average, from past errors only."
    return text, "plain"


def floor(test: Backtest) -> list[tuple[str, Tone]]:
    """Return what to make of bounds below 0 of series that never went there (counts, loads, sales)."""
    series = test.series if isinstance(test.series, tuple) else (test.series,)
    which = torch.zeros(len(test), dtype=torch.long) if test.which is None else test.which
    never = torch.tensor([bool((one.values >= 0).all()) for one in series])
    below = test.predictive.interval(0.95)[0][never[which]] < 0
    if not bool(below.any()):
        return []
    names = "The series was" if len(series) == 1 else f"{int(never.sum())} of {len(series)} series were"
    text = (
        f"{names} never below 0, but {percent(float(below.double().mean()))} of the lower ends of the 95 % intervals "
        "are: the model knows no floor. Read them as 0, or forecast the logarithm."
    )
    return [(text, "warn")]


def too_few_blocks(scores: Mapping[str, Score], horizon: int) -> list[tuple[str, Tone]]:
    """Return why there are no intervals of the scores, where there are none."""
    if scores["crps"].interval is not None:
        return []
    text = (
        f"The scores have no intervals and no difference is judged: that takes five blocks of two horizons "
        f"({10 * horizon} held-out steps without gaps), because forecasts that overlap are not independent."
    )
    return [(text, "warn")]


def best_baseline(which: str, mine: float, best: str, other: float, units: str) -> tuple[str, Tone]:
    """Return how the CRPS of forecasts compares with that of the best baseline."""
    unit = f" {units}" if units else ""
    word = "better" if mine < other else "worse"
    return (
        f"The error (CRPS) of the {which}forecasts is {number(mine)}{unit}, {percent(abs(1 - mine / other))} {word} "
        f"than the best baseline, {best}, with {number(other)}{unit}.",
        "plain",
    )


def fans(test: Backtest, units: str) -> str:
    """Return the picture of the held-out forecasts in words."""
    low, high = test.predictive.interval(0.8)
    first, last = (number(float(width)) for width in (high - low).mean(0)[[0, -1]])
    return (
        f"Medians and 50, 80 and 95 % intervals of forecasts launched one after the other over {test.horizon} steps, "
        f"with what was observed. The mean width of the 80 % interval is {first} one step ahead and "
        f"{last}{f' {units}' if units else ''} at {test.horizon} steps."
    )


def last_step(predictive: ContinuousPredictive, units: str) -> str:
    """Return the picture of the steps after the end in words."""
    ends = (predictive.quantile(0.5), *predictive.interval(0.8))
    median, low, high = (number(float(value[0, -1]), 5) for value in ends)
    steps = predictive.shape[1]
    return f"The next {steps} steps. At the last the median is {median} {units}, the 80 % interval {low} to {high}."
