"""A corpus: UTF-8 files as streams of token numbers, in parts, with their vocabulary."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bayesrnn._checks import as_number
from bayesrnn.data.text import lines_of, read_text, tokenize
from bayesrnn.data.vocabulary import Vocabulary

__all__ = ["Corpus", "part_files", "read_corpus"]

_SPLITS = {
    "train": re.compile(r"train(ing|set|data)?\d*"),
    "validation": re.compile(r"(valid(ation)?|val|dev)(set|data)?\d*"),
    "test": re.compile(r"test(ing|set|data)?\d*"),
}


@dataclass(frozen=True, eq=False)
class Corpus:
    """The parts of a text, each one stream of token numbers (int64), with their vocabulary.

    Attributes:
        vocabulary: Maps tokens to numbers.
        level: `word` or `character`.
        parts: Streams by name: `train`, `validation`, `test` (those that exist).
    """

    vocabulary: Vocabulary
    level: str
    parts: Mapping[str, Tensor]

    def __getitem__(self, part: str) -> Tensor:
        if part not in self.parts:
            raise ValueError(
                f"the corpus has no part {part!r}, only {sorted(self.parts)}. Put a file with {part!r} in its name "
                "into the folder."
            )
        return self.parts[part]


def read_corpus(
    path: str | os.PathLike[str],
    *,
    level: str = "word",
    vocabulary: Vocabulary | None = None,
    min_count: int = 1,
    max_size: int | None = None,
    fractions: tuple[float, float] = (0.05, 0.05),
    unknown: bool = False,
) -> Corpus:
    """Read a text file, or a folder with files that have `train`, `validation` and `test` in their names.

    Names such as `wiki.train.txt`, `training.txt`, `val.txt`, `dev.txt` and `validation.txt` are understood. A single
    file is cut by lines: the last two `fractions` of it are validation and test. The vocabulary is built from the
    training part, unless one is given.

    Args:
        path: UTF-8 file or folder.
        level: `word` or `character`.
        vocabulary: Use this one, and take unknown tokens as `<unk>`.
        min_count: Tokens that are rarer in training become `<unk>`.
        max_size: Largest vocabulary.
        fractions: Shares of lines for validation and test, for a single file.
        unknown: Whether the vocabulary holds `<unk>` even if every training token is in it.

    Raises:
        ValueError: If a file is missing, empty, not UTF-8 or ambiguous; or a token is out of a vocabulary without
            `<unk>`.
        TypeError: If `vocabulary` is no `Vocabulary`.
    """
    if vocabulary is not None and not isinstance(vocabulary, Vocabulary):
        raise TypeError(
            f"vocabulary must be a Vocabulary, but a {type(vocabulary).__name__} was given. Make one of it: "
            "Vocabulary(tokens)."
        )
    path = Path(path)
    if path.is_dir():
        texts = {part: read_text(file) for part, file in part_files(path).items()}
    elif path.is_file():
        texts = _cut(read_text(path), fractions, path)
    else:
        raise ValueError(f"there is no text file or folder {path}.")
    tokens = {part: tokenize(text, level) for part, text in texts.items()}
    if vocabulary is None:
        if "train" not in tokens:
            raise ValueError(
                f"{path} has no file with 'train' in its name, only {sorted(tokens)}: without a training part there is "
                "no vocabulary. Add the file, or give vocabulary=."
            )
        vocabulary = Vocabulary.build(tokens["train"], min_count=min_count, max_size=max_size, unknown=unknown)
    return Corpus(vocabulary, level, {part: _encoded(vocabulary, words, part) for part, words in tokens.items()})


def _encoded(vocabulary: Vocabulary, words: list[str], part: str) -> Tensor:
    try:
        return vocabulary.encode(words)
    except ValueError as error:
        raise ValueError(f"in the part {part!r}: {error}") from None


def part_files(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Return the files of a folder by the part in their names: `train`, `validation`, `test`.

    Raises:
        ValueError: If there is none, or several for one part.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}. Give one that holds files such as train.txt and test.txt.")
    files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    parts = {}
    for part, names in _SPLITS.items():
        matching = [f for f in files if any(names.fullmatch(word) for word in re.split(r"[-._ ]", f.stem.lower()))]
        if len(matching) > 1:
            raise ValueError(
                f"{folder} has several files for the part {part!r}: {[f.name for f in matching]}. Keep one."
            )
        if matching:
            parts[part] = matching[0]
    if not parts:
        raise ValueError(
            f"{folder} has no file with 'train', 'validation' or 'test' in its name (such as train.txt); it holds "
            f"{[f.name for f in files][:5]}."
        )
    return parts


def _cut(text: str, fractions: tuple[float, float], path: Path) -> dict[str, str]:
    shares = [as_number(share) for share in fractions] if isinstance(fractions, tuple | list) else []
    numbers = [share for share in shares if share is not None]
    if len(numbers) != 2 or len(shares) != 2 or not (min(numbers) >= 0 and sum(numbers) < 1):
        raise ValueError(
            "fractions must be two shares, for validation and test, that leave some training text, such as "
            f"(0.05, 0.05), but {fractions!r} was given."
        )
    validation, test = numbers
    lines = lines_of(text)
    edges = [round(len(lines) * (1 - validation - test)), round(len(lines) * (1 - test))]
    pieces = {"train": lines[: edges[0]], "validation": lines[edges[0] : edges[1]], "test": lines[edges[1] :]}
    if not any(line.strip() for line in pieces["train"]):
        raise ValueError(f"{path} has too few lines ({len(lines)}) to cut off {fractions} for validation and test.")
    return {part: "\n".join(piece) for part, piece in pieces.items() if any(line.strip() for line in piece)}
