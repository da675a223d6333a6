"""A fitted forecaster: linear part, network and scales, and forecasts from any origin of any series."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrnn.forecasting.features import Reader, Scale, Windows, scale_of
from bayesrnn.forecasting.record import Record
from bayesrnn.forecasting.skeleton import Skeleton
from bayesrnn.inference import predict
from bayesrnn.models.forecaster_residual import ResidualForecaster
from bayesrnn.predictive import ContinuousPredictive


@dataclass(frozen=True, eq=False)
class Fitted:
    """The fitted parts of a forecaster, the same for every series.

    Attributes:
        reader: Turns histories into windows.
        skeleton: The linear part.
        network: What it leaves, learned.
        scales: Name of a series → its scale; of a new series it comes from its history.
    """

    reader: Reader
    skeleton: Skeleton
    network: ResidualForecaster
    scales: Mapping[Any, Scale]

    def scale(self, record: Record) -> Scale:
        """Return the scale of a series, from its history if it is new."""
        known = self.scales.get(record.id)
        return scale_of(record, self.reader.layout.seasons[0]) if known is None else known

    def windows(
        self,
        record: Record,
        positions: NDArray[np.int64],
        ahead: NDArray[np.float64] | None = None,
    ) -> Windows:
        """Return the windows at positions of a history.

        Args:
            record: The history.
            positions: Of the last known value of each window, (N,).
            ahead: Known covariates of the H steps after the end, (H, columns); needed for origins at the end.
        """
        width = record.known.shape[1]
        later = np.zeros((self.reader.horizon, width)) if ahead is None else ahead
        track = self.reader.track(record, self.scale(record), later)
        origins = positions + self.reader.needed
        return self.reader.windows(track, origins, self.skeleton.predict(track, origins), record)

    def forecast(self, windows: Windows, *, draws: int, seed: int, progress: bool = False) -> ContinuousPredictive:
        """Return the distribution of the targets of windows, (N, H), target units."""
        distribution = predict(
            self.network, *windows.inputs(), draws=draws, seed=seed, sequence_ids=windows.ids, progress=progress
        )
        if not isinstance(distribution, ContinuousPredictive):
            raise TypeError(f"a forecaster gives a continuous predictive, not a {type(distribution).__name__}.")
        return distribution


def last_windows(fitted: Fitted, records: Sequence[Record], ahead: Sequence[NDArray[np.float64]]) -> Windows:
    """Return the window at the end of each history; only what the window needs is read."""
    known = replace(fitted, scales={record.id: fitted.scale(record) for record in records})
    tails = [record.last(2 * fitted.reader.needed) for record in records]
    return Windows.joined(
        [known.windows(tail, np.array([len(tail) - 1]), later) for tail, later in zip(tails, ahead, strict=True)]
    )
