"""What a user would do otherwise: the same draws of a two-layer LSTM, without an engine."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bayesrnn as br

__all__ = ["Setting", "keras_loop", "products", "rivals"]

LAYERS = 2


@dataclass(frozen=True)
class Setting:
    """Sizes of one row of the table: S draws of B sequences of T steps through two layers of H units, rate .5."""

    draws: int
    rows: int
    steps: int = 35
    units: int = 650
    rate: float = 0.5

    def inputs(self) -> Tensor:
        """Inputs (T, B, H)."""
        return torch.randn(self.steps, self.rows, self.units, generator=torch.Generator().manual_seed(0))

    def layer(self, gates: str = "tied") -> nn.Module:
        """Our layer with masks on inputs and hidden states."""
        torch.manual_seed(0)
        scheme = br.schemes.gal(input=self.rate, hidden=self.rate, gates=gates)
        return br.nn.LSTM(self.units, self.units, LAYERS, dropout=scheme).eval()

    def stock(self) -> nn.LSTM:
        """The layer of torch with the same weights."""
        layer = nn.LSTM(self.units, self.units, LAYERS).eval()
        layer.load_state_dict(self.layer().state_dict())
        return layer


def rivals(s: Setting, draws: int) -> dict[str, Callable[[], object]]:
    """Return what to time, for `draws` of the draws where a rival loops over them (its time is proportional)."""
    x, stock = s.inputs(), s.stock()
    return {
        "a: a cell loop per draw": lambda: [_cell_loop(stock, x, s.rate) for _ in range(draws)],
        "b: nn.LSTM with folded weights per draw": lambda: [_folded(stock, x, s.rate) for _ in range(draws)],
        "c: deterministic nn.LSTM passes": lambda: [stock(x) for _ in range(draws)],
        "e: the batch repeated, one cell loop": lambda: _cell_loop(stock, x.repeat(1, draws, 1), s.rate),
    }


def keras_loop(s: Setting, draws: int) -> Callable[[], object] | None:
    """Return (d), Keras 3 on the torch backend with training=True in a loop, or None where Keras is not installed."""
    import os

    os.environ["KERAS_BACKEND"] = "torch"
    try:
        import keras
    except ImportError:
        return None
    options: dict[str, Any] = {"dropout": s.rate, "recurrent_dropout": s.rate, "return_sequences": True}
    model = keras.Sequential([keras.layers.LSTM(s.units, **options) for _ in range(LAYERS)])
    x = s.inputs().transpose(0, 1)
    model(x)
    return lambda: [model(x, training=True) for _ in range(draws)]


def products(s: Setting, dtype: torch.dtype, rows_at_once: int = 512) -> Callable[[], object]:
    """Return the bound: nothing but the matrix products of all draws, steps and layers, at the best shape for them."""
    rows = min(s.draws * s.rows, rows_at_once)
    count = -(-s.draws * s.rows // rows)
    a, w = torch.randn(rows, s.units).to(dtype), torch.randn(s.units, 4 * s.units).to(dtype)
    out = torch.empty(rows, 4 * s.units, dtype=dtype)

    def run() -> None:
        for _ in range(count * s.steps * LAYERS * 2):
            torch.mm(a, w, out=out)

    return run


def _mask(rows: int, units: int, rate: float) -> Tensor:
    return torch.empty(rows, units).bernoulli_(1 - rate).div_(1 - rate)


@torch.no_grad()
def _cell_loop(layer: nn.LSTM, x: Tensor, rate: float) -> Tensor:
    rows, units = x.shape[1], layer.hidden_size
    for k in range(LAYERS):
        w, u, b, d = (getattr(layer, f"{name}_l{k}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        z_x, z_h = _mask(rows, x.shape[2], rate), _mask(rows, units, rate)
        h = c = x.new_zeros(rows, units)
        outputs = []
        for step in x:
            i, f, g, o = (F.linear(step * z_x, w, b) + F.linear(h * z_h, u, d)).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        x = torch.stack(outputs)
    return x


@torch.no_grad()
def _folded(layer: nn.LSTM, x: Tensor, rate: float) -> Tensor:
    folded = nn.LSTM(layer.input_size, layer.hidden_size, LAYERS, device="meta").eval()
    state = {
        name: value * _mask(1, value.shape[1], rate) if name.startswith("weight") else value
        for name, value in layer.state_dict().items()
    }
    return torch.func.functional_call(folded, state, (x,))[0]
