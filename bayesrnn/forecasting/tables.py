"""The tables of a study, as people read them: scores, differences, parts of the uncertainty."""

from typing import Any

from bayesrnn.comparison import Comparison
from bayesrnn.data.unequal import time_text
from bayesrnn.forecasting._backtest import Backtest
from bayesrnn.metrics import Score
from bayesrnn.report.format import number, percent, span

DIFFERENCES = "Differences are between scores; for shares inside an interval, between their distances from its level."


def heading(key: str) -> str:
    """Return the heading of a column of scores: "CRPS", "80 % holds", "80 % width"."""
    kind, _, level = key.partition("_")
    return f"{level} % {'holds' if kind == 'coverage' else 'width'}" if level else kind.upper()


def score_rows(comparison: Comparison) -> list[dict[str, str]]:
    """Return one row per forecast."""
    return [
        {"forecast": name} | {heading(key): _score(key, score) for key, score in scores.items()}
        for name, scores in comparison.scores.items()
    ]


def difference_rows(comparison: Comparison) -> list[dict[str, str]]:
    """Return one row per forecast and score: the change that the verdict is about, and the verdict."""
    rows = []
    for difference in comparison.differences:
        value, ends = difference.change
        interval = f" {span(*ends, digits=2, sign=True)}" if difference.score.interval else ""
        rows.append(
            {
                "forecast": difference.name,
                "score": difference.measure.label,
                "value": number(difference.score.value),
                "difference": f"{number(value, 2, sign=True)}{interval}",
                "verdict": str(difference.verdict),
            }
        )
    return rows


def part_rows(test: Backtest) -> list[dict[str, str]]:
    """Return both parts of the uncertainty at some steps ahead, means over origins."""
    horizon, rows = test.horizon, []
    for step in sorted({1, max(horizon // 4, 1), max(horizon // 2, 1), horizon}):
        noise, model = (float(p[:, step - 1].mean()) for p in (test.predictive.aleatoric, test.predictive.epistemic))
        rows.append(
            {
                "steps ahead": str(step),
                "std, total": number((noise + model) ** 0.5),
                "std, aleatoric": number(noise**0.5),
                "std, epistemic": number(model**0.5),
                "epistemic share of the variance": percent(model / (noise + model)),
            }
        )
    return rows


def rounded(frame: Any) -> list[dict[str, str]]:
    """Return the rows of a frame as text, numbers to five digits."""

    def text(name: Any, value: Any) -> str:
        if isinstance(value, float):
            return number(value, 5)
        return time_text(value, frame[name]) if frame[name].dtype.kind == "M" else str(value)

    return [{name: text(name, value) for name, value in line.items()} for line in frame.to_dict("records")]


def _score(key: str, score: Score) -> str:
    if key.startswith("coverage"):
        return percent(score.value)
    ends = f" {span(*score.interval)}" if score.interval and not key.startswith("width") else ""
    return f"{number(score.value)}{ends}"
