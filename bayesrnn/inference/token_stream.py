"""A language model that reads a token stream in windows, and the numbers that it reads."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from bayesrnn._checks import as_number
from bayesrnn.inference.nested import Rows, leaves, map_leaves
from bayesrnn.inference.stream_reader import StreamReader
from bayesrnn.masks import Binding
from bayesrnn.nn.masked import masked_modules


class Member(StreamReader):
    """A language model that reads tokens: its features draw by draw, and their product with the vocabulary.

    A model that has `features(tokens, state)` and `logits(features)` is decoded in pieces that fit the memory; any
    other must return (Categorical or logits, state) from `model(tokens, state)`.
    """

    returns = "(distribution of the next token, state)"

    def __init__(self, model: nn.Module, chunks: list[Binding], lifetime: str, carry: str = "own") -> None:
        super().__init__(model, chunks, lifetime)
        self.carry = carry
        self.split = hasattr(model, "features") and hasattr(model, "logits")
        self.logits: Callable[[Tensor], Tensor] = model.logits if self.split else _identity  # type: ignore[assignment]

    def read(self, tokens: Tensor, start: int, index: int) -> Iterator[Tensor]:
        """Yield the features (S, B, T, F) of each chunk of draws over the window `tokens` (B, T)."""
        for place in range(len(self.chunks)):
            features = self._advance(place, tokens, start, index)
            yield features.view(-1, *tokens.shape, features.shape[-1])

    def read_plainly(self, tokens: Tensor) -> Tensor:
        """Return the features (B, T, F) of the pass without masks."""
        return self._advance(None, tokens, 0, 0)

    def _advance(self, place: int | None, tokens: Tensor, start: int, index: int) -> Tensor:
        features: Tensor = self.output(place, tokens, start, index)
        if place is not None and self.carry == "deterministic":
            self._next[place] = _repeated(self._next[None], self._next[place])
        self.go_on()
        return features

    def call(self, window: Tensor, state: Any) -> Any:
        """Return (features or distribution, state)."""
        if self.split:
            return self.model.features(window, state)  # type: ignore[operator]
        result = self._called(window, state)
        is_pair = isinstance(result, tuple) and len(result) == 2  # what is none is refused by `output`
        return (_logits_of(result[0], window), result[1]) if is_pair else result

    def _called(self, tokens: Tensor, state: Any) -> Any:
        """Call the model; if it fails on the first window and embeds nothing, say what it is taken for."""
        try:
            return super().call(tokens, state)
        except (TypeError, ValueError, RuntimeError) as error:
            embeds = any(isinstance(part, nn.Embedding) for part in self.model.modules())
            if state is not None or embeds or isinstance(error, torch.OutOfMemoryError):
                raise
            raise TypeError(
                f"this {type(self.model).__name__} cannot read token numbers {tuple(tokens.shape)}, which a language "
                f"model does: {error} Pass a LanguageModel, or a module that takes (tokens, state) and returns "
                "(Categorical or logits of the next token, state)."
            ) from error


def _repeated(state: Any, like: Any) -> Any:
    """Return the state of rows, repeated along their dimension for the draws of which `like` is the state."""
    wanted = iter([leaf for _, leaf in leaves(like)])

    def repeat(tensor: Any) -> Any:
        other = next(wanted)
        if not isinstance(tensor, Tensor) or tensor.shape == other.shape:
            return tensor
        dim = next(d for d in range(tensor.dim()) if tensor.shape[d] != other.shape[d])
        return Rows(tensor, dim).repeat(other.shape[dim] // tensor.shape[dim]).value

    return map_leaves(repeat, state)


def _logits_of(distribution: Any, tokens: Tensor) -> Tensor:
    logits = distribution.logits if isinstance(distribution, Categorical) else distribution
    if not isinstance(logits, Tensor) or logits.shape[:2] != tokens.shape or logits.dim() != 3:
        what = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(
            "the distribution of the next token must be a Categorical or logits of shape (rows, steps, "
            f"vocabulary) for tokens {tuple(tokens.shape)}, but it is {what}."
        )
    return logits


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
    widths = [getattr(m, "hidden_size", None) for m in model.modules()]
    sizes = [size for size in widths if isinstance(size, int)]
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
        numbers = torch.empty(0, dtype=torch.long) if isinstance(given, list) and not given else torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        kinds = sorted({type(item).__name__ for item in given})
        raise _no_tokens(name, f"a {type(tokens).__name__} of {', '.join(kinds)}") from None
    if numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool:
        return numbers  # what it must be is said where its shape is looked at
    numbers = numbers.long()
    if numbers.numel() and int(numbers.min()) < 0:
        place = int((numbers.flatten() < 0).nonzero()[0])
        raise ValueError(
            f"{name} are numbers from 0 on, but {int(numbers.flatten()[place])} was given at place {place}. If "
            "negative numbers mark padding or missing words, leave those places out; unknown words are the "
            "vocabulary's <unk>."
        )
    return numbers


def _no_tokens(name: str, given: str) -> TypeError:
    return TypeError(
        f"{name} must be whole numbers, one per token, in a tensor or an iterable, but {given} was given. "
        "Turn text into numbers first: vocabulary.encode(tokenize(text)), both in bayesrnn.data."
    )


def check_no_nan(log_prob: Tensor) -> None:
    """Refuse log probabilities that are NaN."""
    if bool(torch.isnan(log_prob).any()):
        raise ValueError(
            "the model's log probabilities are NaN. Its weights hold NaN or diverged in training: train again with a "
            "smaller learning rate or gradient clipping."
        )


def as_factor(
    value: Any, name: str, does: str, *, zero: bool = False, hint: str = " 1 leaves everything as it is."
) -> float:
    """Return a finite number above 0, or from 0 on with `zero`, as a float; errors say what it `does`."""
    single = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    number = as_number(single)
    legal = "0 or more" if zero else "above 0"
    if number is None:
        fix = f" Pass it as a number: {name}=float({value!r})." if isinstance(value, str) else ""
        raise TypeError(
            f"{name} {does} and must be a number, {legal}, but {value!r} ({type(value).__name__}) was given.{fix}"
        )
    if not (0.0 <= number < math.inf if zero else 0.0 < number < math.inf):
        fix = "" if math.isnan(number) or number > 0 else hint
        raise ValueError(f"{name} {does} and must be {legal} and finite, but {number} was given.{fix}")
    return float(number)
