"""Sources of the masks of a layer: drawn for a prediction, or given by the user.

A mask multiplies by 0 with probability p and by 1/(1-p) otherwise; zoneout's masks are 1 with probability p, else 0.
A layer describes each of its masks by a `MaskSite` and asks one `MaskSource` for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from bayesrnn.masks.sites import MaskSite
from bayesrnn.masks.streams import MaskStream

RARE = 2.0**-12  # a probability of keeping below which the resolution of the random bits matters
_SHARED_ROW = -1  # the sequence id under which a mask shared by all rows is drawn


class MaskSource(Protocol):
    """A source of masks: a layer asks it for one mask per site and pass."""

    @property
    def rows(self) -> int | None:
        """Rows that a layer must be given, or None if any number will do."""

    def at(self, name: str) -> "MaskSource":
        """Return the same source for the layer of that qualified name."""

    def later(self, steps: int) -> "MaskSource":
        """Return the same source, so many steps later: for masks of single steps."""

    def mask(self, key: str, site: MaskSite) -> Tensor | None:
        """Return the mask of a site, or None for no mask.

        Its shape is (steps or 1, gates or 1, rows or 1, features).

        Args:
            key: The site in its layer, such as ``hidden_l0``.
            site: What the mask looks like.
        """


class Anywhere:
    """A source for any number of rows, whose masks depend on neither the layer nor the step."""

    @property
    def rows(self) -> None:
        """None: any number of rows will do."""

    def at(self, name: str) -> Self:
        """Return the same source."""
        return self

    def later(self, steps: int) -> Self:
        """Return the same source."""
        return self


@dataclass(frozen=True)
class Memory:
    """Masks drawn once and used in every window of a stream, while they fit into `room` bytes."""

    room: int
    masks: dict[str, Tensor] = field(default_factory=dict, compare=False)

    def keep(self, place: str, mask: Tensor) -> None:
        """Remember the mask of a place, if there is room for it."""
        if sum(m.nbytes for m in self.masks.values()) + mask.nbytes <= self.room:
            self.masks[place] = mask


@dataclass(frozen=True)
class Binding:
    """The masks of one prediction pass: which stream, which draws, which sequences.

    A bound layer sees S * B rows, the draws of all sequences: row s * B + b is draw s of sequence b. A layer inside a
    hierarchy (words below sentences) may see S * B * m rows: part j of m of that row is row (s * B + b) * m + j, and
    has masks of its own, as in training.

    Attributes:
        stream: Where the bits come from.
        draws: Draw numbers, (S,).
        sequences: Sequence ids, (B,).
        shared: All sequences of a draw use one mask; of a single shared draw it has one row, which broadcasts.
        name: The layer.
        first_step: Where the steps of this pass begin in a stream that is read in windows, for masks per step.
        multiplier: Every rate is multiplied by it.
        masked_words: Whether word types are dropped.
        memory: What remembers masks from window to window, or None.
    """

    stream: MaskStream
    draws: Tensor
    sequences: Tensor
    shared: bool = False
    name: str = ""
    first_step: int = 0
    multiplier: float = 1.0
    masked_words: bool = True
    memory: Memory | None = None

    @property
    def rows(self) -> int:
        """Rows that a bound layer must be given: S * B."""
        return self.draws.numel() * self.sequences.numel()

    def at(self, name: str) -> "Binding":
        """Return the same binding for the module of that qualified name."""
        return replace(self, name=name)

    def later(self, steps: int) -> "Binding":
        """Return the same binding, so many steps later."""
        return replace(self, first_step=self.first_step + steps)

    def window(self, start: int, index: int, lifetime: str) -> "Binding":
        """Return the binding for window number `index` of a stream, which begins at step `start`.

        With the lifetime `stream` a row is one sequence; with `window` each window of a row is a sequence of its own.
        """
        if lifetime == "stream":
            return replace(self, first_step=start)
        return replace(self, sequences=self.sequences + index * self.sequences.numel(), memory=None)

    def mask(self, key: str, site: MaskSite) -> Tensor | None:
        """Return the mask of one site; see `MaskSource.mask`.

        Raises:
            ValueError: If a weight is masked by several draws at once.
        """
        place = f"{self.name}.{key}" if self.name else key
        remembered = f"{place} {site.shape}"
        if self.memory is not None and remembered in self.memory.masks:
            return self.memory.masks[remembered]
        if site.tokens is not None and not self.masked_words:
            return None
        rate = site.number * self.multiplier
        dropped = self._words(place, site.tokens, rate) if site.tokens is not None else self._units(place, site, rate)
        if site.placement.keeps_old:
            return dropped.to(site.dtype)
        mask = dropped.logical_not_().to(site.dtype).mul_(1.0 / self._kept(rate))
        if self.memory is not None and site.placement.span == "sequence" and site.tokens is None:
            self.memory.keep(remembered, mask)
        return mask

    def _kept(self, rate: float) -> float:
        """Return the probability of keeping a unit; where it is rare, as the stream attains it."""
        kept = 1.0 - rate
        return kept if kept >= RARE else 1.0 - self.stream.attained(rate) or kept

    def _units(self, place: str, site: MaskSite, rate: float) -> Tensor:
        """Return which units are dropped, (steps or 1, gates or 1, rows or 1, features)."""
        steps, gates, rows, features = site.shape
        if site.placement.site == "weight":
            if self.draws.numel() > 1:
                raise ValueError("a weight mask belongs to one draw: bind one draw at a time.")
            return self.stream.dropped(place, self.draws, self._one(), rows * features, rate).view(site.shape)
        numbers: Tensor | int = steps * gates * features
        if self.first_step and site.placement.span == "step":
            first = self.first_step * gates * features
            numbers = torch.arange(first, first + int(numbers), device=self.draws.device)
        parts = rows // self.rows
        if parts > 1 and not self.shared:
            numbers = numbers if isinstance(numbers, Tensor) else torch.arange(numbers, device=self.draws.device)
            numbers = (self._parts(parts) + numbers).flatten()
        flat = self.stream.dropped(place, self.draws, self._one() if self.shared else self.sequences, numbers, rate)
        if self.shared and self.draws.numel() > 1:
            flat = flat.expand(-1, self.sequences.numel() * parts, -1)
        return flat.reshape(-1, steps, gates, features).permute(1, 2, 0, 3)

    def _words(self, place: str, tokens: Tensor, rate: float) -> Tensor:
        """Return which tokens (rows, T) are dropped, (1, 1, rows, T): each word type everywhere or nowhere."""
        rows = self.sequences.numel()
        units = tokens.contiguous().view(self.draws.numel(), rows, -1)
        parts = len(tokens) // self.rows
        if parts > 1 and not self.shared:
            units = (units.unflatten(-1, (parts, -1)) + self._parts(parts)).flatten(-2)
        if bool((units == units[:1]).all()):  # the draws read the same words: they are copies in one batch
            units = units[0]
        sequences = self._one().expand(rows) if self.shared else self.sequences
        return self.stream.dropped(place, self.draws, sequences, units, rate).reshape(1, 1, *tokens.shape)

    def _parts(self, count: int) -> Tensor:
        """Return an offset per part of a row, (parts, 1), so that their units have different numbers."""
        return (torch.arange(count, device=self.draws.device) << 40).unsqueeze(1)

    def _one(self) -> Tensor:
        return self.draws.new_tensor([_SHARED_ROW])


@dataclass(frozen=True)
class Given(Anywhere):
    """The masks of a user, by key, in the shapes that `sample_masks` returns; for the steps of one call."""

    masks: Mapping[str, Tensor]

    def mask(self, key: str, site: MaskSite) -> Tensor:
        """Return the mask of one site; see `MaskSource.mask`.

        Raises:
            ValueError: If it has another shape.
        """
        mask = self.masks[key]
        if not site.fits(mask):
            raise ValueError(
                f"the mask {key!r} must have shape {site.public_shape} (1 row if all rows share it), but "
                f"{tuple(mask.shape)} was given."
            )
        return site.internal(mask)
