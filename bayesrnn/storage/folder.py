"""A saved model: a folder with `model.safetensors` (weights) and `model.json` (which model, with which arguments)."""

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bayesrnn import models
from bayesrnn._checks import check_seed
from bayesrnn._files import atomic_path
from bayesrnn.nn.rates import layer_rates, set_layer_rates
from bayesrnn.recalibration import AbstractRecalibrator, from_dict
from bayesrnn.schemes import Scheme
from bayesrnn.storage.weights import fill, read_tensors, write_tensors

__all__ = ["load", "load_recalibration", "read_card", "save"]

_FORMAT, _VERSION = "bayesrnn.model", 1
_CARD, _WEIGHTS = "model.json", "model.safetensors"


def save(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    recalibration: AbstractRecalibrator | None = None,
    seed: int | None = None,
) -> None:
    """Write one of the models of `bayesrnn.models` to the folder `path`, in one step.

    Args:
        model: The model; its mode and device are not kept: `load` gives it back in eval mode on the CPU.
        path: The folder; a model that is there already is replaced, anything else is left alone.
        recalibration: A fitted recalibrator, to be kept with the model.
        seed: Seed of the masks that predictions are to be made with.

    Raises:
        TypeError: If the model is not one of `bayesrnn.models`, from which it could be built again without code.
        ValueError: If the parent folder does not exist, or `path` holds something else.

    Example:
        >>> import tempfile, torch
        >>> model = models.SequenceRegressor(input_size=3, hidden_size=8, dropout=0.2)
        >>> path = tempfile.mkdtemp() + "/model"
        >>> save(model, path)
        >>> load(path).encoder.recurrent.hidden_size
        8
    """
    name = type(model).__name__
    if isinstance(getattr(model, "model_", None), nn.Module):
        raise TypeError(f"{name} is an estimator, which holds its model in model_: save(estimator.model_, path).")
    if type(model) is not _known().get(name):
        raise TypeError(
            f"{name} is not one of bayesrnn's own models ({', '.join(_known())}), so it could only be rebuilt by "
            "running code. Keep its weights with save_weights(model, path), build the module as you do now, and fill "
            "it with load_weights(module, path)."
        )
    card = {
        "format": _FORMAT,
        "version": _VERSION,
        "class": name,
        "config": model.config(),  # type: ignore[operator]
        "rates": layer_rates(model),
        "recalibration": None if recalibration is None else recalibration.to_dict(),
        "seed": None if seed is None else check_seed(seed),
    }
    path = Path(path)
    _check_place(path)
    folder = path.parent / f".{path.name}-{uuid.uuid4().hex[:12]}"
    folder.mkdir()
    try:
        text = json.dumps(card, indent=2, allow_nan=False)
        (folder / _CARD).write_text(text + "\n", encoding="utf-8")
        with atomic_path(folder / _WEIGHTS) as temporary:
            write_tensors(model.state_dict(), temporary)
        _move(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load(path: str | os.PathLike[str]) -> nn.Module:
    """Return the model in the folder `path`, in eval mode on the CPU; no code is run and no random state touched.

    Raises:
        ValueError: If there is no such model, or it is of a class or version unknown here.
    """
    path = Path(path)
    card = read_card(path)
    kind = _known().get(card["class"])
    if kind is None:
        raise ValueError(
            f"{path} holds a {card['class']!r}, which this version does not know; it knows {', '.join(_known())}. "
            "Update bayesrnn."
        )
    with torch.random.fork_rng(devices=[]):
        try:
            model = kind(**_arguments(card["config"]))
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"{path / _CARD} does not describe a {card['class']}: {error}") from None
    try:
        set_layer_rates(model, card.get("rates") or {})  # rates that were learned differ from those of the config
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path / _CARD} holds rates that do not fit its model: {error}") from None
    fill(model, read_tensors(path / _WEIGHTS), str(path / _WEIGHTS))
    return model.eval()


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `model.json` in the folder `path` says: class, config, recalibration, seed.

    Raises:
        ValueError: If there is no such file, or it is of another format or version.
    """
    file = Path(path) / _CARD
    if not file.is_file():
        raise ValueError(f"{path} holds no saved model (there is no {file}). Give the folder that save() wrote.")
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not JSON ({error}). The model must be saved again.") from None
    if not isinstance(card, dict) or card.get("format") != _FORMAT:
        raise ValueError(f"{file} does not describe a bayesrnn model. Give the folder that save() wrote.")
    if card.get("version") != _VERSION:
        raise ValueError(
            f"{file} has the format version {card.get('version')!r}, but this bayesrnn reads {_VERSION}. Use the "
            "bayesrnn that wrote it, or a newer one."
        )
    if not isinstance(card.get("config"), dict) or not isinstance(card.get("class"), str):
        raise ValueError(f"{file} lacks the class or the config of the model. The model must be saved again.")
    return card


def load_recalibration(path: str | os.PathLike[str]) -> AbstractRecalibrator | None:
    """Return the fitted recalibrator kept with the model in the folder `path`, or None if there is none.

    Raises:
        ValueError: If there is no such model, or its recalibrator is of a kind unknown here.
    """
    data = read_card(path).get("recalibration")
    try:
        return None if data is None else from_dict(data)
    except (TypeError, KeyError) as error:
        raise ValueError(f"{Path(path) / _CARD} does not describe a recalibrator: {error}") from None


def _known() -> dict[str, type[nn.Module]]:
    return {name: getattr(models, name) for name in models.__all__}


def _arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the plain data of schemes back into schemes."""
    schemes = {key: value for key, value in config.items() if isinstance(value, dict) and "placements" in value}
    return {**config, **{key: Scheme.from_dict(value) for key, value in schemes.items()}}


def _check_place(path: Path) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: the folder {path.parent} does not exist. Create it first.")
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() and not (path / _CARD).is_file():
        raise ValueError(f"{path} exists and is not a saved model; it is left alone. Choose another path.")


def _move(folder: Path, path: Path) -> None:
    """Put `folder` in the place of `path`; what was there stays until the new one is complete."""
    if not path.exists():
        os.replace(folder, path)
        return
    old = path.parent / f".{path.name}-{uuid.uuid4().hex[:12]}"
    os.replace(path, old)
    try:
        os.replace(folder, path)
    except OSError:
        os.replace(old, path)
        raise
    shutil.rmtree(old)
