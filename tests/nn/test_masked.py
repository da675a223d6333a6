"""The protocol for layers of one's own: the examples of the guide, held against numpy under explicit masks."""

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn.inference import point
from bayesrnn.schemes import Placement
from tests.nn.oracle import sigmoid

CELLS: Any = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "docs" / "cells.py")))
ROWS, STEPS, FEATURES, UNITS = 3, 4, 2, 5


def masks(**sizes: int) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {key: torch.randint(0, 2, (ROWS, size)).double() / 0.6 for key, size in sizes.items()}


def normalized(x: np.ndarray, norm: nn.LayerNorm) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + norm.eps)
    return scaled * norm.weight.detach().numpy() + norm.bias.detach().numpy()


def layer_norm_lstm(net: Any, x: np.ndarray, z: dict[str, np.ndarray]) -> np.ndarray:
    w, b, u = (p.detach().numpy() for p in (net.x.weight, net.x.bias, net.h.weight))
    result = np.zeros((ROWS, STEPS, UNITS))
    for row in range(ROWS):
        h = c = np.zeros(UNITS)
        for t in range(STEPS):
            a = normalized(w @ (x[row, t] * z["input"][row]) + b, net.norm_x)
            i, f, g, o = np.split(a + normalized(u @ (h * z["hidden"][row]), net.norm_h), 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(normalized(c, net.norm_c))
            result[row, t] = h
    return result


def min_gru(net: Any, x: np.ndarray, z: dict[str, np.ndarray]) -> np.ndarray:
    w, b, v, d = (p.detach().numpy() for p in net.parameters())
    result = np.zeros((ROWS, STEPS, UNITS))
    for row in range(ROWS):
        h = np.zeros(UNITS)
        for t in range(STEPS):
            seen = x[row, t] * z["input"][row]
            gate = sigmoid(w @ seen + b)
            h = (1 - gate) * h + gate * (v @ seen + d)
            result[row, t] = h
    return result


@pytest.mark.parametrize(("name", "oracle", "sizes"), [
    ("LayerNormLSTM", layer_norm_lstm, {"input": FEATURES, "hidden": UNITS}),
    ("MinGRU", min_gru, {"input": FEATURES}),
])  # fmt: skip
def test_a_layer_of_the_guide_is_its_equations_and_is_predicted(name: str, oracle: Any, sizes: dict[str, int]) -> None:
    torch.manual_seed(0)
    net = getattr(CELLS, name)(FEATURES, UNITS, 0.4).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    x, z = torch.randn(ROWS, STEPS, FEATURES, dtype=torch.float64), masks(**sizes)
    want = oracle(net, x.numpy(), {k: v.numpy() for k, v in z.items()})
    np.testing.assert_allclose(net(x, masks=z).detach().numpy(), want, atol=1e-12)
    ones = {k: np.ones_like(v.numpy()) for k, v in z.items()}
    np.testing.assert_allclose(net.eval()(x).detach().numpy(), oracle(net, x.numpy(), ones), atol=1e-12)
    predictive = br.predict(net, x, draws=16, seed=2, likelihood=point)
    drawn = br.pyro.masks_of(net, x, seed=2, draw=5)
    np.testing.assert_allclose(
        predictive.draws[5], oracle(net, x.numpy(), {k: v.numpy() for k, v in drawn.items()}), atol=1e-12
    )
    assert {site.site for site in br.audit(net).sites} == set(sizes)
    wrapped = br.nn.ConcreteDropout(net).train()
    wrapped(x).sum().backward()
    assert all(logit.grad is not None for logit in wrapped.logits.values())


def keras_gru() -> Any:
    torch.manual_seed(0)
    shapes = (FEATURES, 3 * UNITS), (UNITS, 3 * UNITS), (3 * UNITS,)
    return CELLS.ResetBeforeGRUCell(*(torch.randn(shape, dtype=torch.float64) for shape in shapes), 0.4)


def reset_before(net: Any, x: np.ndarray, z: dict[str, np.ndarray]) -> np.ndarray:
    w, u, b = (p.detach().numpy() for p in (net.kernel, net.recurrent, net.bias))
    result = np.zeros((ROWS, UNITS))
    for row in range(ROWS):
        h = np.zeros(UNITS)
        for t in range(STEPS):
            a, seen = (x[row, t] * z["input"][row]) @ w + b, h * z["hidden"][row]
            update = sigmoid(a[:UNITS] + seen @ u[:, :UNITS])
            reset = sigmoid(a[UNITS : 2 * UNITS] + seen @ u[:, UNITS : 2 * UNITS])
            h = update * h + (1 - update) * np.tanh(a[2 * UNITS :] + (reset * seen) @ u[:, 2 * UNITS :])
        result[row] = h
    return result


class Loop(nn.Module):
    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), UNITS)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return h


def test_a_cell_of_the_guide_is_predicted_over_a_loop() -> None:
    net = Loop(keras_gru())
    x = torch.randn(ROWS, STEPS, FEATURES, dtype=torch.float64)
    predictive = br.predict(net, x, draws=16, seed=2, likelihood=point)
    drawn = {k.removeprefix("cell."): v.numpy() for k, v in br.pyro.masks_of(net, x, seed=2, draw=5).items()}
    np.testing.assert_allclose(predictive.draws[5], reset_before(net.cell, x.numpy(), drawn), atol=1e-12)
    with pytest.raises(ValueError, match=r"this ResetBeforeGRUCell is called step by step.*bayesrnn.nn.sequence"):
        net.train()(x)
    with br.nn.sequence(net):
        assert net(x).isfinite().all()


@pytest.mark.filterwarnings("ignore")
def test_a_gru_of_keras_that_resets_before() -> None:
    keras = pytest.importorskip("keras", reason="keras is not installed", exc_type=ImportError)
    x = np.random.default_rng(0).normal(size=(ROWS, STEPS, FEATURES)).astype(np.float32)
    layer = keras.layers.GRU(UNITS, reset_after=False)
    layer.build(x.shape)
    weights = [np.random.default_rng(1).normal(size=w.shape).astype(np.float32) for w in layer.get_weights()]
    layer.set_weights(weights)
    cell = CELLS.ResetBeforeGRUCell(*(torch.from_numpy(w) for w in weights), 0.4).eval()
    want = keras.ops.convert_to_numpy(layer(x))
    np.testing.assert_allclose(Loop(cell).eval()(torch.from_numpy(x)).detach(), want, atol=1e-6)


def test_bad_input_of_the_protocol() -> None:
    class Nowhere(br.nn.MaskedModule):
        pass

    with pytest.raises(TypeError, match=r"must say where its masks act: set self.places"):
        Nowhere().declared()
    net = CELLS.MinGRU(FEATURES, UNITS, 0.4)
    with pytest.raises(ValueError, match=r"declares masks for \['input'\], but \['hidden'\] were given"):
        net(torch.zeros(ROWS, STEPS, FEATURES), masks={"hidden": torch.ones(ROWS, UNITS)})
    with pytest.raises(ValueError, match=r"the mask 'input' must have shape \(3, 2\)"):
        net(torch.zeros(ROWS, STEPS, FEATURES), masks={"input": torch.ones(ROWS, UNITS)})
    assert CELLS.MinGRU(FEATURES, UNITS, 0.0).declared() == {}


def test_factors_have_steps_and_gates_where_they_say() -> None:
    layer = br.nn.MaskedModule()
    layer.places = {
        "tied": Placement("input", 0.5),
        "step": Placement("hidden", 0.5, "step"),
        "untied": Placement("hidden", 0.5, gates="untied"),
    }
    got = layer.train().factors(torch.zeros(1), rows=3, steps=4, gates=2, tied=5, step=6, untied=7)
    assert {k: tuple(v.shape) for k, v in got.items() if isinstance(v, Tensor)} == {
        "tied": (3, 5), "step": (4, 3, 6), "untied": (2, 3, 7),
    }  # fmt: skip
    assert layer.eval().factors(torch.zeros(1), rows=3, tied=5, step=6, untied=7) == dict.fromkeys(got, 1.0)
