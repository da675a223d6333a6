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

    Rows later than the run's rows are taken in first, and new series are forecast from their own rows; a file without
    such later rows is forecast on its own.
    """
    import pandas as pd

    from bayesrnn.tables.rows import aligned, check_counted

    forecaster = _loaded(run, common)
    frame, ahead = with_future(manifest.details["reading"], file, future)
    ahead = _with_remembered(run, ahead, forecaster)
    if frame is None:
        _say_behind(forecaster, common)
        return forecaster.predict(known=ahead)
    state = forecaster._fitted()
    columns, ends = state.columns, {record.id: record.times[-1] for record in state.records}
    frame = aligned(frame, columns, state.records)
    if manifest.details["reading"]["every"] is not None:
        check_counted(frame, columns, state.records[0])
    names = [None] * len(frame) if columns.id is None else frame[columns.id].tolist()
    new = [name not in ends for name in names]
    later = [name in ends and time > ends[name] for name, time in zip(names, frame[columns.time])]
    if any(new):
        listed = sorted({str(name) for name, alone in zip(names, new) if alone})
        common.say(f"New series, forecast from their rows of {file} only: {', '.join(listed[:5])}.")
    if not any(later):
        if not all(new):
            common.say(f"Forecast from the rows of {file} only.")
        return forecaster.predict(frame, known=ahead)
    alone = [forecaster.predict(frame[new], known=ahead)] if any(new) else []
    forecaster.update(frame[later])
    _say_behind(forecaster, common)
    return pd.concat([forecaster.predict(known=ahead), *alone], ignore_index=True)


def updated(run: Path, new: Path, manifest: "Manifest", file: Path, common: Common) -> "tuple[Manifest, str]":
    """Update the forecaster with new rows, write it to a new folder, and return its manifest and a sentence."""
    forecaster, frame, ahead = _with_later_rows(run, manifest, file, common)
    _say_behind(forecaster, common)
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

    from bayesrnn.tables.rows import aligned

    state = forecaster._fitted()
    keys = [name for name in (state.columns.id, state.columns.time) if name is not None]
    kept = aligned(remembered(run), state.columns, state.records)
    if kept is not None:
        kept = kept[kept[keys[-1]] > min(record.times[-1] for record in state.records)]
    parts = [part for part in (aligned(ahead, state.columns, state.records), kept) if part is not None]
    if not parts:
        return None
    names = [*keys, *state.columns.known]
    rows = pd.concat([part[names] for part in parts], ignore_index=True).drop_duplicates(keys)  # what was said last
    return rows if len(rows) else None


def _reaches_ahead(ahead: Any, forecaster: "BayesianRNNForecaster") -> bool:
    """Whether a forecast needs no further rows of known covariates."""
    from bayesrnn.forecasting.panel import covariates_ahead

    state = forecaster._fitted()
    try:
        covariates_ahead(ahead, state.records, state.columns, state.encoding, forecaster.horizon)
    except ValueError:
        return False
    return True


def _say_behind(forecaster: "BayesianRNNForecaster", common: Common) -> None:
    from bayesrnn.tables.rows import ended_before

    if note := ended_before(forecaster._fitted().records):
        common.say(f"Note: {note}")


def _loaded(run: Path, common: Common) -> "BayesianRNNForecaster":
    from bayesrnn.estimators import BayesianRNNForecaster

    common.where()
    return BayesianRNNForecaster.load(run / "model")


def _with_later_rows(
    run: Path, manifest: "Manifest", file: Path, common: Common
) -> "tuple[BayesianRNNForecaster, Any, Any]":
    """Return the forecaster after the new rows of a file, those rows, and the rows ahead of known covariates."""
    from bayesrnn.tables.rows import aligned, check_counted, rows_after

    forecaster = _loaded(run, common)
    frame, ahead = with_future(manifest.details["reading"], file, None)
    if frame is None:
        raise ValueError(f"{file} holds no row with a value of {manifest.details['reading']['target']!r}.")
    state = forecaster._fitted()
    frame = aligned(frame, state.columns, state.records)
    if manifest.details["reading"]["every"] is not None:
        check_counted(frame, state.columns, state.records[0])
    later = rows_after(forecaster, frame)
    if len(later) < len(frame):
        common.say(f"{len(frame) - len(later)} rows of {file.name} that the run knows already are left out.")
    forecaster.update(later)
    return forecaster, later, ahead
