"""Weights and masks as the scan reads them."""

from dataclasses import dataclass

from torch import Tensor

from bayesrnn.nn.scan.pointwise import Extras

__all__ = ["Masks", "Weights", "at", "one"]


@dataclass(frozen=True)
class Weights:
    """Weights in torch's shapes."""

    ih: Tensor
    hh: Tensor
    bias_ih: Tensor | None
    bias_hh: Tensor | None


@dataclass(frozen=True)
class Masks:
    """Masks of four dimensions, (steps or 1, gates or 1, rows or 1, features or 1), or None."""

    input: Tensor | None
    hidden: Tensor | None
    cell: Tensor | None
    candidate: Tensor | None
    keep_cell: Tensor | None
    keep_hidden: Tensor | None

    def rows(self, start: int, stop: int) -> "Masks":
        """Return the masks of rows start..stop-1."""
        return Masks(*(m if m is None or m.shape[2] == 1 else m[:, :, start:stop] for m in self._all()))

    def _all(self) -> tuple[Tensor | None, ...]:
        return (self.input, self.hidden, self.cell, self.candidate, self.keep_cell, self.keep_hidden)

    def extras(self) -> Extras:
        """Return the pointwise masks of all steps."""
        return Extras(*(None if m is None else m[:, 0] for m in self._all()[2:5]))

    def extras_at(self, t: int, rows: int) -> Extras:
        """Return the pointwise masks of step t."""
        if self.cell is None and self.candidate is None and self.keep_cell is None:
            return _NO_EXTRAS
        return Extras(*(one(m, t, rows) for m in self._all()[2:5]))


_NO_EXTRAS = Extras()


def at(mask: Tensor | None, t: int, rows: int) -> Tensor | None:
    """Return (gates or 1, rows or 1, features): the mask of step t for the first rows."""
    if mask is None:
        return None
    now = mask[t if mask.shape[0] > 1 else 0]
    return now[:, :rows] if now.shape[1] > rows else now


def one(mask: Tensor | None, t: int, rows: int) -> Tensor | None:
    """Return (rows or 1, features): the mask of step t of a site without gates."""
    now = at(mask, t, rows)
    return None if now is None else now[0]
