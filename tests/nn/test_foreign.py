"""Weights of Keras, Flax and fastai: our layers compute what theirs compute."""

import json
from typing import Any

import numpy as np
import pytest
import torch

import bayesrnn as br
from tests.nn import peers

RECORDED = json.loads(peers.RECORDED.read_text(encoding="utf-8"))
KINDS: dict[str, Any] = {"SimpleRNN": {"kind": "rnn", "activation": "relu"}, "LSTM": {"kind": "lstm"}}


def ours(library: str, name: str, case: peers.Case, live: bool) -> torch.Tensor:
    x = torch.from_numpy(peers.X)
    if library == "keras":
        layer: Any = case["layer"] if live else case["weights"]
        return br.nn.from_keras(layer, **({} if live else KINDS.get(name, {"kind": "gru"})))(x)[0]
    if library == "flax":
        return br.nn.from_flax(case["params"])(x)[0]
    for part in br.nn.from_fastai(case["model"] if live else {k: torch.tensor(v) for k, v in case["weights"].items()}):
        x = part(x)[0]
    return x


EVERY = list(peers.names())


@pytest.mark.parametrize(("library", "name"), [case for case in EVERY if case[1] != "plain"])
def test_a_layer_of_another_library_is_ours_as_recorded(library: str, name: str) -> None:
    case = peers.read(RECORDED[f"{library} {name}"])
    np.testing.assert_allclose(ours(library, name, case, False).detach(), case["output"], atol=1e-6)


@pytest.mark.parametrize(("library", "name"), EVERY)
@pytest.mark.filterwarnings("ignore")
def test_a_layer_of_another_library_is_ours(library: str, name: str) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed", exc_type=ImportError)
    live = peers.CASES[library][0](name)
    np.testing.assert_allclose(live["output"], peers.read(RECORDED[f"{library} {name}"])["output"], atol=1e-6)
    np.testing.assert_allclose(ours(library, name, live, True).detach(), live["output"], atol=1e-6)


class KerasLike:
    """What `from_keras` asks a layer."""

    def __init__(self, **config: Any) -> None:
        self.config = config

    def get_config(self) -> dict[str, Any]:
        return self.config

    def get_weights(self) -> list[np.ndarray]:
        return []


class GRU(KerasLike):
    pass


class LSTM(KerasLike):
    pass


class Dense(KerasLike):
    pass


class Bidirectional(KerasLike):
    forward_layer = LSTM()


def test_what_ours_cannot_compute_is_refused() -> None:
    arrays = [np.zeros((2, 9)), np.zeros((3, 9)), np.zeros(9)]
    for given, options in ((GRU(reset_after=False), {}), (arrays, {"kind": "gru"})):
        with pytest.raises(ValueError, match=r"resets before its product.*MaskedModule"):
            br.nn.from_keras(given, **options)
    with pytest.raises(ValueError, match="do not say whether it resets after"):
        br.nn.from_keras(arrays[:2], kind="gru")
    with pytest.raises(ValueError, match="has 'sigmoid' and 'relu'"):
        br.nn.from_keras(LSTM(activation="relu"))
    with pytest.raises(ValueError, match="runs backward only"):
        br.nn.from_keras(LSTM(go_backwards=True))
    with pytest.raises(ValueError, match="merge_mode='concat' does, not 'sum'"):
        br.nn.from_keras(Bidirectional(merge_mode="sum"))
    with pytest.raises(TypeError, match="but Dense was given"):
        br.nn.from_keras(Dense())
    with pytest.raises(ValueError, match="kind must be one of"):
        br.nn.from_keras(arrays)
    with pytest.raises(ValueError, match=r"\(2, 9\) and \(3, 9\) were given"):
        br.nn.from_keras(arrays, kind="lstm")
    with pytest.raises(ValueError, match="parameters of no LSTMCell"):
        br.nn.from_flax({"iz": {"kernel": np.zeros((2, 3))}, "hz": {"kernel": np.zeros((3, 3))}})
    with pytest.raises(ValueError, match=r"no weight_hh_l0_raw is among \['bias"):
        br.nn.from_fastai(torch.nn.LSTM(2, 3))


def test_masks_and_directions_of_loaded_layers() -> None:
    case = peers.read(RECORDED["keras Bidirectional"])
    layer = br.nn.from_keras(case["weights"], 0.3, kind="gru")
    assert (layer.bidirectional, layer.scheme) == (True, br.schemes.gal(0.3))
    params = peers.read(RECORDED["flax GRUCell"])["params"]
    both, one = br.nn.from_flax((params, params), 0.3).eval(), br.nn.from_flax(params).eval()
    x = torch.from_numpy(peers.X)
    torch.testing.assert_close(both(x)[0][..., 3:], one(x.flip(1))[0].flip(1))
