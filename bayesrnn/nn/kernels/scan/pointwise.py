"""What happens between the matrix products: each cell's pointwise part, forward and backward.

Every gradient of a gate is (gradient of the state) x (a factor that no later step changes). The factors are computed
for all steps at once, so that the loop backward in time has few operations on small tensors.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

_sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
_tanh_backward = torch.ops.aten.tanh_backward.grad_input


@dataclass(frozen=True)
class Kept:
    """What a forward pass leaves to the backward pass; every tensor is (steps, rows, ...).

    Args:
        gates: Activated gates (steps, rows, gates, H).
        extra: The memory cells of an LSTM, the recurrent part of a GRU's candidate, else empty.
        old: h of the step before.
        first: The initial memory cells (rows, H) of an LSTM, else None.
    """

    gates: Tensor
    extra: Tensor
    old: Tensor
    first: Tensor | None


@dataclass(frozen=True)
class Extras:
    """Masks of the pointwise part: (rows or 1, features), or with steps or 1 in front."""

    cell: Tensor | None = None
    candidate: Tensor | None = None
    keep_cell: Tensor | None = None
    keep_hidden: Tensor | None = None


class Pointwise(ABC):
    """A cell as the scan sees it.

    Attributes:
        gates: Gates in the weights.
        blocks: Blocks of H columns in the gradient of a step.
        hidden: Which blocks belong to the recurrent product, in the weights' order.
        inward: Pairs of blocks and the weights' gates that they belong to in the input product.
        apart: Whether the recurrent product is kept apart from the input's.
        memory: Whether there is a carried memory besides h.
        extra: Whether a tensor of (steps, rows, H) must be kept besides the gates.
    """

    gates: int
    blocks: int
    hidden: slice
    inward: tuple[tuple[slice, slice], ...]
    apart: bool = False
    memory: bool = False
    extra: bool = False

    @abstractmethod
    def forward(
        self, gates: Tensor, recurrent: Tensor, old: Tensor, memory: Tensor, h: Tensor, extra: Tensor, m: Extras
    ) -> None:
        """Activate `gates` (rows, gates, H) in place; write the new state into `h` and `extra`, each (rows, H)."""

    @abstractmethod
    def factors(self, kept: Kept, m: Extras) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the factors `(gate, carry, by_h)` of all steps.

        dL/dgate = gate * dL/dstate, gate (steps, rows, blocks, H). With a memory: dL/dc += by_h * dL/dh, then
        dL/dc_before = carry * dL/dc. Without one, by_h is None and dL/dh_before += carry * dL/dh; carry may be None.
        """


class LSTM(Pointwise):
    """An LSTM with gates i, f, g, o: c' = f c + i g and h' = o tanh(m c').

    m is the mask of the site `cell`; capped, i is at most 1 - f.
    """

    gates, blocks, hidden = 4, 4, slice(0, 4)
    inward = ((slice(0, 4), slice(0, 4)),)
    memory = extra = True

    def __init__(self, capped: bool) -> None:
        self.capped = capped

    def forward(
        self, gates: Tensor, recurrent: Tensor, old: Tensor, memory: Tensor, h: Tensor, extra: Tensor, m: Extras
    ) -> None:
        """See `Pointwise.forward`; `extra` is the new memory."""
        gates[:, :2].sigmoid_()
        i, f, g, o = gates.unbind(1)
        if self.capped:
            torch.minimum(i, 1.0 - f, out=i)
        g.tanh_()
        o.sigmoid_()
        before = memory.clone() if m.keep_cell is not None else memory
        torch.mul(f, memory, out=extra)
        extra.addcmul_(i, g if m.candidate is None else g * m.candidate)
        torch.tanh(extra if m.cell is None else extra * m.cell, out=h)
        h.mul_(o)
        if m.keep_cell is not None:
            extra.lerp_(before, m.keep_cell)

    def factors(self, kept: Kept, m: Extras) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """See `Pointwise.factors`."""
        i, f, g, o = kept.gates.unbind(2)
        before = torch.cat(([] if kept.first is None else [kept.first.unsqueeze(0)]) + [kept.extra[:-1]])
        candidate = g if m.candidate is None else g * m.candidate
        # where some of the old memory was kept, what was kept is not what went through the tanh
        new = kept.extra if m.keep_cell is None else torch.addcmul(f * before, i, candidate)
        activated = (new if m.cell is None else new * m.cell).tanh()
        by_gate = torch.empty_like(kept.gates)
        by_i, by_f, by_g, by_o = by_gate.unbind(2)
        _sigmoid_backward(candidate, i, grad_input=by_i)
        if self.capped:  # where i = 1 - f, it is the forget gate that moves i
            at_cap = i >= 1.0 - f
            by_i.masked_fill_(at_cap, 0.0)
            before = before - candidate * at_cap
        _sigmoid_backward(before, f, grad_input=by_f)
        _tanh_backward(i, g, grad_input=by_g)
        _sigmoid_backward(activated, o, grad_input=by_o)
        if m.candidate is not None:
            by_g.mul_(m.candidate)
        by_h = torch.empty_like(activated)
        _tanh_backward(o, activated, grad_input=by_h)
        if m.cell is not None:
            by_h.mul_(m.cell)
        return by_gate, f, by_h


class GRU(Pointwise):
    """Gates r z n; n = tanh(x_n + r u), u the recurrent part of n; h' = (1 - z) n + z h. Blocks: n r z u."""

    gates, blocks, hidden = 3, 4, slice(1, 4)
    inward = ((slice(1, 3), slice(0, 2)), (slice(0, 1), slice(2, 3)))
    apart = extra = True

    def forward(
        self, gates: Tensor, recurrent: Tensor, old: Tensor, memory: Tensor, h: Tensor, extra: Tensor, m: Extras
    ) -> None:
        """See `Pointwise.forward`; `extra` is the recurrent part of the candidate."""
        gates[:, :2].add_(recurrent[:, :2]).sigmoid_()
        r, z, n = gates.unbind(1)
        extra.copy_(recurrent[:, 2])
        n.addcmul_(r, extra).tanh_()
        torch.lerp(n if m.candidate is None else n * m.candidate, old, z, out=h)

    def factors(self, kept: Kept, m: Extras) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """See `Pointwise.factors`."""
        r, z, n = kept.gates.unbind(2)
        by_gate = torch.empty((*n.shape[:2], self.blocks, n.shape[2]), dtype=n.dtype, device=n.device)
        by_n, by_r, by_z, by_u = by_gate.unbind(2)
        weight = 1.0 - z
        _tanh_backward(weight if m.candidate is None else weight.mul_(m.candidate), n, grad_input=by_n)
        _sigmoid_backward(kept.extra, r, grad_input=by_r)
        by_r.mul_(by_n)
        _sigmoid_backward(kept.old - (n if m.candidate is None else n * m.candidate), z, grad_input=by_z)
        torch.mul(by_n, r, out=by_u)
        return by_gate, z, None


class RNN(Pointwise):
    """One gate, h' = tanh or relu of it."""

    gates, blocks, hidden = 1, 1, slice(0, 1)
    inward = ((slice(0, 1), slice(0, 1)),)

    def __init__(self, relu: bool) -> None:
        self.relu = relu

    def forward(
        self, gates: Tensor, recurrent: Tensor, old: Tensor, memory: Tensor, h: Tensor, extra: Tensor, m: Extras
    ) -> None:
        """See `Pointwise.forward`."""
        new = gates[:, 0].relu_() if self.relu else gates[:, 0].tanh_()
        h.copy_(new)

    def factors(self, kept: Kept, m: Extras) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """See `Pointwise.factors`; nothing of h is carried but through the product."""
        if self.relu:
            by_gate = (kept.gates > 0).to(kept.gates.dtype)
        else:
            by_gate = torch.empty_like(kept.gates)
            _tanh_backward(torch.ones_like(kept.gates), kept.gates, grad_input=by_gate)
        return by_gate, None, None


POINTWISE: dict[str, Pointwise] = {
    "lstm": LSTM(False),
    "lstm_capped": LSTM(True),
    "gru": GRU(),
    "rnn_tanh": RNN(False),
    "rnn_relu": RNN(True),
}
