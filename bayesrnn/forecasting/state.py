"""What a fitted forecaster keeps: parts that stay, and histories and recalibration that move on with new rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bayesrnn._checks import check_level
from bayesrnn.data.steps import following
from bayesrnn.forecasting.covariates import Encoding
from bayesrnn.forecasting.distribution import ForecastDistribution, table_of
from bayesrnn.forecasting.features import Windows
from bayesrnn.forecasting.fitted import Fitted
from bayesrnn.forecasting.hedged import HedgedIntervals
from bayesrnn.forecasting.learn import Outcome
from bayesrnn.forecasting.origins import spacing
from bayesrnn.forecasting.panel import read_panel
from bayesrnn.forecasting.record import Columns, Record
from bayesrnn.masks import BLOCK
from bayesrnn.predictive import ContinuousPredictive
from bayesrnn.predictive.origin import Origin

_WATCHED = 300
"""Validation origins that are looked at, at most about."""


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
        correlation: Of the normal scores of errors h and k steps ahead, (H, H).
        hedges: Name of a series → log factors of its intervals and what they lost.
        every: Steps between the origins whose errors recalibrate.
        summary: What was chosen and how it scored in the validation span, as JSON values.
    """

    fitted: Fitted
    records: Sequence[Record]
    columns: Columns
    encoding: Encoding
    draws: int
    seed: int
    correlation: Tensor
    hedges: Mapping[Any, Tensor]
    every: int
    summary: Mapping[str, Any]

    @property
    def hedge(self) -> HedgedIntervals:
        """The recalibration of its intervals."""
        return HedgedIntervals(self.fitted.reader.horizon)

    @staticmethod
    def after(
        outcome: Outcome, records: Sequence[Record], columns: Columns, encoding: Encoding, *, draws: int, seed: int
    ) -> "State":
        """Return the state after a fit; recalibration begins at the raw intervals, which validation has shaped."""
        horizon = outcome.final.reader.horizon
        spans = [len(r) - start for r, start in zip(records, outcome.starts)]
        every = min(max(horizon // 8, -(-sum(spans) // _WATCHED), 1), horizon)
        hedges = {record.id: HedgedIntervals(horizon).start() for record in records}
        state = State(
            outcome.early, records, columns, encoding, min(draws, 64), seed, torch.eye(horizon, dtype=torch.float64),
            hedges, spacing(every, outcome.final.reader.layout.seasons[0], most=horizon), {},
        )  # fmt: skip
        correlation, crps = state.validated(outcome.starts)
        choices = outcome.choices
        summary: dict[str, Any] = {
            "horizon": horizon,
            "seasons": list(outcome.final.reader.layout.seasons),
            "lags": max(choice.lags for choice in choices),
            "repeats": [max(counts) for counts in zip(*(choice.repeats for choice in choices))],
            "calendar": any(choice.calendar for choice in choices),
            "likelihood": outcome.final.network.likelihood,
            "network_share": outcome.trained.share,
            "validation_crps": crps,
        }
        if code := outcome.final.reader.holidays:
            summary |= {"holidays": code, "holidays_in_linear_part": any(choice.holidays for choice in choices)}
        return replace(state, fitted=outcome.final, draws=draws, correlation=correlation, summary=summary)

    def validated(self, starts: Sequence[int]) -> tuple[Tensor, float]:
        """Return correlation and CRPS (in scales) of forecasts from origins in the validation spans."""
        scores, crps = [], []
        for record, start in zip(self.records, starts):
            origins = self.watched(record, start - 1, len(record) - 1)
            if not len(origins):
                continue
            windows = self.fitted.windows(record, origins)
            raw = self.raw(windows)
            seen = torch.nan_to_num(windows.target, nan=0.0)
            unknown = torch.isnan(windows.target)
            scores.append(torch.special.ndtri(raw.cdf(seen).clamp(1e-4, 1 - 1e-4)).masked_fill(unknown, 0.0))
            crps.append((raw.crps(seen) / windows.scale)[~unknown])
        return _correlation(torch.cat(scores)), float(torch.cat(crps).mean())

    def raw(self, windows: Windows, draws: int | None = None) -> ForecastDistribution:
        """Return the distribution of the targets of windows as the draws give it."""
        predictive = self.fitted.forecast(windows, draws=self.draws if draws is None else draws, seed=self.seed)
        return table_of(predictive.distribution, self.correlation)

    def forecast(self, windows: Windows, records: Sequence[Record]) -> ContinuousPredictive:
        """Return the recalibrated distribution of the steps after the end of each record."""
        hedge = self.hedge
        raw = self.raw(windows)
        factors = torch.stack([hedge.factors(self.hedged(record)) for record in records], 1)
        return predictive_of(hedge.stretch(raw, factors), self.draws, self.seed, windows.ids)

    def hedged(self, record: Record) -> Tensor:
        """Return log factors and losses of a series; of a new one the mean over all."""
        known = self.hedges.get(record.id)
        return torch.stack(list(self.hedges.values())).mean(0) if known is None else known

    def watched(self, record: Record, first: int, last: int) -> NDArray[np.int64]:
        """Return the positions between `first` and `last` from which recalibration looks ahead."""
        first = max(first, 2 * self.fitted.reader.layout.seasons[0])
        return np.arange(-(-first // self.every) * self.every, last, self.every)

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
                "go on from. Leave its rows out; forecast new series by predict, or learn anew with all of them."
            )
        hedge, hedges = self.hedge, dict(self.hedges)
        for record in new:
            before = by_id[record.id]
            after = by_id[record.id] = before.joined(record)
            origins = self.watched(after, len(before) - self.fitted.reader.horizon, len(after) - 1)
            if len(origins):
                windows = self.fitted.windows(after, origins)
                past = hedge.past(self.raw(windows), windows.target, known_at(origins, windows))
                span = {"since": len(before) - 1, "until": len(after) - 1}
                _, hedges[record.id] = hedge.rolled(hedges[record.id], past, [], **span)
        return replace(self, records=list(by_id.values()), hedges=hedges)

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


def predictive_of(distribution: ForecastDistribution, draws: int, seed: int, ids: Tensor) -> ContinuousPredictive:
    r"""Return the predictive that holds a distribution averaged over draws.

    The standard error of the mean is $\sqrt{\text{epistemic} / S}$, right for independent draws; stratified draws have
    at most this error.
    """
    if not draws:
        nothing = torch.zeros(distribution.shape, dtype=distribution.dtype)
        return ContinuousPredictive(distribution, Origin(1, None, "deterministic", 1, ids), nothing)
    error = (distribution.epistemic() / draws).sqrt().to(distribution.dtype)
    return ContinuousPredictive(distribution, Origin(draws, seed, "stratified", BLOCK, ids), error)


def share_of(level: float) -> float:
    """Return a level in percent as a share."""
    if not 1 <= level < 100:
        raise ValueError(f"levels are percentages from 1 to below 100, but {level!r} was given. For 80 % pass 80.")
    return check_level(level / 100, "levels")


def known_at(origins: NDArray[np.int64], windows: Windows) -> Tensor:
    """Return the position at which each target of windows is known, (N, H)."""
    return torch.from_numpy(origins)[:, None] + torch.arange(1, windows.base.shape[1] + 1)


def _correlation(scores: Tensor) -> Tensor:
    """Return the correlation of the columns, drawn towards independence where rows are few."""
    second = scores.T @ scores
    width = torch.diag(second).sqrt().clamp(min=1e-12)
    shrunk = len(scores) / (len(scores) + 10.0)
    return shrunk * second / width / width[:, None] + (1 - shrunk) * torch.eye(len(second), dtype=second.dtype)
