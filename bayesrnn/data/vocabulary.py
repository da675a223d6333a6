"""The tokens of a model and their numbers."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from bayesrnn._checks import check_whole
from bayesrnn._documents import read_document, write_document

EOS, UNK = "<eos>", "<unk>"
_FORMAT, _MOST = "bayesrnn.vocabulary/2", 2**22  # tokens of a file


class Vocabulary:
    """The words (or characters) of a model in their order: number i is token i.

    Args:
        tokens: Distinct tokens; `<unk>` among them takes every token that is not.

    Raises:
        ValueError: If there is no token or a token comes twice.

    Example:
        >>> v = Vocabulary(["the", "cat", "<unk>"])
        >>> v.encode(["the", "dog"]).tolist()
        [0, 2]
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens = tuple(tokens)
        self._index = {token: i for i, token in enumerate(self.tokens)}
        if isinstance(tokens, str) or not all(isinstance(token, str) for token in self.tokens):
            raise TypeError(f"a vocabulary is made of a list of texts, but {tokens!r:.80} was given.")
        if not self.tokens:
            raise ValueError("a vocabulary needs at least one token, but none was given.")
        if len(self._index) != len(self.tokens):
            twice = next(token for token, count in Counter(self.tokens).items() if count > 1)
            raise ValueError(f"the vocabulary holds the token {twice!r} twice. Each token has one number.")

    @classmethod
    def build(
        cls, tokens: Iterable[str], *, min_count: int = 1, max_size: int | None = None, unknown: bool = False
    ) -> "Vocabulary":
        """Collect the tokens of a text, the most frequent first (ties in alphabetical order).

        Args:
            tokens: The text.
            min_count: Rarer tokens become `<unk>`.
            max_size: Keep so many of the most frequent, `<unk>` included.
            unknown: Whether `<unk>` is there in any case, so that a token which comes later can be encoded. If nothing
                became `<unk>`, training never sees it, and a model knows no more of it than that.

        Raises:
            ValueError: If the text holds no token.
        """
        check_whole(min_count, "min_count")
        counts = Counter(tokens)
        ranked = sorted(counts, key=lambda token: (-counts[token], token))
        kept = [token for token in ranked if counts[token] >= min_count or token in (EOS, UNK)]
        if (unknown or len(kept) < len(ranked)) and UNK not in kept:
            kept.append(UNK)
        if max_size is not None and len(kept) > check_whole(max_size, "max_size", 2):
            kept = [*[token for token in kept if token != UNK][: max_size - 1], UNK]
        return cls(kept)

    def encode(self, tokens: Iterable[str]) -> Tensor:
        """Return the numbers of tokens, int64 (N,).

        Raises:
            ValueError: If a token is not in a vocabulary that has no `<unk>`.
        """
        unknown = self._index.get(UNK)
        if unknown is not None:
            return torch.tensor([self._index.get(token, unknown) for token in tokens], dtype=torch.long)
        numbers = []
        for place, token in enumerate(tokens):
            number = self._index.get(token)
            if number is None:
                raise ValueError(
                    f"token {place} of the text, {token!r}, is out of the vocabulary of {len(self)} tokens, which has "
                    f"no {UNK}. Build the vocabulary with unknown=True, or with min_count=2 if some tokens come once, "
                    f"so that it holds {UNK}; or replace the token."
                )
            numbers.append(number)
        return torch.tensor(numbers, dtype=torch.long)

    def decode(self, numbers: Tensor | Iterable[int]) -> list[str]:
        """Return the tokens of numbers.

        Raises:
            ValueError: If a number is not in [0, V).
        """
        places = [int(number) for number in numbers]
        for number in places:
            if not 0 <= number < len(self):
                raise ValueError(
                    f"there is no token {number}: the vocabulary has the tokens 0 to {len(self) - 1}. Is "
                    "it the vocabulary of the model which gave the numbers?"
                )
        return [self.tokens[number] for number in places]

    def fingerprint(self) -> str:
        """Return a short digest that two vocabularies share only if they are equal."""
        joined = "\0".join(self.tokens)
        return hashlib.sha256(joined.encode()).hexdigest()[:16]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokens as JSON, in one step."""
        write_document(Path(path), _FORMAT, {"tokens": list(self.tokens)}, most=_MOST)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read what `save` wrote.

        Raises:
            ValueError: If there is no such file, it is no vocabulary, or it is not what was written.
        """
        fix = "Give the vocabulary that the model was trained with, or train anew."
        tokens = read_document(Path(path), _FORMAT, ("tokens",), fix=fix, most=_MOST)["tokens"]
        try:
            return cls(tokens if isinstance(tokens, list) else "")
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a vocabulary of bayesrnn: {error} {fix}") from None

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(self.tokens)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} tokens, {self.fingerprint()})"
