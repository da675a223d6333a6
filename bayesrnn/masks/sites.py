"""What the mask of one site looks like, and the masks of one layer as its recurrence reads them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bayesrnn.schemes import Placement


@dataclass(frozen=True)
class MaskSite:
    """What the mask of one site looks like in one forward pass.

    Attributes:
        placement: Site, span and gates.
        shape: (steps or 1, gates or 1, rows, features); (1, 1, rows, V) for words, (1, 1, gates * H, H) for a weight.
        dtype: Type of the mask.
        device: Where the layer lives.
        rate: The rate of dropping (of keeping the old value, for zoneout); a tensor where it is learned.
        tokens: The words of each row, (rows, T), where masks of these are wanted: (1, 1, rows, T).
    """

    placement: Placement
    shape: tuple[int, int, int, int]
    dtype: torch.dtype
    device: torch.device
    rate: float | Tensor
    tokens: Tensor | None = None

    @property
    def number(self) -> float:
        """The rate as a number."""
        return self.rate.item() if isinstance(self.rate, Tensor) else self.rate

    @property
    def kept(self) -> tuple[int, ...]:
        """The dimensions of the shape that a user sees: no steps or gates where they share the mask."""
        if self.placement.site == "weight":
            return 2, 3
        steps, gates = self.placement.span == "step", self.placement.gates == "untied"
        return (*((0,) if steps else ()), *((1,) if gates else ()), 2, 3)

    @property
    def public_shape(self) -> tuple[int, ...]:
        """The shape that a user sees: ([steps,] [gates,] rows, features); (gates * H, H) for a weight."""
        return tuple(self.shape[d] for d in self.kept)

    def fits(self, mask: Tensor) -> bool:
        """Whether a user's mask has the public shape, or 1 row in the place of all."""
        rows = 1 if self.placement.site != "weight" else self.shape[2]
        return tuple(mask.shape) in {self.public_shape, (*self.public_shape[:-2], rows, self.shape[3])}

    def public(self, mask: Tensor) -> Tensor:
        """Return a mask of four dimensions as a user sees it."""
        return mask.squeeze(tuple(d for d in range(4) if d not in self.kept))

    def internal(self, mask: Tensor) -> Tensor:
        """Return a user's mask with four dimensions; of words, the masks of the tokens."""
        for d in range(4):
            mask = mask if d in self.kept else mask.unsqueeze(d)
        return self.of_tokens(mask)

    def of_tokens(self, mask: Tensor) -> Tensor:
        """Return the masks of the tokens, (1, 1, rows, T), from the masks of all words; other masks unchanged."""
        if self.tokens is None:
            return mask
        return mask[0, 0].expand(self.shape[2], -1).gather(1, self.tokens)[None, None]

    def every_word(self) -> "MaskSite":
        """Return the site of all words of the vocabulary, in the place of some tokens."""
        if self.tokens is None:
            return self
        words = torch.arange(self.shape[3], device=self.device).expand(self.shape[2], -1)
        return replace(self, tokens=words.contiguous())


@dataclass(frozen=True)
class SiteMasks:
    """The masks of one layer and direction, by site; None where a site has none.

    Every mask has the shape (steps or 1, gates or 1, rows or 1, features or 1); a 1 means that all share it. `weight`
    is (1, 1, gates * H, H). `keep_cell` and `keep_hidden` are 1 where the old value is kept, or the probability of it.
    """

    input: Tensor | None = None
    hidden: Tensor | None = None
    cell: Tensor | None = None
    candidate: Tensor | None = None
    keep_cell: Tensor | None = None
    keep_hidden: Tensor | None = None
    weight: Tensor | None = None

    def at(self, t: int) -> "SiteMasks":
        """Return the masks of step t."""
        if all(mask.shape[0] == 1 for mask in self.all()):
            return self
        return self.map(lambda _, mask: mask if mask.shape[0] == 1 else mask[t : t + 1])

    def rows(self, start: int, stop: int) -> "SiteMasks":
        """Return the masks of rows start..stop-1; a weight belongs to no row."""
        return self.map(lambda site, m: m if m.shape[2] == 1 or site == "weight" else m[:, :, start:stop])

    def all(self) -> list[Tensor]:
        """Return the masks that there are."""
        return list(self._set().values())

    @property
    def sites(self) -> str:
        """The names of the sites that have masks, with spaces between."""
        return " ".join(self._set())

    @classmethod
    def of(cls, sites: str, masks: list[Tensor]) -> "SiteMasks":
        """Return the masks of these sites: what `sites` and `all` are made from."""
        return cls(**dict(zip(sites.split(), masks, strict=True)))

    def map(self, change: Callable[[str, Tensor], Tensor]) -> "SiteMasks":
        """Return the masks after a change of each, given its site."""
        return SiteMasks(**{site: change(site, mask) for site, mask in self._set().items()})

    def on(self, device: torch.device, dtype: torch.dtype) -> "SiteMasks":
        """Return the masks on a device, in a type."""
        return self.map(lambda _, mask: mask.to(device, dtype))

    @property
    def inside(self) -> tuple[Tensor | None, ...]:
        """The masks that act between the matrix products: cell, candidate, keep_cell, keep_hidden."""
        return self.cell, self.candidate, self.keep_cell, self.keep_hidden

    def _set(self) -> dict[str, Any]:
        return {site: mask for site, mask in vars(self).items() if mask is not None}
