"""The scores of several forecasts of the same targets, each beside its difference from one of them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor

from bayesrnn import metrics
from bayesrnn.metrics.paired import difference
from bayesrnn.predictive import ContinuousPredictive

__all__ = ["LEVELS", "score_table", "wide_table"]

LEVELS = (0.5, 0.8, 0.95)


def score_table(
    forecasts: Mapping[str, ContinuousPredictive],
    target: Tensor,
    *,
    reference: str,
    blocks: Tensor,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
    density: bool = True,
) -> Any:
    """Return a line a forecast and score, with paired 95 % bootstrap intervals over blocks of origins.

    Origins that follow each other share most of their targets, so whole blocks of them are resampled; all forecasts are
    scored on the same resamples.

    Args:
        forecasts: Name → predictive of shape (O, H).
        target: What happened, (O, H).
        reference: The forecast that the others are compared with.
        blocks: Block of each origin, (O,).
        levels: Central intervals whose coverage and mean width are scored.
        seed: Seed of the bootstrap.
        density: Whether the forecasts have a density; those known by samples alone have no NLL.

    Returns:
        A DataFrame with the columns forecast, score, value, low, high (of the value), difference, difference_low,
        difference_high (from the reference; of coverage: of its distance from the level) and verdict.
    """
    import pandas as pd

    lines = []
    for score, (measure, level) in _measures(levels).items():
        if score == "nll" and not density:
            continue
        found = {
            name: measure(distribution, target, interval=0.95, sequences=blocks, seed=seed)
            for name, distribution in forecasts.items()
        }
        base = found[reference]
        for name, value in found.items():
            line = {"forecast": name, "score": score, "value": value.value}
            line |= dict(zip(("low", "high"), value.interval, strict=True))
            if name != reference:
                line["difference"], ends, _ = difference(value, base, partial(_loss, level=level))
                line |= dict(zip(("difference_low", "difference_high"), ends, strict=True))
                line["verdict"] = _verdict(score, *ends)
            lines.append(line)
    return pd.DataFrame(lines)


def wide_table(table: Any) -> Any:
    """Return one line a forecast and one column a score."""
    order = list(dict.fromkeys(table["forecast"]))
    return table.pivot(index="forecast", columns="score", values="value").loc[
        order, list(dict.fromkeys(table["score"]))
    ]


def _measures(levels: Sequence[float]) -> dict[str, tuple[Callable[..., Any], float | None]]:
    found: dict[str, tuple[Callable[..., Any], float | None]] = {
        "rmse": (metrics.rmse, None),
        "mae": (metrics.mae, None),
        "nll": (metrics.nll, None),
        "crps": (metrics.crps, None),
    }
    for level in levels:
        found[f"coverage_{100 * level:g}"] = (partial(metrics.coverage, level=level), level)
        found[f"width_{100 * level:g}"] = (partial(metrics.width, level=level), None)
    return found


def _loss(value: Any, level: float | None) -> Any:
    return value if level is None else abs(value - level)


def _verdict(score: str, low: float, high: float) -> str:
    if low <= 0 <= high:
        return "no difference can be told"
    if score.startswith("width"):
        return "narrower" if high < 0 else "wider"
    return "better" if high < 0 else "worse"
