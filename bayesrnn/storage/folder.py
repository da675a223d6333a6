"""A saved model: a folder with `model.json` (which model, with which arguments) and the file of weights that it names.

The name of the weights holds their digest, so a model is replaced in one step: the new weights are written beside the
old ones, then `model.json` is exchanged. Whatever happens between, the folder holds the old model or the new one.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from bayesrnn import models
from bayesrnn._checks import check_path, check_seed
from bayesrnn._documents import read_document, write_document
from bayesrnn._files import locked, remove_leftovers, writing
from bayesrnn.nn.masked import masked_modules
from bayesrnn.recalibration import AbstractRecalibrator, from_dict
from bayesrnn.schemes import Scheme
from bayesrnn.storage.weights import fill, misfit, pack, read_weights, stored_shapes

_FORMAT = "bayesrnn.model/2"
_CARD, _WEIGHTS = "model.json", "weights-{}.safetensors"
_BEGUN = ("weights-", ".weights-", ".model.part-", ".tmp")  # what a save that was cut short leaves
_KEYS = ("class", "config", "rates", "recalibration", "seed", "weights")
_AGAIN = "Give a folder that save() wrote, take a copy of it, or save the model again."


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
        "class": name,
        "config": model.config(),  # type: ignore[operator]
        "rates": _layer_rates(model),
        "recalibration": None if recalibration is None else recalibration.to_dict(),
        "seed": None if seed is None else check_seed(seed),
    }
    path = check_path(path)
    _check_place(path)
    packed = pack(model.state_dict())
    card["weights"] = packed.digest
    with writing(path):
        path.mkdir(exist_ok=True)
    with locked(path, "another process is saving a model there"):
        weights = path / _WEIGHTS.format(packed.digest)
        packed.write(weights)
        write_document(path / _CARD, _FORMAT, card)
        for pattern in (_WEIGHTS.format("*"), "." + _WEIGHTS.format("*.part-*")):
            for old in path.glob(pattern):
                if old != weights:
                    old.unlink(missing_ok=True)
        remove_leftovers(path / _CARD)


def load(path: str | os.PathLike[str]) -> nn.Module:
    """Return the model in the folder `path`, in eval mode on the CPU, without running code or changing random state.

    Raises:
        ValueError: If there is no such model, or it is of a class or version unknown here.
    """
    path = check_path(path)
    card = read_card(path)
    kind = _known().get(card["class"])
    if kind is None:
        raise ValueError(
            f"{path} holds a {card['class']!r:.60}, which this version does not know; it knows {', '.join(_known())}. "
            "Update bayesrnn."
        )
    weights = path / _WEIGHTS.format(card["weights"])
    _check_sizes(kind, card, weights)
    with torch.random.fork_rng(devices=[]), _Unfilled():
        model = kind(**_arguments(card["config"]))
    try:
        _set_layer_rates(model, card["rates"])  # learned rates differ from the rates in the config
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path / _CARD} holds rates that do not fit its model: {error}") from None
    fill(model, read_weights(weights, card["weights"]), str(weights), keep=True)
    return model.eval()


def _check_sizes(kind: type[nn.Module], card: Mapping[str, Any], weights: Path) -> None:
    """Refuse a model whose sizes differ from the sizes of its weights, before it takes memory."""
    shapes = stored_shapes(weights)
    layers = card["config"].get("num_layers", 1)
    if isinstance(layers, int) and layers > len(shapes):
        raise ValueError(f"{weights.parent / _CARD} says {layers:,} layers, but {weights} has {len(shapes)} tensors.")
    try:
        with torch.device("meta"):  # sizes without memory
            model = kind(**_arguments(card["config"]))
    except (TypeError, ValueError, KeyError, AttributeError, RuntimeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{weights.parent / _CARD} does not describe a {card['class']}: {reason}") from None
    if difference := misfit(model, shapes):
        raise ValueError(
            f"the weights in {weights} do not fit this {card['class']}: {difference}. They are of another model."
        )


def read_card(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what `model.json` in the folder `path` says: class, config, recalibration, seed.

    Raises:
        ValueError: If there is no such file, or it is of another format or version.
    """
    file = check_path(path) / _CARD
    if not file.is_file():
        raise ValueError(f"{path} holds no saved model (there is no {file}). Give the folder that save() wrote.")
    card = read_document(file, _FORMAT, _KEYS, fix=_AGAIN)
    if not (isinstance(card["config"], dict) and all(isinstance(card[key], str) for key in ("class", "weights"))):
        raise ValueError(f"{file} lacks class, config or weights of the model. The model must be saved again.")
    if not re.fullmatch("[0-9a-f]{32}", card["weights"]):
        raise ValueError(f"{file} names no weights that save() wrote. The model must be saved again.")
    return card


def load_recalibration(path: str | os.PathLike[str]) -> AbstractRecalibrator | None:
    """Return the fitted recalibrator kept with the model in the folder `path`, or None if there is none.

    Raises:
        ValueError: If there is no such model, or its recalibrator is of a kind unknown here.
    """
    data = read_card(path).get("recalibration")
    try:
        return None if data is None else from_dict(data)
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"{Path(path) / _CARD} does not describe a recalibrator: {error}") from None


def _known() -> dict[str, type[nn.Module]]:
    return {name: getattr(models, name) for name in models.__all__}


def _arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the plain data of schemes back into schemes."""
    schemes = {key: value for key, value in config.items() if isinstance(value, dict) and "placements" in value}
    return {**config, **{key: Scheme.from_dict(value) for key, value in schemes.items()}}


def _layer_rates(model: nn.Module) -> dict[str, dict[str, float]]:
    """Return the rate of every mask of every layer, by layer name and mask key."""
    return {
        name: {key: place.rate for key, place in module.placements().items()}
        for name, module in masked_modules(model).items()
    }


def _set_layer_rates(model: nn.Module, rates: Mapping[str, Mapping[str, float]]) -> None:
    """Set the rates of layers that have these masks.

    Raises:
        ValueError: If there is no such layer or mask, or a rate is not in [0, 1).
    """
    layers = masked_modules(model)
    for name, by_key in rates.items():
        if name not in layers:
            raise ValueError(f"the model has no layer with masks named {name!r}, only {sorted(layers)}.")
        layers[name].set_rates(by_key)


class _Unfilled(TorchFunctionMode):
    """Leaves out initial weights, which would be overwritten: most of the time that loading takes."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _check_place(path: Path) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: the folder {path.parent} does not exist. Create it first.")
    if not path.exists() or (path / _CARD).is_file():
        return
    cut_short = path.is_dir() and all(file.name.startswith(_BEGUN) for file in path.iterdir())
    if not cut_short:
        raise ValueError(f"{path} exists and is not a saved model; it is left alone. Choose another path.")
