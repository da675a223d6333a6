"""Recurrent layers from the weights of Keras, Flax and fastai: gates in torch's order, biases where torch has them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from bayesrnn._checks import check_choice
from bayesrnn.nn.layers import GRU, LSTM, RNN
from bayesrnn.nn.recurrent import Recurrent
from bayesrnn.schemes import Scheme

Kind = Literal["lstm", "gru", "rnn"]
Weights = dict[str, np.ndarray[Any, Any]]
_LAYERS: dict[str, Any] = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
_GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def from_keras(
    layer: Any, dropout: float | Scheme = 0.0, *, kind: Kind | None = None, activation: str = "tanh"
) -> LSTM | GRU | RNN:
    """Return the layer that computes what a Keras layer computes, with `batch_first` as in Keras.

    Keras has the gates i f c o (LSTM, torch's order) and z r h (GRU), one bias for an LSTM, and two for a GRU with
    ``reset_after=True``. Without `reset_after` its GRU computes something else than torch's: see the guide for that
    recurrence as a `MaskedModule`.

    Args:
        layer: A Keras `LSTM`, `GRU`, `SimpleRNN` or `Bidirectional` of them; or what its `get_weights()` returned.
        dropout: A rate or scheme for the masks of our layer; Keras' own `dropout` and `recurrent_dropout` are not read.
        kind: Of a list of weights: "lstm", "gru" or "rnn".
        activation: Of a list of weights of an "rnn": "tanh" or "relu".

    Raises:
        ValueError: If activations are not the usual ones, a GRU resets before the product, a layer runs backward only,
            or weights have shapes that no such layer has.
        TypeError: If it is no such layer.

    Example:
        >>> kernel, recurrent, bias = np.zeros((3, 16)), np.zeros((4, 16)), np.zeros(16)
        >>> from_keras([kernel, recurrent, bias], 0.25, kind="lstm")
        LSTM(3, 4, batch_first=True, dropout=gal(word=0.25, input=0.25, hidden=0.25, output=0.25))
    """
    if hasattr(layer, "get_weights"):
        kind, activation, directions = _keras_config(layer)
        arrays = layer.get_weights()
    else:
        arrays, directions = list(layer), 2 if len(layer) in (4, 6) else 1
        check_choice(str(kind), "kind", _GATES)
        if kind == "gru" and len(arrays) // directions == 2:
            raise ValueError("weights of a GRU without bias do not say whether it resets after: give the Keras layer.")
    per = len(arrays) // directions
    if kind is None or per not in (2, 3) or len(arrays) != per * directions:
        raise ValueError(f"a Keras layer has 2 or 3 arrays per direction, but {len(arrays)} were given.")
    parts = [_keras_part(kind, arrays[k * per : (k + 1) * per]) for k in range(directions)]
    return _build(kind, parts, dropout, activation)


def _keras_config(layer: Any) -> tuple[Kind, str, int]:
    """Return the kind, the activation and the directions of a Keras layer.

    Raises:
        ValueError: If it computes something else than ours.
        TypeError: If it is none of the layers.
    """
    config, name, directions = layer.get_config(), type(layer).__name__, 1
    if name == "Bidirectional":
        if config.get("merge_mode") != "concat":
            raise ValueError(f"ours joins directions as merge_mode='concat' does, not {config.get('merge_mode')!r}.")
        config, name, directions = layer.forward_layer.get_config(), type(layer.forward_layer).__name__, 2
    kinds: dict[str, Kind] = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "rnn"}
    if name not in kinds:
        raise TypeError(f"from_keras takes an LSTM, GRU, SimpleRNN or Bidirectional of Keras, but {name} was given.")
    kind = kinds[name]
    if config.get("go_backwards"):
        raise ValueError("the layer runs backward only (go_backwards=True), which ours does not. Reverse its inputs.")
    if kind == "gru" and not config.get("reset_after", True):
        raise ValueError(_RESET_BEFORE)
    activation, gates = config.get("activation", "tanh"), config.get("recurrent_activation", "sigmoid")
    if gates != "sigmoid" or activation not in (("tanh", "relu") if kind == "rnn" else ("tanh",)):
        raise ValueError(f"ours has sigmoid gates and tanh, but this {name} has {gates!r} and {activation!r}.")
    return kind, activation, directions


_RESET_BEFORE = (
    "this GRU resets before its product, U (r * h) (reset_after=False), which torch's GRU and ours cannot express. "
    "docs/cells.md shows that recurrence as a MaskedModule; its weights load as they are."
)


def _keras_part(kind: Kind, arrays: Sequence[Any]) -> Weights:
    kernel, recurrent, *bias = [np.asarray(array) for array in arrays]
    both = bias[0] if bias else None
    if both is not None and both.ndim == 1:
        if kind == "gru":
            raise ValueError(_RESET_BEFORE)
        both = np.stack([both, np.zeros_like(both)])
    return _part(kind, kernel, recurrent, both, order=(1, 0, 2) if kind == "gru" else None)


def from_flax(params: Any, dropout: float | Scheme = 0.0, *, activation: str = "tanh") -> LSTM | GRU | RNN:
    """Return the layer that computes what a Flax cell computes under `nn.RNN`, with `batch_first` as in Flax.

    Reads the parameters of `LSTMCell`, `OptimizedLSTMCell`, `GRUCell` and `SimpleCell` of linen and of nnx.

    Args:
        params: The nested dict of one cell, such as ``variables["params"]`` of linen, or
            ``nnx.to_pure_dict(nnx.state(cell, nnx.Param))``; or a pair of them: forward and backward.
        dropout: A rate or scheme for the masks of our layer.
        activation: Of a `SimpleCell`: "tanh" or "relu"; the parameters do not tell.

    Raises:
        ValueError: If the dict belongs to none of these cells.

    Example:
        >>> dense = lambda *shape: {"kernel": np.zeros(shape), "bias": np.zeros(shape[-1])}
        >>> from_flax({"i": dense(3, 4), "h": {"kernel": np.zeros((4, 4))}})
        RNN(3, 4, batch_first=True)
    """
    both = params if isinstance(params, tuple | list) else (params,)
    parts = [_flax_part(one) for one in both]
    if len({kind for kind, _ in parts}) != 1 or len(parts) > 2:
        raise ValueError(f"params must be of one cell, or of two of a kind, but they are of {[k for k, _ in parts]}.")
    return _build(parts[0][0], [part for _, part in parts], dropout, activation)


def _flax_part(params: Any) -> tuple[Kind, Weights]:
    while isinstance(params, Mapping) and len(params) == 1:
        (params,) = params.values()
    if not isinstance(params, Mapping):
        raise ValueError(f"params must be the nested dict of one cell, but {type(params).__name__} was given.")
    named = {str(name).rstrip("_"): dense for name, dense in params.items() if isinstance(dense, Mapping)}
    joined = [name.removeprefix("dense_") for name in named]
    if sorted(joined) == ["h", "i"]:  # all gates in one product, or one gate
        dense_i, dense_h = (named.get(f"dense_{side}", named.get(side, {})) for side in "ih")
        units, width = np.shape(dense_h["kernel"])
        kinds: dict[int, Kind] = {4: "lstm", 3: "gru", 1: "rnn"}
        kind = kinds.get(width // units, "rnn")
        sides = [[dense_i], [dense_h]]
    else:
        kind = "lstm" if len(named) == 8 else "gru"
        names = "ifgo" if kind == "lstm" else "rzn"
        if sorted(named) != sorted(side + gate for side in "ih" for gate in names):
            raise ValueError(f"these are parameters of no LSTMCell, GRUCell or SimpleCell of Flax: {sorted(params)}.")
        sides = [[named[side + gate] for gate in names] for side in "ih"]
    kernel, recurrent = (np.concatenate([np.asarray(dense["kernel"]) for dense in side], 1) for side in sides)
    biases = np.stack([np.concatenate([_bias(dense) for dense in side]) for side in sides])
    return kind, _part(kind, kernel, recurrent, biases)


def _bias(dense: Mapping[str, Any]) -> Any:
    return np.asarray(dense["bias"]) if dense.get("bias") is not None else np.zeros(np.shape(dense["kernel"])[1])


def from_fastai(model: nn.Module | Mapping[str, Tensor], dropout: float | Scheme = 0.0) -> nn.ModuleList:
    """Return one `LSTM` per layer of an AWD-LSTM of fastai, with `batch_first` as in fastai.

    fastai (2.8) keeps the recurrent weight as `weight_hh_l0_raw`; what it keeps beside it under torch's name is a copy
    that dropout has changed, and is not read. Layers differ in size, so each is an LSTM of its own.

    Args:
        model: An `AWD_LSTM`, a language model with it, a `WeightDropout`, or the state_dict of one.
        dropout: A rate or scheme, such as ``schemes.weight_drop(0.2)``; fastai's own rates are not read.

    Raises:
        ValueError: If there is no `weight_hh_l0_raw`.

    Example:
        >>> names = ["weight_hh_l0_raw", "module.weight_ih_l0", "module.bias_ih_l0", "module.bias_hh_l0"]
        >>> shapes = [(16, 4), (16, 3), (16,), (16,)]
        >>> from_fastai({f"rnns.0.{name}": torch.zeros(shape) for name, shape in zip(names, shapes)})[0]
        LSTM(3, 4, batch_first=True)
    """
    weights = model.state_dict() if isinstance(model, nn.Module) else model
    raw = re.compile(r"(.*?(?:rnns\.(\d+)\.)?)weight_hh_l0_raw$")
    layers = sorted((int(match[2] or 0), match[1]) for match in map(raw.match, weights) if match)
    if not layers:
        raise ValueError(
            f"no weight_hh_l0_raw is among {sorted(weights)[:6]}: give an AWD-LSTM of fastai 2.8, or load torch's own "
            "names with load_state_dict. Older versions, and QRNN layers, are not read."
        )
    return nn.ModuleList([_fastai_layer(weights, prefix, dropout) for _, prefix in layers])


def _fastai_layer(weights: Mapping[str, Tensor], prefix: str, dropout: float | Scheme) -> Recurrent:
    named = {name: weights[f"{prefix}module.{name}"] for name in _names("_l0") if f"{prefix}module.{name}" in weights}
    named |= {n: weights[f"{prefix}module.{n}"] for n in _names("_l0_reverse") if f"{prefix}module.{n}" in weights}
    for name in ("weight_hh_l0", "weight_hh_l0_reverse"):
        if f"{prefix}{name}_raw" in weights:
            named[name] = weights[f"{prefix}{name}_raw"]
    directions = 2 if "weight_hh_l0_reverse" in named else 1
    parts = [
        {name: named[name + end].detach().cpu().numpy() for name in _names("") if name + end in named}
        for end in ("_l0", "_l0_reverse")[:directions]
    ]
    return _build("lstm", parts, dropout, "tanh")


def _names(ending: str) -> list[str]:
    return [f"{kind}_{side}{ending}" for kind in ("weight", "bias") for side in ("ih", "hh")]


def _part(kind: Kind, kernel: Any, recurrent: Any, biases: Any, order: tuple[int, ...] | None = None) -> Weights:
    """Return torch's weights of one direction from kernels (D, G * H), (H, G * H) and biases (2, G * H)."""
    gates, units = _GATES[kind], recurrent.shape[0]
    if recurrent.shape != (units, gates * units) or kernel.shape[1] != gates * units:
        raise ValueError(
            f"an {kind} has a kernel (features, {gates} * units) and a recurrent kernel (units, {gates} * units), but "
            f"{kernel.shape} and {recurrent.shape} were given."
        )
    named = {"weight_ih": kernel.T, "weight_hh": recurrent.T}
    if biases is not None:
        named |= {"bias_ih": biases[0], "bias_hh": biases[1]}
    if order is None:
        return named
    return {name: np.concatenate([np.split(value, gates)[k] for k in order]) for name, value in named.items()}


def _build(kind: Kind, parts: Sequence[Weights], dropout: float | Scheme, activation: str) -> Any:
    """Return our layer with these weights, one set per direction."""
    units, features = parts[0]["weight_hh"].shape[1], parts[0]["weight_ih"].shape[1]
    options: dict[str, Any] = {"bias": "bias_ih" in parts[0], "batch_first": True, "bidirectional": len(parts) == 2}
    if kind == "rnn":
        options["nonlinearity"] = activation
    layer = _LAYERS[kind](features, units, dropout=dropout, **options)
    named = {name + end: value for part, end in zip(parts, ("_l0", "_l0_reverse")) for name, value in part.items()}
    layer.load_state_dict({name: torch.from_numpy(np.array(value)).float() for name, value in named.items()})
    return layer
