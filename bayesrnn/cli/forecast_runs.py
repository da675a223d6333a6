"""What is done with the run of a forecast: predict from newer rows, update, judge on them."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesrnn.cli.forecast_files import remember, remembered, with_future
from bayesrnn.cli.options import Common

if TYPE_CHECKING:
    from bayesrnn.estimators import BayesianRNNForecaster
    from bayesrnn.report import CalibrationReport
    from bayesrnn.storage.run import Manifest
    from bayesrnn.tables.forecast_page import ForecastPage


def predicted(run: Path, manifest: "Manifest", file: Path | None, future: Path | None, common: Common) -> Any:
    """Return the forecast of the next steps as a table.

    Rows later than the run's rows are taken in first; a file of new series, or of whole histories, is forecast on
    its own.
    """
    from bayesrnn.tables.forecasts import aligned

    forecaster = _loaded(run, common)
    frame, ahead = with_future(manifest.details["reading"], file, future)
    ahead = _with_remembered(run, ahead, forecaster)
    if frame is None:
        return forecaster.predict(known=ahead)
    state = forecaster._fitted()
    frame = aligned(frame, state)
    ends = {record.id: record.times[-1] for record in state.records}
    names = [None] * len(frame) if state.columns.id is None else frame[state.columns.id].tolist()
    new = sorted({str(name) for name in names if name not in ends})
    times = frame[state.columns.time]
    later = [name in ends and time > ends[name] for name, time in zip(names, times)]
    if new or not any(later):
        common.say(f"Forecast from the rows of {file} only" + (f"; new series: {', '.join(new[:5])}." if new else "."))
        return forecaster.predict(frame, known=ahead)
    names = frame[later][state.columns.id] if state.columns.id is not None else [None]
    if behind := sorted(str(name) for name in ends.keys() - set(names)):
        common.say(f"{file} holds no newer rows of {', '.join(behind[:5])}: forecast from the rows that the run knows.")
    forecaster.update(frame[later])
    return forecaster.predict(known=ahead)


def updated(run: Path, new: Path, manifest: "Manifest", file: Path, common: Common) -> "tuple[Manifest, str]":
    """Write the forecaster updated with the new rows of a file to a new folder; return its manifest and a sentence."""
    forecaster, frame, ahead = _with_later_rows(run, manifest, file, common)
    ahead = _with_remembered(run, ahead, forecaster)
    forecaster.save(new / "model")
    remember(new, ahead)
    data = {**manifest.data, **forecaster.summary_}
    future = "" if _reaches_ahead(ahead, forecaster) else " --future FILE"
    text = (
        f"{run} knows {len(frame)} rows more and goes on after {data['last']}: "
        f"bayesrnn predict {run}{future} -o tomorrow.csv"
    )
    return replace(manifest, data=data), text


def judged_later(run: Path, manifest: "Manifest", file: Path, common: Common) -> "ForecastPage":
    """Return the page of forecasts of rows later than the run's rows."""
    from bayesrnn.data.unequal import time_text
    from bayesrnn.tables.forecast_page import ForecastPage
    from bayesrnn.tables.forecasts import judge_ahead

    forecaster, frame, _ = _with_later_rows(run, manifest, file, common)
    time = forecaster._fitted().columns.time
    start = frame[time].min()
    units = manifest.details["reading"]["units"]
    judgement = judge_ahead(forecaster, None, start, units=units, say=lambda text: common.say(f"· {text} ..."))
    begin = time_text(start, frame[time])
    setup = f"{run.name}, as it was learned, on {len(frame)} rows of {file.name} from {begin} on."
    return ForecastPage(judgement, setup, units)


def reported(run: Path, manifest: "Manifest", file: Path, common: Common, title: str) -> "CalibrationReport":
    """Return the calibration report of forecasts of rows later than the run's rows."""
    from bayesrnn.report import calibration_report
    from bayesrnn.tables.forecasts import forecast_ahead, steps_since_start

    forecaster, frame, _ = _with_later_rows(run, manifest, file, common)
    start = frame[forecaster._fitted().columns.time].min()
    test = forecast_ahead(forecaster, None, start, lambda text: common.say(f"· {text} ..."))
    units, spans = manifest.details["reading"]["units"], steps_since_start(test) // (2 * test.horizon)
    groups = None if test.which is None else [test.series[k].name for k in test.which.tolist()]
    return calibration_report(
        test.predictive, test.target, groups, level=0.8, nan="drop", sequences=spans, title=title, units=units
    )


def _with_remembered(run: Path, ahead: Any, forecaster: "BayesianRNNForecaster") -> Any:
    """Return the rows of known covariates after what the forecaster knows, also those that the run has seen before."""
    import pandas as pd

    from bayesrnn.tables.forecasts import aligned

    state = forecaster._fitted()
    keys = [name for name in (state.columns.id, state.columns.time) if name is not None]
    parts = [aligned(part, state) for part in (ahead, remembered(run)) if part is not None]
    if not parts:
        return None
    names = [*keys, *state.columns.known]
    rows = pd.concat([part[names] for part in parts], ignore_index=True).drop_duplicates(keys)  # what was said last
    later = rows[rows[keys[-1]] > min(record.times[-1] for record in state.records)]
    return later if len(later) else None


def _reaches_ahead(ahead: Any, forecaster: "BayesianRNNForecaster") -> bool:
    """Whether a forecast needs no further rows of known covariates."""
    from bayesrnn.forecasting.panel import covariates_ahead

    state = forecaster._fitted()
    try:
        covariates_ahead(ahead, state.records, state.columns, state.encoding, forecaster.horizon)
    except ValueError:
        return False
    return True


def _loaded(run: Path, common: Common) -> "BayesianRNNForecaster":
    from bayesrnn.estimators import BayesianRNNForecaster

    common.where()
    return BayesianRNNForecaster.load(run / "model")


def _with_later_rows(
    run: Path, manifest: "Manifest", file: Path, common: Common
) -> "tuple[BayesianRNNForecaster, Any, Any]":
    """Return the forecaster after the new rows of a file, those rows, and the rows ahead of known covariates."""
    from bayesrnn.tables.forecasts import aligned, rows_after

    forecaster = _loaded(run, common)
    frame, ahead = with_future(manifest.details["reading"], file, None)
    if frame is None:
        raise ValueError(f"{file} holds no row with a value of {manifest.details['reading']['target']!r}.")
    frame = aligned(frame, forecaster._fitted())
    later = rows_after(forecaster, frame)
    if len(later) < len(frame):
        common.say(f"{len(frame) - len(later)} rows of {file.name} that the run knows already are left out.")
    forecaster.update(later)
    return forecaster, later, ahead
