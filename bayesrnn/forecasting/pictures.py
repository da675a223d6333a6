"""The pictures that a study and the page of a forecast share."""

from typing import TYPE_CHECKING

import torch

from bayesrnn.comparison import Comparison
from bayesrnn.data.series import Series
from bayesrnn.forecasting._backtest import Backtest
from bayesrnn.forecasting.settings import LEVELS
from bayesrnn.plots.backtest import rolling_forecasts, score_panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROOM = 0.16


def held_out(test: Backtest, series: Series, *, note: str = "", ax: "Axes | None" = None) -> "Axes":
    """Draw the forecasts of the held-out span of one series, each step by the last forecast that reaches it."""
    rows, steps = test.chained()
    span = slice(max(int(test.origins[0]) + 1 - 2 * test.horizon, 0), int(test.origins[-1]) + test.horizon + 1)
    axes = rolling_forecasts(
        test.predictive[rows],
        test.target[rows],
        series.times.to_numpy()[test.positions()[rows].numpy()],
        steps=steps,
        history=(series.times.to_numpy()[span], torch.where(series.observed, series.values, torch.nan)[span]),
        name=series.name,
        units=series.units,
        note=note,
        ax=ax,
    )
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + _ROOM * (high - low))  # for the legend, which would hide the tops of bands
    return axes


def comparison(compared: Comparison, units: str, ax: "Axes | None" = None) -> "Axes":
    """Draw CRPS, coverages and width of every forecast, with intervals."""
    shown = {"crps": "CRPS", **{f"coverage_{100 * level:g}": f"{100 * level:g} %" for level in LEVELS}}
    shown["width_80"] = "width"
    scores = {
        name: {text: (scores[key].value, *(scores[key].interval or (torch.nan,) * 2)) for key, text in shown.items()}
        for name, scores in compared.scores.items()
    }
    return score_panels(scores, units=units, ax=ax)
