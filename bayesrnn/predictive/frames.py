"""Forecasts of other tools as predictives: which columns hold which quantile, and which lines belong to one row."""

import re
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch

from bayesrnn.predictive import make
from bayesrnn.predictive.classes import ClassPredictive
from bayesrnn.predictive.continuous import ContinuousPredictive
from bayesrnn.predictive.layout import Layout, laid_out

_INTERVAL = re.compile(r"^(?:(?P<model>.+)-)?(?P<side>lo|hi)-(?P<percent>[0-9.]+)$")  # Nixtla, and ours without model
_QUANTILE = re.compile(r"^(?P<model>.+?)[-_]ql?(?P<level>0?\.\d+)$")  # LSTM_ql0.1, LSTM-ql0.1; darts: load_q0.100
_SAMPLE = re.compile(r"^(?P<model>.+)_s(?P<number>\d+)$")  # darts: load_s0
_CLASS = "probability_"
_KNOWN = (
    "Known are tables of neuralforecast and statsforecast (LSTM-lo-80, LSTM-median, LSTM_ql0.1), sktime and "
    "skpro (predict_interval, predict_quantiles), darts (load_q0.100, load_s0), statsmodels (summary_frame) and of "
    "to_frame() here (lo-80, hi-80, median). For others: from_quantiles, from_intervals, from_gaussian or from_samples."
)


def frame(table: Any, model: str | None, level: float | None) -> ContinuousPredictive | ClassPredictive:
    """Return the predictive of a table, a darts TimeSeries or GluonTS forecasts."""
    if hasattr(table, "all_values") and hasattr(table, "components"):
        if table.n_samples > 1:
            return _darts_samples(table, model)
        table = table.to_dataframe()
    if _is_gluonts(table):
        table = [table]
    if isinstance(table, Sequence) and not isinstance(table, str) and all(map(_is_gluonts, table)):
        return _gluonts(table)
    if not hasattr(table, "columns"):
        raise TypeError(f"from_frame reads a pandas DataFrame, but a {type(table).__name__} was given. {_KNOWN}")
    layout = laid_out(table)
    classes = [column for column in map(str, table.columns) if column.startswith(_CLASS)]
    if classes:
        p = torch.stack([layout.values(column) for column in classes], -1)
        return make.probabilities(p[None], [c.removeprefix(_CLASS) for c in classes], layout.ids)
    return _statsmodels(table, layout, level) or _samples(table, layout, model) or _quantiles(table, layout, model)


def _quantiles(table: Any, layout: Layout, model: str | None) -> ContinuousPredictive:
    columns = _sktime(table) if table.columns.nlevels > 1 else _named(table)
    chosen = columns[_one_of(columns, model, "quantiles or intervals")]
    levels = sorted(chosen)
    return make.quantiles(levels, torch.stack([layout.values(chosen[q]) for q in levels]), layout.ids)


def _named(table: Any) -> dict[str, dict[float, Hashable]]:
    """Return, by model ("" for ours), which column holds which quantile."""
    columns: dict[str, dict[float, Hashable]] = {}
    for name in map(str, table.columns):
        if match := _INTERVAL.match(name):
            half = float(match["percent"]) / 200
            columns.setdefault(match["model"] or "", {})[0.5 - half if match["side"] == "lo" else 0.5 + half] = name
        elif match := _QUANTILE.match(name):
            columns.setdefault(match["model"], {})[float(match["level"])] = name
    for model, chosen in columns.items():
        median = f"{model}-median" if model else "median"
        if median in table.columns:
            chosen[0.5] = median
    return columns


def _sktime(table: Any) -> dict[str, dict[float, Hashable]]:
    """Return the same for columns (variable, coverage, lower or upper) or (variable, alpha)."""
    columns: dict[str, dict[float, Hashable]] = {}
    for key in table.columns:
        if len(key) == 3 and key[2] in ("lower", "upper"):
            columns.setdefault(str(key[0]), {})[0.5 + (-0.5 if key[2] == "lower" else 0.5) * float(key[1])] = key
        elif len(key) == 2 and isinstance(key[1], float):
            columns.setdefault(str(key[0]), {})[float(key[1])] = key
        else:
            raise ValueError(f"the table has the column {key!r}, which says neither level nor side. {_KNOWN}")
    return columns


def _samples(table: Any, layout: Layout, model: str | None) -> ContinuousPredictive | None:
    matches = [match for match in map(_SAMPLE.match, map(str, table.columns)) if match]
    if table.columns.nlevels > 1 or len(matches) < 2:
        return None
    models = {match["model"]: None for match in matches}
    chosen = _one_of(models, model, "samples")
    values = [layout.values(match.string) for match in matches if match["model"] == chosen]
    return make.samples(torch.stack(values), None, layout.ids, 0)


def _statsmodels(table: Any, layout: Layout, level: float | None) -> ContinuousPredictive | None:
    """Read a summary_frame: intervals of the target, or the mean and error of a state space forecast."""
    ends = next((e for e in ("obs_ci", "pi") if f"{e}_lower" in table.columns), None)
    if ends is not None:
        if level is None:
            raise ValueError(
                "statsmodels does not write the level of its intervals into the table: pass it, level=0.95 for "
                "summary_frame(alpha=0.05)."
            )
        low, high, mean = (layout.values(c) for c in (f"{ends}_lower", f"{ends}_upper", "mean"))
        return make.intervals(level, low, high, mean if ends == "obs_ci" else None, layout.ids)
    if "mean_ci_lower" not in table.columns:
        return None
    if table.columns.name is None:
        raise ValueError(
            "mean_ci_lower and mean_ci_upper are intervals of the mean, without the noise of the target, unless a "
            "state space model made them. If mean_se is the error of a forecast, take from_gaussian(table['mean'], "
            "table['mean_se'])."
        )
    return make.gaussian(layout.values("mean"), layout.values("mean_se"), layout.ids)


def _darts_samples(series: Any, model: str | None) -> ContinuousPredictive:
    names = [str(name) for name in series.components]
    component = names.index(_one_of(dict.fromkeys(names), model, "samples"))
    values = torch.as_tensor(np.array(series.all_values()[:, component], dtype=float))  # (steps, samples)
    return make.samples(values.T[:, None], None, None, 0)


def _gluonts(forecasts: Sequence[Any]) -> ContinuousPredictive:
    if all(hasattr(forecast, "samples") for forecast in forecasts):
        shapes = {np.shape(forecast.samples) for forecast in forecasts}
        if len(shapes) > 1:
            raise ValueError(f"the forecasts must have one shape (samples, steps), but they have {sorted(shapes)}.")
        stacked = np.stack([np.asarray(forecast.samples, dtype=float) for forecast in forecasts], 1)
        return make.samples(torch.as_tensor(stacked), None, None, 0)
    keys = [[key for key in forecast.forecast_keys if key != "mean"] for forecast in forecasts]
    if any(other != keys[0] for other in keys):
        raise ValueError(
            "the forecasts hold different quantile levels: read the forecasts of each set of levels apart."
        )
    values = [[np.asarray(forecast.quantile(key), dtype=float) for key in keys[0]] for forecast in forecasts]
    return make.quantiles([float(key) for key in keys[0]], torch.as_tensor(np.stack(values, 1)), None)


def _is_gluonts(forecast: Any) -> bool:
    return hasattr(forecast, "forecast_keys") or (hasattr(forecast, "samples") and hasattr(forecast, "item_id"))


def _one_of(models: dict[str, Any], model: str | None, what: str) -> str:
    """Return the model asked for, or the only one."""
    if model is None and len(models) == 1:
        return next(iter(models))
    if model not in models:
        known = f"of the models {sorted(models)}" if models else "of no model"
        raise ValueError(
            f"the table holds {what} {known}, and model={model!r} was asked for. "
            + ("Name one of the models with model=." if models else _KNOWN)
        )
    return model
