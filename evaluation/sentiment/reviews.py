"""Rated texts: film reviews with a rating each, and snippets with the ratings of many people."""

import math
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["SCALE_AUTHORS", "RatedSnippets", "Reviews", "read_rated_snippets", "read_scale_reviews"]

SCALE_AUTHORS = ("Dennis+Schwartz", "James+Berardinelli", "Scott+Renshaw", "Steve+Rhodes")
"""The four authors of the scale data, in the order in which their reviews are usually read."""


@dataclass(frozen=True)
class Reviews:
    """Texts with a rating and an author each.

    Attributes:
        texts: One review each, line end included where the file has one.
        ratings: (N,), float64, in [0, 1].
        authors: Name of the author of each.

    Raises:
        ValueError: If texts, ratings and authors differ in number, or the ratings are not one number each.
    """

    texts: tuple[str, ...]
    ratings: Tensor
    authors: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_same_number(texts=self.texts, ratings=self.ratings, authors=self.authors)
        if isinstance(self.ratings, Tensor) and self.ratings.dim() != 1:
            raise ValueError(
                f"ratings must be one number a text, (N,), but the shape is {tuple(self.ratings.shape)}. For several "
                "raters of one text use RatedSnippets."
            )

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class RatedSnippets:
    """Texts that several people rated.

    Attributes:
        ids: Of each snippet.
        texts: One snippet each.
        ratings: The ratings of each, in the scale of the raters.

    Raises:
        ValueError: If ids, texts and ratings differ in number.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    ratings: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        _check_same_number(ids=self.ids, texts=self.texts, ratings=self.ratings)

    @property
    def mean(self) -> Tensor:
        """Mean rating of each, (N,), float64."""
        return torch.stack([values.mean() for values in self.ratings])

    @property
    def variance(self) -> Tensor:
        """Unbiased variance of the ratings of each, (N,), float64: noise of a label, as measured."""
        return torch.stack([values.var() for values in self.ratings])

    def __len__(self) -> int:
        return len(self.texts)


def read_scale_reviews(folder: str | os.PathLike[str], authors: Sequence[str] = SCALE_AUTHORS) -> Reviews:
    """Read the scale dataset v1.0: per author a folder with `subj.<author>` and `rating.<author>`, line by line.

    Source: Pang & Lee (2005), Seeing stars, ACL.

    Args:
        folder: Which holds the authors' folders, or holds `scaledata`, which does.
        authors: Whose reviews to read, in this order.

    Raises:
        TypeError: If `authors` is one text instead of several.
        ValueError: If a folder or file is missing, texts and ratings differ in number, or a rating is not in [0, 1].
    """
    if isinstance(authors, str):
        raise TypeError(
            f"authors must be a list of names, but the text {authors!r} was given, whose letters would be taken as "
            f"names. For one author pass [{authors!r}]."
        )
    root = Path(folder)
    root = root / "scaledata" if (root / "scaledata").is_dir() else root
    if not root.is_dir():
        raise ValueError(f"the folder {root} does not exist. Give the folder that holds the authors' folders.")
    texts: list[str] = []
    ratings: list[float] = []
    names: list[str] = []
    for author in authors:
        if not (root / author).is_dir():
            present = sorted(p.name for p in root.iterdir() if p.is_dir())
            raise ValueError(f"there is no author folder {author!r} in {root}; the folders there are {present}.")
        lines = _lines(root / author / f"subj.{author}")
        values = [_rating(line, author, k) for k, line in enumerate(_lines(root / author / f"rating.{author}"), 1)]
        if len(lines) != len(values):
            raise ValueError(
                f"{author} has {len(lines)} texts but {len(values)} ratings; line i of one file must match line i of "
                "the other. Fetch both files from the same release."
            )
        texts += lines
        ratings += values
        names += [author] * len(lines)
    return Reviews(tuple(texts), torch.tensor(ratings, dtype=torch.float64), tuple(names))


def read_rated_snippets(texts: str | os.PathLike[str], ratings: str | os.PathLike[str]) -> RatedSnippets:
    """Read snippets and the ratings of many people, as the VADER data hold them, tab separated.

    A line of `texts` is id, mean rating, text; a line of `ratings` is id, mean, standard deviation, [ratings].

    Source: Hutto & Gilbert (2014), VADER, ICWSM.

    Raises:
        ValueError: If a file is missing, a line has another form, a rating is no finite number, an id comes twice, or
            the ids of the files differ.
    """
    by_id: dict[str, str] = {}
    for number, line in enumerate(_lines(Path(texts), "utf-8-sig"), 1):
        parts = line.rstrip("\r\n").split("\t", 2)
        if len(parts) != 3:
            raise ValueError(f"line {number} of {Path(texts).name} must be id, mean and text, tab separated: {line!r}.")
        _check_new(parts[0], by_id, number, Path(texts))
        by_id[parts[0]] = parts[2]
    rated: dict[str, Tensor] = {}
    for number, line in enumerate(_lines(Path(ratings), "utf-8-sig"), 1):
        parts = line.rstrip("\r\n").split("\t", 3)
        values = _numbers(parts[3]) if len(parts) == 4 else None
        if values is None or len(values) < 2:
            raise ValueError(
                f"line {number} of {Path(ratings).name} must be id, mean, standard deviation and at least two "
                f"ratings, finite numbers as in [1, -2, 0.5], tab separated: {line!r}."
            )
        _check_new(parts[0], rated, number, Path(ratings))
        rated[parts[0]] = torch.tensor(values, dtype=torch.float64)
    differing = sorted(set(by_id) ^ set(rated))
    if differing:
        raise ValueError(
            f"{len(differing)} ids are in one file only (such as {differing[:3]}): {len(by_id)} texts, {len(rated)} "
            "lists of ratings. Fetch both files from the same release."
        )
    ids = tuple(by_id)
    return RatedSnippets(ids, tuple(by_id[i] for i in ids), tuple(rated[i] for i in ids))


def _numbers(text: str) -> list[float] | None:
    """Return the numbers of a list in brackets; None where something in it is no finite number."""
    inner = text.strip()
    if not (inner.startswith("[") and inner.endswith("]")):
        return None
    try:
        values = [float(part) for part in inner[1:-1].split(",")]
    except ValueError:
        return None
    return values if all(math.isfinite(value) for value in values) else None


def _check_new(name: str, known: Collection[str], number: int, path: Path) -> None:
    if name in known:
        raise ValueError(
            f"the id {name!r} in line {number} of {path.name} came before; each id must stand once, or a text would "
            "get the ratings of another. Was the file put together from two?"
        )


def _check_same_number(**parts: Any) -> None:
    counts = {name: len(values) for name, values in parts.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise ValueError(f"there must be as many of each, but {listed} were given: item i of one belongs to item i.")


def _lines(path: Path, encoding: str = "latin-1") -> list[str]:
    if not path.is_file():
        raise ValueError(f"the file {path} does not exist.")
    with path.open(encoding=encoding, newline="\n") as file:
        return list(file)


def _rating(line: str, author: str, number: int) -> float:
    try:
        value = float(line)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"rating {number} of {author} must be a number in [0, 1], but it is {line.strip()!r}.")
    return value
