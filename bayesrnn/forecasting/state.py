"""What a fitted forecaster keeps: parts that stay, and histories and recalibration that move on with new rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bayesrnn.data.steps import following
from bayesrnn.forecasting.covariates import Encoding
from bayesrnn.forecasting.features import Windows
from bayesrnn.forecasting.fitted import Fitted
from bayesrnn.forecasting.learn import Outcome
from bayesrnn.forecasting.panel import Columns, Record, read_panel
from bayesrnn.predictive import ContinuousPredictive

__all__ = ["State"]


@dataclass(frozen=True, eq=False)
class State:
    """A fitted forecaster with the histories that it forecasts from.

    Attributes:
        fitted: Linear part, network, scales: they stay.
        records: The history of each series.
        columns: Names of the columns.
        encoding: How covariates become numbers.
        draws: Mask sets per forecast.
        seed: Seed of the masks.
        summary: What was chosen and how it scored in the validation span, as JSON values.
    """

    fitted: Fitted
    records: Sequence[Record]
    columns: Columns
    encoding: Encoding
    draws: int
    seed: int
    summary: Mapping[str, Any]

    @staticmethod
    def after(
        outcome: Outcome, records: Sequence[Record], columns: Columns, encoding: Encoding, *, draws: int, seed: int
    ) -> "State":
        """Return the state after a fit."""
        choice = outcome.choice
        summary = {
            "horizon": outcome.final.reader.horizon,
            "seasons": list(outcome.final.reader.layout.seasons),
            "lags": choice.lags,
            "repeats": list(choice.repeats),
            "calendar": choice.calendar,
            "likelihood": outcome.final.network.likelihood,
            "epochs": outcome.history.epochs and (outcome.history.best_epoch or 0) + 1,
        }
        return State(outcome.final, list(records), columns, encoding, draws, seed, summary)

    def distribution(self, windows: Windows) -> ContinuousPredictive:
        """Return the distribution of the targets of windows."""
        return self.fitted.forecast(windows, draws=self.draws, seed=self.seed)

    def updated(self, frame: Any) -> "State":
        """Return the state after new rows.

        Raises:
            ValueError: If a series is unknown, or its rows do not start right after those known.
        """
        new, _ = read_panel(frame, self.columns, self.encoding, fewest=1, like=self.records[0].times)
        by_id = {record.id: record for record in self.records}
        if unknown := [r.id for r in new if r.id not in by_id]:
            raise ValueError(
                f"the series {', '.join(map(repr, unknown[:5]))} was not there at the fit, so there is no history to "
                "go on from. Forecast new series with predict(frame), or fit again with all of them."
            )
        for record in new:
            by_id[record.id] = by_id[record.id].joined(record)
        return replace(self, records=list(by_id.values()))

    def frame(self, distribution: ContinuousPredictive, records: Sequence[Record], levels: Sequence[float]) -> Any:
        """Return the forecasts of the steps after the end of each record, one line per step."""
        import pandas as pd

        horizon, columns = self.fitted.reader.horizon, self.columns
        times = [following(record.times, horizon) for record in records]
        table: dict[str, Any] = {}
        if columns.id is not None:
            table[columns.id] = np.repeat(np.array([record.id for record in records]), horizon)
        table[columns.time] = times[0] if len(times) == 1 else times[0].append(times[1:])
        keep = ["mean", "median", "std", *(f"{end}-{100 * p:.10g}" for p in levels for end in ("lo", "hi"))]
        return pd.DataFrame(table).join(distribution.to_frame(levels)[keep])
