"""Are the known anomalies of the taxi series outside the intervals, or does the network know that it does not know?"""

from typing import Any

import numpy as np
import pandas as pd

from bayesrnn.forecasting import Study

__all__ = ["EVENTS", "anomalies"]

EVENTS = {
    "marathon": ("2014-11-02",),
    "Thanksgiving": ("2014-11-27",),
    "Christmas": ("2014-12-25",),
    "New Year": ("2015-01-01",),
    "snow storm": ("2015-01-26", "2015-01-27"),
}
"""The five labelled events of the Numenta benchmark, by the days they fall on."""


def anomalies(found: Study, level: float = 0.99) -> dict[str, Any]:
    """Return for each event the share of its forecasts outside the interval and its highest epistemic rank.

    A day is told apart if more of its forecasts lie outside than on 99 % of the ordinary days, or if its highest
    epistemic variance exceeds the 99th percentile of the ordinary forecasts.
    """
    low, high = found.recalibrated.predictive.interval(level)
    outside = ((found.raw.target < low) | (found.raw.target > high)).double().reshape(-1).numpy()
    epistemic = found.raw.predictive.epistemic.reshape(-1).numpy()
    times = found.series.times[found.raw.positions().reshape(-1).numpy()]
    frame = pd.DataFrame({"day": times.strftime("%Y-%m-%d"), "outside": outside, "epistemic": epistemic})
    special = {day for days in EVENTS.values() for day in days}
    ordinary = frame[~frame["day"].isin(special)]
    share_limit = float(np.quantile(ordinary.groupby("day")["outside"].mean(), 0.99))
    epistemic_limit = float(np.quantile(ordinary["epistemic"], 0.99))
    events = {}
    for name, days in EVENTS.items():
        rows = frame[frame["day"].isin(days)]
        share, top = float(rows["outside"].mean()), float(rows["epistemic"].max())
        events[name] = {
            "share_outside": share,
            "epistemic_over_99th_percentile": top / epistemic_limit,
            "told_apart": bool(share > share_limit or top > epistemic_limit),
        }
    return {
        "level": level,
        "share_outside_ordinary_days": float(ordinary["outside"].mean()),
        "share_outside_99th_percentile_of_ordinary_days": share_limit,
        "events": events,
    }
