"""How texts and numbers become tensors: what was learned of them on the training rows."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn._checks import check_choice
from bayesrnn.data.labelled import Labelled
from bayesrnn.data.text import LEVELS
from bayesrnn.data.vocabulary import EOS, Vocabulary

_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_MOST_STEPS = 400
_FEW_WORDS = 3


@dataclass(frozen=True)
class Inputs:
    """What turns sequences into tensors.

    Attributes:
        features: Names of the features; empty for texts.
        level: Tokens of a text: "word" or "character"; empty for numbers.
        tokens: The vocabulary of texts, in its order.
        longest: Steps of the longest sequence that is read; texts are cut there, numbers are refused beyond ten times.
    """

    features: tuple[str, ...] = ()
    level: str = ""
    tokens: tuple[str, ...] = ()
    longest: int = 1

    @classmethod
    def learned(cls, data: Labelled, level: str | None = None) -> "Inputs":
        """Take vocabulary, level and length from training rows; without a level, short names are read by character."""
        if not data.are_texts:
            return cls(data.features, longest=max(map(len, data.rows)))
        words = float(np.median([len(text.split()) for text in data.rows]))
        level = check_choice(level or ("word" if words >= _FEW_WORDS else "character"), "level", LEVELS)
        texts = [_tokens(text, level) for text in data.rows]
        vocabulary = Vocabulary.build(
            (token for text in texts for token in text), min_count=2 if level == "word" else 1, unknown=True
        )
        sizes = np.array([len(text) for text in texts])
        longest = min(int(sizes.max()), max(int(np.quantile(sizes, 0.99)), 2), _MOST_STEPS)
        return cls((), level, vocabulary.tokens, longest)

    @property
    def are_texts(self) -> bool:
        """Whether the sequences are texts."""
        return not self.features

    def tensors(self, data: Labelled) -> tuple[Tensor, Tensor]:
        """Return sequences padded with zeros, (rows, steps, features) or tokens (rows, steps), and their lengths.

        Raises:
            ValueError: If the sequences are of another kind, or have other features.
        """
        if data.are_texts != self.are_texts:
            raise ValueError(
                f"the model reads {_kind(self.features)}, but the file holds {_kind(data.features)}. Give a file like "
                "the one it was trained on."
            )
        if self.are_texts:
            vocabulary = Vocabulary(self.tokens)
            rows = [vocabulary.encode(_tokens(text, self.level)[: self.longest]) for text in data.rows]
        else:
            rows = [torch.from_numpy(row).float() for row in self._ordered(data)]
        sizes = torch.tensor([len(row) for row in rows])
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), sizes

    def _ordered(self, data: Labelled) -> list[Any]:
        """Return the rows with features in the order of the training."""
        if data.features == self.features:
            return data.rows
        missing = [name for name in self.features if name not in data.features]
        if missing:
            raise ValueError(
                f"the file lacks the features {', '.join(missing[:10])}: the model was trained with "
                f"{', '.join(self.features[:10])}. Give a file like the one it was trained on."
            )
        order = [data.features.index(name) for name in self.features]
        return [row[:, order] for row in data.rows]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Inputs":
        """Make what `to_dict` described."""
        return cls(tuple(values["features"]), values["level"], tuple(values["tokens"]), values["longest"])


def _tokens(text: str, level: str) -> list[str]:
    r"""Return the tokens of a text and its end; words in lower case, punctuation apart.

    Example:
        >>> _tokens("Don't stop!", "word")
        ["don't", 'stop', '!', '<eos>']
    """
    return [*(_WORD.findall(text.lower()) if level == "word" else text.strip()), EOS]


def _kind(features: tuple[str, ...]) -> str:
    return f"numbers ({', '.join(features[:5])}{', ...' if len(features) > 5 else ''})" if features else "texts"
