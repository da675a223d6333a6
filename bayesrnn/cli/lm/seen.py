"""By what a text is known again: all of it, and its lines, so that nobody scores a model on what it was trained on."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from bayesrnn.data import Vocabulary

__all__ = ["digest", "share_known", "sketch"]

_KEPT = 512
_LONG = 5  # tokens; shorter lines ("Chapter 2") are found in texts that have nothing to do with one another
_ENOUGH = 5  # lines looked up, below which the share says nothing


def digest(text: str) -> str:
    """Return a short digest by which a text is known again, whatever its line ends."""
    from bayesrnn.data.text import lines_of

    return _hash("\n".join(lines_of(text)))


def sketch(tokens: "Tensor", vocabulary: "Vocabulary") -> str:
    """Return the smallest digests of the lines of a text: a sample of its lines that does not depend on their order.

    Source: Broder 1997 (On the resemblance and containment of documents), the bottom-k sketch.
    """
    return " ".join(sorted(_line_digests(tokens, vocabulary))[:_KEPT])


def share_known(tokens: "Tensor", vocabulary: "Vocabulary", known: str) -> float:
    """Return about which share of the lines of a text are in the text of a sketch; 0 where too few can be looked up."""
    sample = set(known.split())
    found = _line_digests(tokens, vocabulary)
    if len(sample) == _KEPT:  # of a text with more lines nothing is known above the largest digest kept
        found = {line for line in found if line <= max(sample)}
    return len(found & sample) / len(found) if len(found) >= _ENOUGH else 0.0


def _line_digests(tokens: "Tensor", vocabulary: "Vocabulary") -> set[str]:
    from bayesrnn.data.vocabulary import EOS

    end = int(vocabulary.encode([EOS]))
    lines: list[list[int]] = [[]]
    for token in tokens.tolist():
        if token == end:
            lines.append([])
        else:
            lines[-1].append(token)
    return {_hash(" ".join(map(str, line))) for line in lines if len(line) >= _LONG}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
