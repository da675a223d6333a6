"""Sizes that a GPU multiplies fast: rows of whole 16 bytes, filled up with zeros that stay zeros.

A unit without weights and biases has h = 0 and c = 0 at every step of an LSTM or GRU if it begins so, so that a layer
of 650 units is one of 656 of which six are not there.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["Alignment"]

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

    def masks(self, sites: list[Tensor | None], features: int, units: int) -> list[Tensor | None]:
        """Widen masks of four dimensions, that of the inputs first; a single number for all of many stays one."""
        widths = [features, *[units] * (len(sites) - 1)]
        widened = [self.entering, *[self.held] * (len(sites) - 1)]
        return [
            wide(m) if m is not None and m.shape[-1] == width else m
            for m, wide, width in zip(sites, widened, widths, strict=True)
        ]

    def weights(
        self, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None, b_hh: Tensor | None, gates: int
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Widen weights (gates * H, ...) gate by gate."""
        ih = pad(w_ih.unflatten(0, (gates, -1)), (0, self.features, 0, self.units)).flatten(0, 1)
        hh = pad(w_hh.unflatten(0, (gates, -1)), (0, self.units, 0, self.units)).flatten(0, 1)
        return ih, hh, self._bias(b_ih, gates), self._bias(b_hh, gates)

    def _bias(self, bias: Tensor | None, gates: int) -> Tensor | None:
        return None if bias is None else self.held(bias.unflatten(0, (gates, -1))).flatten()
