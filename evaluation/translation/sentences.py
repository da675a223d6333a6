"""Sentence pairs, subwords and batches of like length."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

PADDING, START, END, UNKNOWN = range(4)
PARTS = {"train": "train", "validation": "val", "test": "test_2016_flickr"}


@dataclass(frozen=True)
class Pairs:
    """Sentences of two languages, line by line."""

    source: list[str]
    target: list[str]

    def __len__(self) -> int:
        return len(self.source)

    def first(self, count: int) -> "Pairs":
        """Return the first pairs."""
        return Pairs(self.source[:count], self.target[:count])


class Vocabulary(Protocol):
    """Turns sentences into token numbers and back."""

    size: int
    digest: str

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Return token numbers, without start and end."""

    def decode(self, tokens: Tensor) -> list[str]:
        """Return the sentences of (rows, steps) tokens, up to the end."""


def load_pairs(part: str, folder: Path | None = None) -> Pairs:
    """Read a part of Multi30k, German and English, in lower case with single spaces.

    Raises:
        ValueError: If the two files have different numbers of lines, or a line is empty.
    """
    return checked(*map(_lines, part_files(part, folder)), PARTS[part])


def part_files(part: str, folder: Path | None = None) -> list[Path]:
    """Return the German and the English file of a part.

    Raises:
        ValueError: If no folder is given and the environment names none.
    """
    if folder is None:
        folder = Path(os.environ.get("BAYESRNN_DATA", "")) / "multi30k"
        if not os.environ.get("BAYESRNN_DATA") or not folder.is_dir():
            raise ValueError("set BAYESRNN_DATA to the folder that holds multi30k, or use --synthetic.")
    return [folder / f"{PARTS[part]}.{language}.gz" for language in ("de", "en")]


def checked(source: list[str], target: list[str], name: str) -> Pairs:
    """Return pairs of lines that belong together.

    Raises:
        ValueError: If their numbers differ or a line is empty.
    """
    if len(source) != len(target):
        raise ValueError(
            f"the two files of {name} must hold a sentence and its translation line by line, but they have "
            f"{len(source)} and {len(target)} lines. Is one of them cut, or of another part?"
        )
    for number, pair in enumerate(zip(source, target), 1):
        if not all(pair):
            which = "source" if not pair[0] else "target"
            raise ValueError(f"line {number} of the {which} of {name} is empty: leave that line out of both files.")
    return Pairs(source, target)


def _lines(path: Path) -> list[str]:
    try:
        text = gzip.decompress(path.read_bytes()).decode("utf-8")
    except (gzip.BadGzipFile, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise ValueError(f"{path.name} is no gzipped UTF-8 text ({error}). Copy it again.") from None
    return [" ".join(line.lower().split()) for line in text.removesuffix("\n").split("\n")]


def synthetic(count: int, seed: int) -> Pairs:
    """Invent pairs: words of two languages, whose order the translation turns around."""
    make = np.random.default_rng(seed)
    sentences = [make.integers(0, 8, make.integers(2, 6)) for _ in range(count)]
    return Pairs(
        [" ".join(f"wort{w}" for w in sentence) for sentence in sentences],
        [" ".join(f"word{w}" for w in sentence[::-1]) for sentence in sentences],
    )


class Words:
    """A vocabulary of whole words, in order of appearance: for invented sentences."""

    def __init__(self, sentences: Sequence[str]) -> None:
        words = dict.fromkeys(word for sentence in sentences for word in sentence.split())
        self.words = ["", "", "", "<unk>", *words]
        self.numbers = {word: UNKNOWN + 1 + k for k, word in enumerate(words)}
        self.size, self.digest = len(self.words), _digest(" ".join(words).encode())

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Return token numbers."""
        return [[self.numbers.get(word, UNKNOWN) for word in sentence.split()] for sentence in sentences]

    def decode(self, tokens: Tensor) -> list[str]:
        """Return sentences."""
        return [" ".join(self.words[k] for k in row if k not in (PADDING, START, END)) for row in tokens.tolist()]


class Subwords:
    """Pieces of words of both languages together, learned by sentencepiece and kept in one file.

    Raises:
        ValueError: If sentencepiece is missing, so many subwords cannot be learned, or the file holds none.
    """

    def __init__(self, path: Path, sentences: Sequence[str], size: int) -> None:
        sentencepiece = needed("sentencepiece")
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            try:
                with part.open("wb") as file:
                    sentencepiece.SentencePieceTrainer.train(
                        sentence_iterator=iter(sentences), model_writer=file, vocab_size=size, model_type="bpe",
                        character_coverage=1.0, pad_id=PADDING, bos_id=START, eos_id=END, unk_id=UNKNOWN,
                        num_threads=1, minloglevel=2,
                    )  # fmt: skip
            except RuntimeError as error:
                part.unlink()
                raise ValueError(
                    f"{size} subwords cannot be learned from {len(sentences)} sentences ({error}). There must be more "
                    "than there are characters, and fewer than there are pieces of words: change --vocabulary."
                ) from None
            part.replace(path)
        try:
            self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(path))
        except (RuntimeError, OSError) as error:
            raise ValueError(
                f"{path} holds no subwords ({error}). Delete it to learn them again; networks trained with the file "
                "as it was need its copy."
            ) from None
        self.size, self.digest = self.pieces.vocab_size(), _digest(path.read_bytes())

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Return token numbers."""
        return self.pieces.encode(list(sentences))

    def decode(self, tokens: Tensor) -> list[str]:
        """Return sentences."""
        return self.pieces.decode([[k for k in row if k not in (PADDING, START, END)] for row in tokens.tolist()])


def needed(name: str) -> Any:
    """Return an optional library.

    Raises:
        ValueError: If it is not installed.
    """
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise ValueError(f"{name} is not installed: pip install bayesrnn[translation].") from None


class TokenPairs(Dataset[Any]):
    """Pairs as token numbers: (source with its end, target with its end)."""

    def __init__(self, pairs: Pairs, vocabulary: Vocabulary) -> None:
        both = zip(vocabulary.encode(pairs.source), vocabulary.encode(pairs.target))
        self.rows = [([*source, END], [*target, END]) for source, target in both]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> tuple[list[int], list[int]]:
        return self.rows[row]

    def source(self) -> Tensor:
        """Return all sources, (N, steps)."""
        return padded([source for source, _ in self.rows])

    def target(self) -> Tensor:
        """Return all targets with their ends, (N, steps)."""
        return padded([target for _, target in self.rows])


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Return rows of tokens as one tensor with padding behind."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PADDING] * (longest - len(row))] for row in rows])


class LikeLengths:
    """Batches of rows of like length, in an order that a generator gives anew for each epoch."""

    def __init__(self, lengths: Sequence[int], size: int, generator: torch.Generator | None) -> None:
        self.lengths, self.size, self.generator = torch.tensor(lengths), size, generator

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.arange(len(self.lengths))
        if self.generator is not None:
            order = torch.randperm(len(order), generator=self.generator)
        batches = order[self.lengths[order].argsort(stable=True)].split(self.size)
        places = torch.arange(len(batches))
        if self.generator is not None:
            places = torch.randperm(len(batches), generator=self.generator)
        return iter([batches[int(k)].tolist() for k in places])


def batches(pairs: TokenPairs, size: int, *, shuffled: bool) -> DataLoader[Any]:
    """Return a loader of (source, target so far, target) batches."""
    generator = torch.Generator() if shuffled else None
    sampler = LikeLengths([len(s) + len(t) for s, t in pairs.rows], size, generator)
    return DataLoader(pairs, batch_sampler=sampler, generator=generator, collate_fn=_collated)


def _collated(rows: list[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor, Tensor]:
    known = padded([[START, *target[:-1]] for _, target in rows])
    return padded([source for source, _ in rows]), known, padded([target for _, target in rows])


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
