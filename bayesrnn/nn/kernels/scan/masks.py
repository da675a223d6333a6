"""Weights and masks as the scan reads them."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.scan.pointwise import Extras

__all__ = [
    "Alignment",
    "Weights",
    "along",
    "contiguous",
    "cut",
    "extras",
    "extras_along",
    "gated",
    "leave_the_cell_whole",
    "ungated",
]

_BYTES = 16


@dataclass(frozen=True)
class Alignment:
    """How many zeros are put behind the features and the units of a layer."""

    features: int
    units: int

    @classmethod
    def of(cls, features: int, units: int, product: torch.dtype) -> "Alignment":
        """Return what is missing to whole 16 bytes in the type of the products."""
        whole = _BYTES // product.itemsize
        return cls(-features % whole, -units % whole)

    def __bool__(self) -> bool:
        return self.features > 0 or self.units > 0

    def entering(self, value: Tensor) -> Tensor:
        """Widen inputs or their mask, (..., features)."""
        return pad(value, (0, self.features))

    def held(self, value: Tensor) -> Tensor:
        """Widen states or a mask of units, (..., H)."""
        return pad(value, (0, self.units))

    def masks(self, masks: SiteMasks) -> SiteMasks:
        """Widen masks; one number for all features or units stays one."""
        return masks.map(lambda s, m: m if m.shape[3] == 1 else self.entering(m) if s == "input" else self.held(m))

    def weights(
        self, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None, b_hh: Tensor | None, gates: int
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Widen weights (gates * H, ...) gate by gate."""
        ih = pad(w_ih.unflatten(0, (gates, -1)), (0, self.features, 0, self.units)).flatten(0, 1)
        hh = pad(w_hh.unflatten(0, (gates, -1)), (0, self.units, 0, self.units)).flatten(0, 1)
        return ih, hh, self._bias(b_ih, gates), self._bias(b_hh, gates)

    def _bias(self, bias: Tensor | None, gates: int) -> Tensor | None:
        return None if bias is None else self.held(bias.unflatten(0, (gates, -1))).flatten()


@dataclass(frozen=True)
class Weights:
    """Weights in torch's shapes."""

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None


def leave_the_cell_whole(masks: SiteMasks) -> bool:
    """Whether masks act only on what is read (inputs, states, memory), which the compiled kernels can do."""
    return masks.candidate is None and masks.keep_cell is None and masks.keep_hidden is None


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


def contiguous(masks: list[Tensor | None]) -> list[Tensor | None]:
    """Return masks as kernels read them."""
    return [None if mask is None else mask.contiguous() for mask in masks]


def cut(value: Tensor, rows: int) -> Tensor:
    """Return the first rows."""
    return value if value.shape[0] == rows else value[:rows]
