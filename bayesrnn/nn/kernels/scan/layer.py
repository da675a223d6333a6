"""One layer and direction as the scan reads it, and its tensors step by step."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.scan.pointwise import POINTWISE, Extras, Pointwise


@dataclass(frozen=True)
class Layer:
    """What a layer is in one pass.

    Attributes:
        name: The cell.
        ih: Input weight, in torch's shape.
        hh: Recurrent weight.
        bias_ih: Input bias, or None.
        bias_hh: Recurrent bias, or None.
        masks: In the type of the state; none of a weight.
        sizes: How many rows are alive at each step, never growing; empty if all are.
        product: Type of the matrix products.
    """

    name: str
    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None
    masks: SiteMasks
    sizes: list[int]
    product: torch.dtype

    @property
    def cell(self) -> Pointwise:
        """The pointwise part of the cell."""
        return POINTWISE[self.name]

    @property
    def reads_masks(self) -> bool:
        """Whether masks act only on what is read: inputs, hidden states and memory cells."""
        return self.masks.candidate is None and self.masks.keep_cell is None and self.masks.keep_hidden is None

    def compiles(self, like: Tensor) -> bool:
        """Whether compiled kernels do this: a float32 LSTM or GRU, full rows, masks only on what is read."""
        full = not self.sizes or self.sizes[-1] == like.shape[0]
        return self.name in ("lstm", "lstm_capped", "gru") and like.dtype == torch.float32 and self.reads_masks and full

    def biases(self, like: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return the biases (gates, H) of the input product and, where it is kept apart, of the recurrent one."""
        if self.bias_ih is None or self.bias_hh is None:
            return None, None
        ih, hh = (b.to(like.dtype).unflatten(0, (self.cell.gates, -1)) for b in (self.bias_ih, self.bias_hh))
        return (ih, hh) if self.cell.apart else (ih + hh, None)


class ForwardStep(NamedTuple):
    """What a compiled kernel reads and fills in one step forward; a product is (gates, rows, H) where untied."""

    pre: Tensor  # input products of a span of steps, (steps * rows, gates * H) or (gates, steps * rows, H)
    place: int  # which step of the span
    add: Tensor  # recurrent product of the step
    old: Tensor  # h before, (rows, H)
    before: Tensor  # memory before
    new: Tensor | None  # filled: new memory, or the recurrent part of a GRU's candidate
    h: Tensor  # filled: new h
    act: Tensor | None  # filled: activated gates (rows, gates, H)
    read: Tensor | None  # mask under which the memory is read, (rows or 1, H)
    carried: Tensor | None  # filled: new h under the mask of the next step
    following: Tensor | None  # that mask, (gates or 1, rows or 1, H)


class BackwardStep(NamedTuple):
    """What a compiled kernel reads and fills in one step backward."""

    kept: tuple[Tensor, Tensor, Tensor]  # activated gates, the cell's extra, the memory (of a GRU: h) before the step
    read: Tensor | None  # mask under which the memory is read
    raw: Tensor | None  # gradient of what entered the next product, (rows, H) or (gates, rows, H)
    site: Tensor | None  # the mask of that product
    arriving: Tensor | None  # gradient of the output
    gradient: Tensor  # filled: gradient of the gates, (rows, blocks, H)
    low: Tensor  # filled: the same in the type of the products


def extras(masks: SiteMasks) -> Extras:
    """Return the pointwise masks of all steps."""
    return Extras(*(None if m is None else m[:, 0] for m in masks.inside[:3]))


def extras_along(masks: SiteMasks, sizes: list[int]) -> list[Extras]:
    """Return the pointwise masks of every step."""
    if all(m is None for m in masks.inside[:3]):
        return [_NO_EXTRAS] * len(sizes)
    sites = (ungated(m, sizes) for m in masks.inside[:3])
    return [Extras(*now) for now in zip(*sites, strict=True)]


_NO_EXTRAS = Extras()


def along(value: Tensor, sizes: list[int]) -> list[Tensor]:
    """Return the steps of (steps, rows, ...), each with the rows that are alive; one call is cheaper than many."""
    return [cut(step, n) for step, n in zip(value.unbind(0), sizes, strict=False)]


def gated(mask: Tensor | None, sizes: list[int]) -> list[Tensor | None]:
    """Return the mask of every step, (gates or 1, rows or 1, features), for the rows that are alive."""
    if mask is None:
        return [None] * len(sizes)
    steps = mask.unbind(0) if mask.shape[0] > 1 else [mask[0]] * len(sizes)
    return [m[:, :n] if m.shape[1] > n else m for m, n in zip(steps, sizes, strict=False)]


def ungated(mask: Tensor | None, sizes: list[int]) -> list[Tensor | None]:
    """Return the mask of every step of a site without gates, (rows or 1, features)."""
    if mask is None:
        return [None] * len(sizes)
    if mask.shape[0] == 1 and mask.shape[2] == 1:
        return [mask[0, 0]] * len(sizes)
    return [None if m is None else m[0] for m in gated(mask, sizes)]


def contiguous(mask: Tensor | None, sizes: list[int]) -> list[Tensor | None]:
    """Return the mask of a site without gates at every step, as kernels read it."""
    return [None if now is None else now.contiguous() for now in ungated(mask, sizes)]


def cut(value: Tensor, rows: int) -> Tensor:
    """Return the first rows."""
    return value if value.shape[0] == rows else value[:rows]


def steps_at_once(bytes_per_step: int, steps: int, most: int) -> int:
    """Return how many steps have so many bytes at most, at least one."""
    return max(1, min(steps, most // max(1, bytes_per_step)))
