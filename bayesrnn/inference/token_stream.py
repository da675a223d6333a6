"""One model reading a token stream in windows: many draws at once, each with a state of its own."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from bayesrnn._checks import as_number
from bayesrnn.masks import Binding
from bayesrnn.nn.masked import bound, masked_modules

__all__ = ["Member", "as_factor", "as_stream", "chunked_draws", "draws_at_once"]


class Member:
    """A model, its draws in chunks, and the state that each chunk carries from window to window.

    A model that has `features(tokens, state)` and `logits(features)` is decoded in pieces that fit the memory; any
    other must return (Categorical or logits, state) from `model(tokens, state)`.
    """

    def __init__(self, model: nn.Module, chunks: list[Binding], lifetime: str) -> None:
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

    def _advance(self, place: int, tokens: Tensor, binding: Binding | None) -> Tensor:
        with nullcontext() if binding is None else bound(self.model, binding):
            features, self._states[place] = self._features(tokens, self._states[place])
        return features

    def _whole(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        output = self._called(tokens, state)
        if not isinstance(output, tuple) or len(output) != 2:
            raise TypeError(
                "the model must return (distribution of the next token, state), but it returned "
                f"{type(output).__name__}. Return (Categorical(logits=...), state), and take the state as second "
                "argument."
            )
        distribution, last = output
        logits = distribution.logits if isinstance(distribution, Categorical) else distribution
        if not isinstance(logits, Tensor) or logits.shape[:2] != tokens.shape or logits.dim() != 3:
            what = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise TypeError(
                "the distribution of the next token must be a Categorical or logits of shape (rows, steps, "
                f"vocabulary) for tokens {tuple(tokens.shape)}, but it is {what}."
            )
        return logits, last

    def _called(self, tokens: Tensor, state: Any) -> Any:
        """Call the model; if it fails on the first window and embeds nothing, say what it is taken for."""
        if state is not None:
            return self.model(tokens, state)
        try:
            return self.model(tokens)
        except (TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError) or any(
                isinstance(part, nn.Embedding) for part in self.model.modules()
            ):
                raise
            raise TypeError(
                f"this {type(self.model).__name__} cannot read token numbers {tuple(tokens.shape)}, which a language "
                f"model does: {error} Pass a LanguageModel, or a module that takes (tokens, state) and returns "
                "(Categorical or logits of the next token, state)."
            ) from error


def _identity(features: Tensor) -> Tensor:
    return features


def chunked_draws(draws: int, most: int, block: int, device: torch.device) -> list[Tensor]:
    """Split 0..draws-1 into runs of at most `most`, whole blocks where that is possible."""
    size = max(most // block * block, 1) if most >= block else max(most, 1)
    return list(torch.arange(draws, device=device).split(size))


def draws_at_once(model: nn.Module, positions: int, max_memory: int) -> int:
    """Draws whose activations of one window fit into half of the memory; 1 where a weight mask forbids more."""
    placements = [p for module in masked_modules(model).values() for p in module.placements().values()]
    if any(p.site == "weight" for p in placements):
        return 1
    widest = max(
        (p.shape[0] for m in masked_modules(model).values() for p in m.parameters() if p.dim() == 2), default=1
    )
    found = [getattr(m, "hidden_size", None) for m in model.modules()]
    sizes = [size for size in found if isinstance(size, int)]
    width = 16 * max(sizes) if sizes else widest
    return max(int(max_memory // 2 // (4 * width * positions)), 1)


def as_stream(tokens: Any, name: str = "tokens") -> Tensor:
    """Return token numbers, given as a tensor, an array or any iterable, as a tensor: int64 where they are whole.

    Raises:
        TypeError: If they are a text, or nothing that numbers could be taken from.
        ValueError: If one is negative.
    """
    if isinstance(tokens, str | bytes) or not isinstance(tokens, Iterable):
        raise _no_tokens(name, f"{tokens!r:.60} ({type(tokens).__name__})")
    given = tokens if isinstance(tokens, Tensor | np.ndarray) else list(tokens)
    try:
        found = torch.empty(0, dtype=torch.long) if isinstance(given, list) and not given else torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        kinds = sorted({type(item).__name__ for item in given})
        raise _no_tokens(name, f"a {type(tokens).__name__} of {', '.join(kinds)}") from None
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        return found  # what it must be is said where its shape is looked at
    found = found.long()
    if found.numel() and int(found.min()) < 0:
        place = int((found.flatten() < 0).nonzero()[0])
        raise ValueError(
            f"{name} are numbers from 0 on, but {int(found.flatten()[place])} was given at place {place}. If negative "
            "numbers mark padding or missing words, leave those places out; unknown words are the vocabulary's <unk>."
        )
    return found


def _no_tokens(name: str, given: str) -> TypeError:
    return TypeError(
        f"{name} must be whole numbers, one a token, in a tensor or an iterable, but {given} was given. "
        "Turn text into numbers first: vocabulary.encode(tokenize(text)), both in bayesrnn.data."
    )


def as_factor(value: Any, name: str, does: str, *, zero: bool = False) -> float:
    """Return a finite number above 0, or from 0 on with `zero`, as a float; `does` says what it is for."""
    single = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    number = as_number(single)
    legal = "0 or more" if zero else "above 0"
    if number is None:
        fix = f" Pass it as a number: {name}=float({value!r})." if isinstance(value, str) else ""
        raise TypeError(
            f"{name} {does} and must be a number, {legal}, but {value!r} ({type(value).__name__}) was given.{fix}"
        )
    if not (0.0 <= number < math.inf if zero else 0.0 < number < math.inf):
        fix = "" if math.isnan(number) or number > 0 else " 1 leaves everything as it is."
        raise ValueError(f"{name} {does} and must be {legal} and finite, but {number} was given.{fix}")
    return float(number)
