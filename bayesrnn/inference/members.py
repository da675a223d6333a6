"""One model reading a token stream in windows: many draws at once, each with a state of its own."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from bayesrnn.inference.token_masks import StreamBinding
from bayesrnn.nn.masked import bound

__all__ = ["Member"]


class Member:
    """A model, its draws in chunks, and the state that each chunk carries from window to window.

    A model that has `features(tokens, state)` and `logits(features)` is decoded in pieces that fit the memory; any
    other must return (Categorical or logits, state) from `model(tokens, state)`.
    """

    def __init__(self, model: nn.Module, chunks: list[StreamBinding], lifetime: str) -> None:
        self.model, self.chunks, self.lifetime = model, chunks, lifetime
        self._states: list[Any] = [None] * (len(chunks) + 1)
        split = hasattr(model, "features") and hasattr(model, "logits")
        self.logits: Callable[[Tensor], Tensor] = model.logits if split else _identity  # type: ignore[assignment]
        self._features: Callable[[Tensor, Any], Any] = model.features if split else self._whole  # type: ignore[assignment]

    def read(self, tokens: Tensor, start: int, index: int) -> Iterator[Tensor]:
        """Yield the features (S, B, T, F) of each chunk of draws over the window `tokens` (B, T)."""
        for place, chunk in enumerate(self.chunks):
            count = chunk.draws.numel()
            binding = chunk.window(start, index, self.lifetime)
            features = self._advance(place, tokens.repeat(count, 1), binding)
            yield features.view(count, *tokens.shape, -1)

    def read_plainly(self, tokens: Tensor) -> Tensor:
        """Return the features (B, T, F) of the pass without masks."""
        return self._advance(len(self.chunks), tokens, None)

    def _advance(self, place: int, tokens: Tensor, binding: StreamBinding | None) -> Tensor:
        with nullcontext() if binding is None else bound(self.model, binding):
            features, self._states[place] = self._features(tokens, self._states[place])
        return features

    def _whole(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        output = self.model(tokens, state) if state is not None else self.model(tokens)
        if not isinstance(output, tuple) or len(output) != 2:
            raise TypeError(
                f"the model must return (law of the next token, state), but it returned {type(output).__name__}. "
                "Return (Categorical(logits=...), state), and take the state as second argument."
            )
        law, last = output
        logits = law.logits if isinstance(law, Categorical) else law
        if not isinstance(logits, Tensor) or logits.shape[:2] != tokens.shape or logits.dim() != 3:
            what = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise TypeError(
                f"the law of the next token must be a Categorical or logits of shape (rows, steps, vocabulary) for "
                f"tokens {tuple(tokens.shape)}, but it is {what}."
            )
        return logits, last


def _identity(features: Tensor) -> Tensor:
    return features


def chunked_draws(draws: int, most: int, block: int, device: torch.device) -> list[Tensor]:
    """Split 0..draws-1 into runs of at most `most`, whole blocks where that is possible."""
    size = max(most // block * block, 1) if most >= block else max(most, 1)
    return list(torch.arange(draws, device=device).split(size))
