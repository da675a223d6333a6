"""A saved forecaster: a folder with `forecaster.json` and a safetensors file; loading runs no code."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from bayesrnn._documents import read_document, write_document
from bayesrnn._files import locked, remove_leftovers, writing
from bayesrnn.forecasting.covariates import Encoding
from bayesrnn.forecasting.design import Layout
from bayesrnn.forecasting.features import Reader, Scale
from bayesrnn.forecasting.fitted import Fitted
from bayesrnn.forecasting.record import Columns, Record
from bayesrnn.forecasting.skeleton import Skeleton
from bayesrnn.forecasting.state import State
from bayesrnn.models.forecaster_residual import ResidualForecaster
from bayesrnn.schemes import Scheme
from bayesrnn.storage.weights import fill, misfit, pack, read_weights, stored_shapes

_FORMAT = "bayesrnn.forecaster/3"
_CARD, _WEIGHTS = "forecaster.json", "weights-{}.safetensors"
_KEYS = (
    "params", "network", "layout", "regressors", "reader", "columns", "encoding", "series", "every", "summary",
    "weights",
)  # fmt: skip
_HISTORY = ("values", "observed", "known", "past", "static")


def save_state(state: State, params: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a fitted forecaster to a folder, in one step.

    Raises:
        ValueError: If the parent folder does not exist, or the folder holds something else.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: the folder {path.parent} does not exist. Create it first.")
    if path.exists() and not (path / _CARD).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} exists and is no saved forecaster; it is left alone. Choose another path.")
    packed = pack(_tensors(state))
    card = {
        "params": {**params, "dropout": params["dropout"] and params["dropout"].to_dict()},
        "network": state.fitted.network.config(),
        "layout": asdict(state.fitted.reader.layout),
        "regressors": state.fitted.skeleton.columns.tolist(),
        "reader": {name: getattr(state.fitted.reader, name) for name in ("horizon", "context", "span", "holidays")},
        "columns": asdict(state.columns),
        "encoding": state.encoding.to_dict(),
        "series": [_series(record, state.fitted.scales.get(record.id)) for record in state.records],
        "every": state.every,
        "summary": dict(state.summary),
        "weights": packed.digest,
    }
    with writing(path):
        path.mkdir(exist_ok=True)
    with locked(path, "another process is saving a forecaster there"):
        weights = path / _WEIGHTS.format(packed.digest)
        packed.write(weights)
        write_document(path / _CARD, _FORMAT, card, most=_most(path))
        for pattern in (_WEIGHTS.format("*"), "." + _WEIGHTS.format("*.part-*")):
            for old in path.glob(pattern):
                if old != weights:
                    old.unlink(missing_ok=True)
        remove_leftovers(path / _CARD)


def load_state(path: str | os.PathLike[str]) -> tuple[State, dict[str, Any]]:
    """Return a saved forecaster and the constructor's arguments.

    Raises:
        ValueError: If there is none, or it is damaged, or of another version.
    """
    path = Path(path)
    card = _card(path)
    try:
        dropout = card["params"]["dropout"]
        return _state(path, card), {**card["params"], "dropout": dropout and Scheme.from_dict(dropout)}
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"{path / _CARD} does not describe a forecaster: {error!r}.") from None


def _state(path: Path, card: Mapping[str, Any]) -> State:
    weights = path / _WEIGHTS.format(card["weights"])
    shapes = stored_shapes(weights)
    prefix = "network."
    with torch.device("meta"):
        empty = ResidualForecaster(**card["network"])
    theirs = {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
    if difference := misfit(empty, theirs):
        raise ValueError(f"the weights in {weights} do not fit {path / _CARD}: {difference}.")
    tensors = read_weights(weights, card["weights"])
    with torch.random.fork_rng(devices=[]):
        network = ResidualForecaster(**card["network"])
    fill(network, {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}, str(weights))
    layout = Layout(**_tuples(card["layout"]))
    skeleton = Skeleton(layout, np.array(card["regressors"], np.int64), tensors["skeleton"].numpy())
    columns = Columns(**_tuples(card["columns"]))
    scales = {item["id"]: Scale(*item["scale"]) for item in card["series"] if item["scale"]}
    records = [_record(item, {n: tensors.get(f"{k}.{n}") for n in ("times", *_HISTORY)})
               for k, item in enumerate(card["series"])]  # fmt: skip
    fitted = Fitted(Reader(layout, **card["reader"]), skeleton, network.eval(), scales)
    params = card["params"]
    encoding = Encoding.from_dict(card["encoding"])
    hedges = {record.id: tensors[f"{k}.hedges"] for k, record in enumerate(records)}
    return State(
        fitted, records, columns, encoding, params["draws"], params["seed"], tensors["correlation"], hedges,
        card["every"], card["summary"],
    )  # fmt: skip


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _tensors(state: State) -> dict[str, torch.Tensor]:
    tensors = {f"network.{name}": value for name, value in state.fitted.network.state_dict().items()}
    tensors["skeleton"] = torch.from_numpy(np.ascontiguousarray(state.fitted.skeleton.weights))
    tensors["correlation"] = state.correlation
    for k, record in enumerate(state.records):
        tensors[f"{k}.hedges"] = state.hedges[record.id]
        dates = isinstance(record.times, pd.DatetimeIndex)
        times = record.times.asi8 if dates else record.times.to_numpy()
        tensors[f"{k}.times"] = torch.from_numpy(times.copy())
        for name in _HISTORY:
            if getattr(record, name).size:
                tensors[f"{k}.{name}"] = torch.from_numpy(np.ascontiguousarray(getattr(record, name)))
    return tensors


def _series(record: Record, scale: Scale | None) -> dict[str, Any]:
    dates = isinstance(record.times, pd.DatetimeIndex)
    name = record.id.item() if isinstance(record.id, np.generic) else record.id
    if not isinstance(name, str | int | float | None):
        raise ValueError(f"a series is named by a text or a number to be saved, but {name!r} was given.")
    return {
        "id": name,
        "scale": scale and [scale.mean, scale.width],
        "dates": dates,
        "step": record.times.freqstr if dates else None,
        "unit": record.times.unit if dates else None,
        "zone": str(record.times.tz) if dates and record.times.tz is not None else None,
    }


def _record(item: Mapping[str, Any], tensors: Mapping[str, torch.Tensor | None]) -> Record:
    arrays: dict[str, Any] = {name: value.numpy() for name, value in tensors.items() if value is not None}
    times: Any = pd.Index(arrays["times"])
    if item["dates"]:
        times = pd.DatetimeIndex(arrays["times"].view(f"datetime64[{item['unit']}]"))
        times = times if item["zone"] is None else times.tz_localize("UTC").tz_convert(item["zone"])
        times.freq = item["step"]
    wide = np.zeros((len(times), 0))
    known, past, static = (arrays.get(n, empty) for n, empty in (("known", wide), ("past", wide), ("static", wide[0])))
    return Record(item["id"], times, arrays["values"], arrays["observed"], known, past, static)


def _card(path: Path) -> dict[str, Any]:
    file = path / _CARD
    if not file.is_file():
        raise ValueError(f"{path} holds no saved forecaster (there is no {file}). Give the folder that save() wrote.")
    fix = "Give a folder that save() wrote, take a copy of it, or save it again."
    return read_document(file, _FORMAT, _KEYS, fix=fix, most=_most(path))


def _most(path: Path) -> int:
    """Return how many values a card may have: as many series as the weights beside it can be of."""
    return max(2**18, sum(file.stat().st_size for file in path.glob(_WEIGHTS.format("*"))) // 32)
