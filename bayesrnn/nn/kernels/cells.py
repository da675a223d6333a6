"""The recurrences: how many gates, which state, and one step in plain torch."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.schemes import Site

State = tuple[Tensor, ...]
"""(h,) or (h, c), each (rows, H)."""


def _lstm(x: Tensor, h: Tensor, state: State, masks: SiteMasks) -> State:
    """Take a step of an LSTM: c' = f c + i g and h' = o tanh(m c').

    x and h are the projections, each (rows, 4H). The mask m of the site `cell` acts where the memory is read: in the
    carry its 1 / (1 - p) would compound.
    """
    i, f, g, o = (x + h).chunk(4, -1)
    return _remembered(i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid(), state, masks)


def _lstm_capped(x: Tensor, h: Tensor, state: State, masks: SiteMasks) -> State:
    """As `_lstm`, with the input gate min(i, 1 - f)."""
    i, f, g, o = (x + h).chunk(4, -1)
    f = f.sigmoid()
    return _remembered(torch.minimum(i.sigmoid(), 1.0 - f), f, g.tanh(), o.sigmoid(), state, masks)


def _remembered(i: Tensor, f: Tensor, g: Tensor, o: Tensor, state: State, masks: SiteMasks) -> State:
    """Return the state of an LSTM from its activated gates."""
    c = f * state[1] + i * (g if masks.candidate is None else g * masks.candidate[0, 0])
    read = c if masks.cell is None else c * masks.cell[0, 0]
    hidden = o * read.tanh()
    return _kept(hidden, state[0], masks.keep_hidden), _kept(c, state[1], masks.keep_cell)


def _gru(x: Tensor, h: Tensor, state: State, masks: SiteMasks) -> State:
    """R z n, with torch's r (W_hn h + b_hn); h' = (1 - z) n + z h, the carry z h unmasked."""
    xr, xz, xn = x.chunk(3, -1)
    hr, hz, hn = h.chunk(3, -1)
    z = (xz + hz).sigmoid()
    n = (xn + (xr + hr).sigmoid() * hn).tanh()
    if masks.candidate is not None:
        n = n * masks.candidate[0, 0]
    return (_kept((1.0 - z) * n + z * state[0], state[0], masks.keep_hidden),)


def _rnn_tanh(x: Tensor, h: Tensor, state: State, masks: SiteMasks) -> State:
    return (_kept((x + h).tanh(), state[0], masks.keep_hidden),)


def _rnn_relu(x: Tensor, h: Tensor, state: State, masks: SiteMasks) -> State:
    return (_kept((x + h).relu(), state[0], masks.keep_hidden),)


def _kept(new: Tensor, old: Tensor, keep: Tensor | None) -> Tensor:
    return new if keep is None else torch.lerp(new, old, keep[0, 0].to(new.dtype))


@dataclass(frozen=True)
class Cell:
    """A recurrence as data.

    Args:
        name: `lstm`, `lstm_capped`, `gru`, `rnn_tanh` or `rnn_relu`.
        gates: Gates in torch's order (i f g o; r z n; one).
        states: Names of the carried values.
        sites: The sites at which masks can act inside this recurrence.
        step: One step from the two projections, the state and the masks to the new state.
    """

    name: str
    gates: int
    states: tuple[str, ...]
    sites: frozenset[Site]
    step: Callable[[Tensor, Tensor, State, SiteMasks], State]


_COMMON: frozenset[Site] = frozenset({"input", "between", "hidden", "weight", "keep_hidden"})
_REMEMBERING: frozenset[Site] = _COMMON | {"cell", "candidate", "keep_cell"}
CELLS = {
    "lstm": Cell("lstm", 4, ("h", "c"), _REMEMBERING, _lstm),
    "lstm_capped": Cell("lstm_capped", 4, ("h", "c"), _REMEMBERING, _lstm_capped),
    "gru": Cell("gru", 3, ("h",), _COMMON | {"candidate"}, _gru),
    "rnn_tanh": Cell("rnn_tanh", 1, ("h",), _COMMON, _rnn_tanh),
    "rnn_relu": Cell("rnn_relu", 1, ("h",), _COMMON, _rnn_relu),
}
