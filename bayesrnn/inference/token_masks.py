"""The masks of a token stream read in windows: their lifetime, their rates at test time, and a memory of them."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from bayesrnn.masks import Binding, MaskStream
from bayesrnn.schemes import Placement

__all__ = ["StreamBinding"]


@dataclass(frozen=True)
class StreamBinding(Binding):
    """A binding whose rates are multiplied, whose word masks can be off, and which remembers masks of a whole stream.

    Attributes:
        multiplier: Every rate is multiplied by it.
        masked_words: Whether word types are dropped.
        room: Bytes that remembered masks may take; 0 where masks must not outlive a window.
        memory: The remembered masks, by layer and site.
    """

    multiplier: float = 1.0
    masked_words: bool = True
    room: int = 0
    memory: dict[tuple[str, str], Tensor] = field(default_factory=dict, compare=False)

    @classmethod
    def of(
        cls, stream: MaskStream, draws: Tensor, rows: Tensor, *, multiplier: float, masked_words: bool, room: int
    ) -> "StreamBinding":
        """Return the binding of some draws of all rows of a stream."""
        return cls(stream, draws, rows, multiplier=multiplier, masked_words=masked_words, room=room)

    def window(self, start: int, index: int, lifetime: str) -> "StreamBinding":
        """Return the binding for the window that begins at step `start`.

        With the lifetime `window` each window of a row is a sequence of its own; with `stream` a row is one sequence.
        """
        if lifetime == "stream":
            return replace(self, first_step=start)
        return replace(self, sequences=self.sequences + index * self.sequences.numel(), memory={}, room=0)

    def mask(
        self, key: str, placement: Placement, features: int, *, gates: int, steps: int, dtype: torch.dtype
    ) -> Tensor:
        """Return the mask of one site at its multiplied rate; see `Binding.mask`."""
        place = (self.name, key)
        if place not in self.memory:
            scaled = self._scaled(placement)
            value = super().mask(key, scaled, features, gates=gates, steps=steps, dtype=dtype)
            if placement.span == "step" or not self._fits(value):
                return value
            self.memory[place] = value
        return self.memory[place]

    def words(self, key: str, placement: Placement, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the mask of each token by its word type; ones where word masks are off."""
        if not self.masked_words:
            return torch.ones(tokens.shape, dtype=dtype, device=tokens.device)
        return super().words(key, self._scaled(placement), tokens, dtype)

    def _scaled(self, placement: Placement) -> Placement:
        return replace(placement, rate=placement.rate * self.multiplier)

    def _fits(self, value: Tensor) -> bool:
        held = sum(mask.numel() * mask.element_size() for mask in self.memory.values())
        return held + value.numel() * value.element_size() <= self.room
