"""Text as streams of tokens: a corpus of UTF-8 files, its vocabulary, and the rows a stream is read in."""

import codecs
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bayesrnn._checks import as_number, check_choice, check_whole
from bayesrnn._files import atomic_write

__all__ = ["EOS", "LEVELS", "UNK", "Corpus", "Vocabulary", "fold_stream", "read_corpus", "read_text", "tokenize"]

EOS, UNK = "<eos>", "<unk>"
LEVELS = ("word", "character")
_SPLITS = {
    "train": re.compile(r"train(ing|set|data)?\d*"),
    "valid": re.compile(r"(valid(ation)?|val|dev)(set|data)?\d*"),
    "test": re.compile(r"test(ing|set|data)?\d*"),
}
_FORMAT = "bayesrnn.vocabulary/1"


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
                    f"there is no token {number}: the vocabulary has the tokens 0 to {len(self) - 1}. Is it that of "
                    "the model which gave the numbers?"
                )
        return [self.tokens[number] for number in places]

    def fingerprint(self) -> str:
        """Return a short digest that two vocabularies share only if they are equal."""
        joined = "\0".join(self.tokens)
        return hashlib.sha256(joined.encode()).hexdigest()[:16]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokens as JSON, in one step."""
        data = {"format": _FORMAT, "tokens": list(self.tokens)}
        atomic_write(path, json.dumps(data, ensure_ascii=False, indent=0) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Vocabulary":
        """Read what `save` wrote.

        Raises:
            ValueError: If there is no such file, or it is no vocabulary.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"there is no vocabulary {path}.")
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["format"] != _FORMAT:
                raise KeyError(data["format"])
            return cls(data["tokens"])
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a vocabulary of bayesrnn ({error}).") from None

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


@dataclass(frozen=True, eq=False)
class Corpus:
    """The parts of a text, each one stream of token numbers (int64), with their vocabulary.

    Attributes:
        vocabulary: Maps tokens to numbers.
        level: `word` or `character`.
        parts: Streams by name: `train`, `valid`, `test` (those that exist).
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
    for line in _lines(text):
        tokens.extend(line.split() if level == "word" else line)
        tokens.append(EOS)
    return tokens


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
    """Read a text file, or a folder with files that have `train`, `valid` and `test` in their names.

    Names such as `wiki.train.txt`, `training.txt`, `val.txt`, `dev.txt` and `validation.txt` are understood. A single
    file is cut by lines: the last two `fractions` of it are valid and test. The vocabulary is that of the training
    part, unless one is given.

    Args:
        path: UTF-8 file or folder.
        level: `word` or `character`.
        vocabulary: Use this one, and take unknown tokens as `<unk>`.
        min_count: Tokens that are rarer in training become `<unk>`.
        max_size: Largest vocabulary.
        fractions: Shares of lines for valid and test, for a single file.
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
        texts = _folder_texts(path)
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


def fold_stream(tokens: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cut a stream into `rows` parallel ones: row r goes on where row r - 1 ends.

    Returns:
        Inputs and targets, both (rows, steps), the targets one token later, and which targets exist, (rows, steps):
        what is missing at the end of the last row is filled with token 0. Where that would leave rows without any
        target, the targets are spread over all rows instead, and later rows end one step earlier.

    Raises:
        ValueError: If the stream is not whole numbers of shape (N,), or has less than one target a row.
        TypeError: If it is no tensor.
    """
    if not isinstance(tokens, Tensor):
        raise TypeError(
            f"tokens must be a tensor of token numbers, but a {type(tokens).__name__} was given. Make one with "
            "vocabulary.encode(words) or torch.tensor(numbers)."
        )
    if tokens.dim() != 1 or tokens.is_floating_point() or tokens.dtype == torch.bool:
        raise ValueError(
            f"tokens must be one stream of whole numbers, shape (N,), but {tokens.dtype} of shape "
            f"{tuple(tokens.shape)} was given. To read parallel streams of one text pass the text and batch_size=."
        )
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


def _encoded(vocabulary: Vocabulary, words: list[str], part: str) -> Tensor:
    try:
        return vocabulary.encode(words)
    except ValueError as error:
        raise ValueError(f"in the part {part!r}: {error}") from None


def _folder_texts(folder: Path) -> dict[str, str]:
    files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    texts = {}
    for part, names in _SPLITS.items():
        found = [f for f in files if any(names.fullmatch(word) for word in re.split(r"[-._ ]", f.stem.lower()))]
        if len(found) > 1:
            raise ValueError(f"{folder} has several files for the part {part!r}: {[f.name for f in found]}. Keep one.")
        if found:
            texts[part] = read_text(found[0])
    if not texts:
        raise ValueError(
            f"{folder} has no file with 'train', 'valid' or 'test' in its name (such as train.txt); it holds "
            f"{[f.name for f in files][:5]}."
        )
    return texts


def _cut(text: str, fractions: tuple[float, float], path: Path) -> dict[str, str]:
    shares = [as_number(share) for share in fractions] if isinstance(fractions, tuple | list) else []
    numbers = [share for share in shares if share is not None]
    if len(numbers) != 2 or len(shares) != 2 or not (min(numbers) >= 0 and sum(numbers) < 1):
        raise ValueError(
            "fractions must be two shares, for valid and test, that leave some training text, such as (0.05, 0.05), "
            f"but {fractions!r} was given."
        )
    valid, test = numbers
    lines = _lines(text)
    edges = [round(len(lines) * (1 - valid - test)), round(len(lines) * (1 - test))]
    pieces = {"train": lines[: edges[0]], "valid": lines[edges[0] : edges[1]], "test": lines[edges[1] :]}
    if not any(line.strip() for line in pieces["train"]):
        raise ValueError(f"{path} has too few lines ({len(lines)}) to cut off {fractions} for valid and test.")
    return {part: "\n".join(piece) for part, piece in pieces.items() if any(line.strip() for line in piece)}


def _lines(text: str) -> list[str]:
    """Return the lines that line feeds end; other separators of Unicode are characters of the text."""
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")
