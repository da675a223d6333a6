"""Text: files as tokens, streams of tokens as parallel rows, and a corpus in parts with its vocabulary."""

import codecs
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayesrnn._checks import as_number, check_choice, check_whole
from bayesrnn.data.vocabulary import EOS, Vocabulary

LEVELS = ("word", "character")


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a UTF-8 file.

    Raises:
        ValueError: If it does not exist, is empty, or is not UTF-8 (the message names the byte).
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no text file {path}.")
    raw = path.read_bytes()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{path} is UTF-16, not UTF-8. Convert it first: iconv -f utf-16 -t utf-8.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        strange = sum(raw.count(byte) for byte in range(32) if byte not in b"\t\n\v\f\r\x1a\x1b")
        fix = (
            "It holds control characters and seems to be no text (a picture, an archive, a model). Give a text file."
            if strange
            else "Convert it first, for example, if it is Latin-1, with: iconv -f latin1 -t utf-8."
        )
        raise ValueError(
            f"{path} is not UTF-8: byte {error.start} is 0x{raw[error.start]:02x} ({error.reason}). {fix}"
        ) from None
    if "\0" in text:
        raise ValueError(
            f"{path} holds a zero byte at character {text.index(chr(0))}: it is binary, or UTF-16 without its mark. "
            "Convert it to UTF-8 first."
        )
    if not text.strip():
        raise ValueError(f"{path} is empty: it holds no token.")
    return text


def tokenize(text: str, level: str = "word") -> list[str]:
    r"""Return the tokens of a text: words between blanks or characters, and `<eos>` for each line end.

    Example:
        >>> tokenize("a cat\nsat")
        ['a', 'cat', '<eos>', 'sat', '<eos>']
    """
    check_choice(level, "level", LEVELS)
    if not isinstance(text, str):
        raise TypeError(f"text must be one str, but a {type(text).__name__} was given. For a file: read_text(path).")
    tokens: list[str] = []
    for line in lines_of(text):
        tokens.extend(line.split() if level == "word" else line)
        tokens.append(EOS)
    return tokens


def fold_stream(tokens: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut a stream into `rows` parallel ones: row r goes on where row r - 1 ends.

    Returns:
        Inputs and targets, both (rows, steps), the targets one token later, and which targets exist, (rows, steps): the
        end of the last row is filled with token 0. Where that would leave rows without any target, the targets are
        spread over all rows instead, and later rows end one step earlier.

    Raises:
        ValueError: If the stream is not whole numbers of shape (N,), or has less than one target per row.
        TypeError: If it is no tensor.
    """
    check_stream(tokens, "tokens")
    count = tokens.numel() - 1
    if count < check_whole(rows, "batch_size"):
        raise ValueError(
            f"a stream of {tokens.numel()} tokens cannot be cut into {rows} rows with a target each. "
            "Give more text or a smaller batch_size."
        )
    steps = -(-count // rows)
    lengths = torch.full((rows, 1), steps)
    if count <= steps * (rows - 1):  # the last row would be empty
        lengths = count // rows + (torch.arange(rows)[:, None] < count % rows).long()
    places = lengths.cumsum(0) - lengths + torch.arange(steps)
    exists = ((torch.arange(steps) < lengths) & (places < count)).to(tokens.device)
    places = places.clamp(max=count - 1).to(tokens.device)
    return tokens[places] * exists, tokens[places + 1] * exists, exists


def check_stream(tokens: Any, name: str) -> None:
    """Refuse what is no tensor of whole numbers, (N,)."""
    if not isinstance(tokens, Tensor):
        raise TypeError(
            f"{name} must be a tensor of token numbers, but a {type(tokens).__name__} was given. Make one with "
            "vocabulary.encode(words) or torch.tensor(numbers)."
        )
    if tokens.dim() != 1 or tokens.is_floating_point() or tokens.is_complex() or tokens.dtype == torch.bool:
        raise ValueError(
            f"{name} must be one stream of whole numbers, shape (N,), but {tokens.dtype} of shape "
            f"{tuple(tokens.shape)} was given. To read parallel streams of one text pass the text and batch_size=."
        )


def lines_of(text: str) -> list[str]:
    """Return the lines that line feeds end; other separators of Unicode are characters of the text."""
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


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
    parts = {}
    for part, words in tokens.items():
        try:
            parts[part] = vocabulary.encode(words)
        except ValueError as error:
            raise ValueError(f"in the part {part!r}: {error}") from None
    return Corpus(vocabulary, level, parts)


def part_files(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """Return the files of a folder by the part in their names: `train`, `validation`, `test`.

    Raises:
        ValueError: If there is none, or several for one part.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}. Give one that holds files such as train.txt and test.txt.")
    files, parts = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith(".")), {}
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
