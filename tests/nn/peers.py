"""Small recurrent layers of Keras, Flax and fastai: their weights, an input, and what they compute.

`python -m tests.nn.peers` records, with the libraries that are installed, what the tests read where they are not.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

RECORDED = Path(__file__).with_name("peers.json")
X = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)  # rows, steps, features
UNITS = 3
Case = dict[str, Any]


def drawn(shapes: list[Any], seed: int = 1) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=shape).astype(np.float32) for shape in shapes]


def of_keras(name: str) -> Case:
    """One of `LSTM`, `GRU`, `SimpleRNN`, `Bidirectional`, or `plain` for a GRU without bias."""
    import keras

    options: dict[str, Any] = {"return_sequences": True}
    layers: dict[str, Callable[[], Any]] = {
        "LSTM": lambda: keras.layers.LSTM(UNITS, **options),
        "GRU": lambda: keras.layers.GRU(UNITS, **options),
        "plain": lambda: keras.layers.GRU(UNITS, use_bias=False, **options),
        "SimpleRNN": lambda: keras.layers.SimpleRNN(UNITS, activation="relu", **options),
        "Bidirectional": lambda: keras.layers.Bidirectional(keras.layers.GRU(UNITS, **options)),
    }
    layer = layers[name]()
    layer.build(X.shape)
    layer.set_weights(drawn([w.shape for w in layer.get_weights()]))
    return {"layer": layer, "weights": layer.get_weights(), "output": keras.ops.convert_to_numpy(layer(X))}


def of_flax(name: str) -> Case:
    """A cell of linen, or `nnx.` and a cell of nnx."""
    import jax
    from flax import linen, nnx

    if name.startswith("nnx."):
        cell = getattr(nnx, name[4:])(X.shape[-1], UNITS, rngs=nnx.Rngs(0))
        state = nnx.state(cell, nnx.Param)
        leaves, tree = jax.tree.flatten(state)
        nnx.update(cell, jax.tree.unflatten(tree, drawn([leaf.shape for leaf in leaves])))
        params = nnx.to_pure_dict(nnx.state(cell, nnx.Param))
        return {"params": plain(params), "output": np.asarray(nnx.RNN(cell)(X))}
    layer = linen.RNN(getattr(linen, name)(UNITS))
    leaves, tree = jax.tree.flatten(layer.init(jax.random.key(0), X))
    variables = jax.tree.unflatten(tree, drawn([leaf.shape for leaf in leaves]))
    return {"params": plain(variables["params"]), "output": np.asarray(layer.apply(variables, X))}


def of_fastai(name: str) -> Case:
    """A whole `AWD_LSTM`, whose input is the embedding's output; or one `WeightDropout`."""
    import torch
    from fastai.text.models.awdlstm import AWD_LSTM, WeightDropout

    torch.manual_seed(0)
    if name == "WeightDropout":
        model: Any = WeightDropout(torch.nn.LSTM(2, UNITS, batch_first=True), 0.5).train()
        model(torch.from_numpy(X))  # leaves a weight with holes under torch's name
        output = model.eval()(torch.from_numpy(X))[0]
    else:
        model = AWD_LSTM(7, 2, UNITS, 2, pad_token=1).eval()
        model.encoder_dp.forward = lambda tokens: torch.from_numpy(X)  # this input in the place of embedded words
        output = model(torch.zeros(X.shape[:2], dtype=torch.long))
    weights = {name: value.numpy() for name, value in model.state_dict().items() if "enc" not in name}
    return {"model": model, "weights": weights, "output": output.detach().numpy()}


def plain(tree: Any) -> Any:
    return {str(k): plain(v) for k, v in tree.items()} if hasattr(tree, "items") else np.asarray(tree)


CASES: dict[str, tuple[Callable[[str], Case], list[str]]] = {
    "keras": (of_keras, ["LSTM", "GRU", "plain", "SimpleRNN", "Bidirectional"]),
    "flax": (
        of_flax,
        [f"{of}{cell}Cell" for of in ("", "nnx.") for cell in ("LSTM", "OptimizedLSTM", "GRU", "Simple")],
    ),
    "fastai": (of_fastai, ["AWD_LSTM", "WeightDropout"]),
}


def names() -> Iterator[tuple[str, str]]:
    for library, (_, cases) in CASES.items():
        for name in cases:
            yield library, name


def written(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: written(v) for k, v in value.items()}
    if isinstance(value, list):
        return [written(v) for v in value]
    return {"shape": value.shape, "values": [float(f"{v:.8g}") for v in value.ravel().tolist()]}


def read(value: Any) -> Any:
    if isinstance(value, list):
        return [read(v) for v in value]
    if set(value) == {"shape", "values"}:
        return np.array(value["values"], dtype=np.float32).reshape(value["shape"])
    return {k: read(v) for k, v in value.items()}


if __name__ == "__main__":
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    for library, name in names():
        try:
            case = CASES[library][0](name)
        except ImportError as error:
            print(f"{library} {name}: {error}")
            continue
        kept = {key: value for key, value in case.items() if key in ("weights", "params", "output")}
        recorded[f"{library} {name}"] = written(kept)
    RECORDED.write_text(json.dumps(recorded, separators=(",", ":")).replace('},"', '},\n"') + "\n")
