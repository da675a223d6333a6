"""What a study found, in sentences."""

from typing import Any

from bayesrnn.forecasting._study import MC, NAIVE_MASKS, RAW, STANDARD, Study
from bayesrnn.report.format import number, percent, span

__all__ = ["calibration_sentences", "comparison_sentences", "split_sentence"]

_TOLERANCE = 0.08
_STANDARD = "standard dropout approximation (one pass without masks)"


def split_sentence(found: Study) -> str:
    """Return which span served for what."""
    times, split, settings = found.series.times, found.split, found.settings
    first, start, test, last = (_time(times[k]) for k in (0, split.validation, split.held_out, -1))
    values = found.raw.target.numel()
    return (
        f"Trained on {first} to {start}, recalibration begun on the errors from {start} to {test}, judged on {test} to "
        f"{last}: forecasts of {settings.horizon} steps from {len(found.raw)} origins ({values} values), "
        f"{settings.draws} mask sets each, one set along a whole roll-out. Nothing was fitted to the held-out span."
    )


def calibration_sentences(found: Study) -> list[tuple[str, str]]:
    """Return (sentence, tone) about the raw and the recalibrated intervals at 80 and 95 %, and about bounds below 0."""
    return [_coverage(found, RAW, "raw"), _coverage(found, MC, "recalibrated"), *_floor(found)]


def comparison_sentences(found: Study) -> list[str]:
    """Return how MC dropout does against the standard approximation, per-step masks and the baselines, by CRPS."""
    sentences = [_against(found, name) for name in (RAW, MC, NAIVE_MASKS) if name in found.forecasts]
    baselines = [n for n in found.forecasts if n == "ETS" or n.startswith("seasonal naive")]
    best = min(baselines, key=lambda name: found.value(name, "crps"))
    mine, other = found.value(MC, "crps"), found.value(best, "crps")
    unit = f" {found.series.units}" if found.series.units else ""
    word = "lower (better)" if mine < other else "higher (worse)"
    sentences.append(
        f"The best baseline is {best}: CRPS {number(other)}{unit}; that of {MC} is "
        f"{percent(abs(1 - mine / other))} {word}."
    )
    return sentences


def _coverage(found: Study, name: str, what: str) -> tuple[str, str]:
    parts, tone = [], "good"
    for level in (0.8, 0.95):
        line = _line(found, name, f"coverage_{100 * level:g}")
        value, low, high = (float(line[k]) for k in ("value", "low", "high"))
        if abs(value - level) <= _TOLERANCE:
            judged = f"within {100 * _TOLERANCE:.0f} points of what was promised"
        else:
            judged, tone = ("too narrow" if value < level else "too wide"), "bad"
        parts.append(
            f"{100 * level:g} % intervals hold {percent(value)} {span(low, high, scale=100, digits=2)}: {judged}"
        )
    text = f"The {what} " + "; the ".join(parts) + "."
    if what == "raw":
        factor = float(found.factors[1].mean())
        change = "widened" if factor > 1 else "narrowed"
        text += (
            f" Recalibration {change} the 80 % intervals by a factor of {factor:.2f} on average, from past errors only."
        )
    return text, tone


def _floor(found: Study) -> list[tuple[str, str]]:
    """Return what to make of bounds below 0 where the series never went there (counts, loads, sales)."""
    low, _ = found.recalibrated.predictive.interval(0.95)
    share = float((low < 0).double().mean())
    if share == 0 or bool((found.series.values < 0).any()):
        return []
    text = (
        f"The series was never below 0, but {percent(share)} of the lower ends of the 95 % intervals are: the model "
        "knows no floor. Read them as 0, or forecast the logarithm."
    )
    return [(text, "warn")]


def _against(found: Study, name: str) -> str:
    line = _line(found, name, "crps")
    unit = f" {found.series.units}" if found.series.units else ""
    change = f"{number(float(line['difference']), 2, sign=True)}{unit} "
    change += span(float(line["difference_low"]), float(line["difference_high"]), digits=2, sign=True)
    values = f"CRPS {number(float(line['value']))} against {number(found.value(STANDARD, 'crps'))}{unit}, {change}"
    verdict = str(line["verdict"])
    if verdict == "no difference can be told":
        return f"{_capital(name)} against the {_STANDARD}: no difference can be told ({values})."
    return f"{_capital(name)} is {verdict} than the {_STANDARD} ({values})."


def _line(found: Study, name: str, score: str) -> dict[str, Any]:
    table = found.table
    return dict(table[(table["forecast"] == name) & (table["score"] == score)].iloc[0])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _time(time: object) -> str:
    return str(time).removesuffix(" 00:00:00")
