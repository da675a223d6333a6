"""The reviews as the paper's code prepares them: word ids by frequency, consecutive segments, two ways to split.

Protocol of the published code: words are what stands between spaces (the line end of a review is one of them), lower
case, numbered by frequency over ALL reviews; 0 pads, 1 starts a review, 2 stands for rare words; each review is cut
into consecutive segments of 200 words that all have its rating; segments are padded in front.
"""

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evaluation.sentiment.reviews import Reviews, read_scale_reviews

START, RARE, FIRST_WORD = 1, 2, 3
KNOWN_WORDS = 20_000
VOCABULARY = KNOWN_WORDS + FIRST_WORD
SEGMENT = 200


@dataclass(frozen=True)
class Segments:
    """Segments of reviews.

    Attributes:
        tokens: (N, steps), padded in front with 0.
        ratings: (N,), float64, in [0, 1].
        reviews: Which review each segment is of, (N,).
    """

    tokens: Tensor
    ratings: Tensor
    reviews: Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: Tensor | slice) -> "Segments":
        """Return some of the segments."""
        return Segments(self.tokens[rows], self.ratings[rows], self.reviews[rows])


@dataclass(frozen=True)
class Split:
    """Segments to train on, to choose with (None on the paper's split), and to test on; and where they are from."""

    name: str
    train: Segments
    validation: Segments | None
    test: Segments
    data: tuple[Path, ...] = ()

    @property
    def center(self) -> float:
        """Mean rating of the training segments."""
        return float(self.train.ratings.mean())

    @property
    def scale(self) -> float:
        """Standard deviation of the training ratings (divided by N, as numpy does)."""
        return float(self.train.ratings.std(correction=0))

    def standardized(self, ratings: Tensor) -> Tensor:
        """Return ratings in units of the training ratings, float32."""
        return ((ratings - self.center) / self.scale).float()

    def constant_error(self) -> float:
        """RMSE on the test segments of the constant that is best on the training segments."""
        return float((self.test.ratings - self.center).square().mean().sqrt())


def word_numbers(texts: tuple[str, ...]) -> dict[str, int]:
    """Return the rank of every word by frequency, from 1; equally frequent words in the order of their first place."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(words(text))
    return {word: rank for rank, (word, _) in enumerate(sorted(counts.items(), key=lambda item: -item[1]), 1)}


def words(text: str) -> list[str]:
    """Split at single spaces, lower case; the line end stays, as a word."""
    return [word for word in text.lower().split(" ") if word]


def segments(reviews: Reviews, steps: int = SEGMENT, seed: int = 0) -> Segments:
    """Shuffle the reviews and cut each into segments of `steps` words."""
    numbers = word_numbers(reviews.texts)
    order = np.arange(len(reviews))
    np.random.RandomState(seed).shuffle(order)
    tokens, ratings, owners = [], [], []
    for review in order.tolist():
        ids = [START] + [numbers[word] + FIRST_WORD for word in words(reviews.texts[review])]
        ids = [RARE if i >= KNOWN_WORDS else i for i in ids]
        for start in range(0, len(ids), steps):
            piece = ids[start : start + steps]
            tokens.append([0] * (steps - len(piece)) + piece)
            ratings.append(float(reviews.ratings[review]))
            owners.append(review)
    return Segments(torch.tensor(tokens), torch.tensor(ratings, dtype=torch.float64), torch.tensor(owners))


def paper_split(whole: Segments) -> Split:
    """First 80 % of the segments to train on, the rest to test on; one review straddles, and nothing is held out."""
    edge = int(len(whole) * (1 - 0.2))
    return Split("paper", whole.take(slice(0, edge)), None, whole.take(slice(edge, len(whole))))


def sound_split(whole: Segments, seed: int = 0) -> Split:
    """70 % of the REVIEWS to train on, 10 % to choose with, 20 % to test on: no review is on two sides."""
    names = torch.unique(whole.reviews)
    names = names[torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))]
    edges = [round(share * len(names)) for share in (0.7, 0.8)]
    parts = [torch.isin(whole.reviews, part) for part in torch.tensor_split(names, edges)]
    train, validation, test = (whole.take(part) for part in parts)
    return Split("sound", train, validation, test)


def load_split(name: str, steps: int = SEGMENT, limit: int | None = None) -> Split:
    """Read the reviews from `$BAYESRNN_DATA/cornell_scale` and split them; `limit` reads that many reviews only.

    Raises:
        ValueError: If the split is unknown or the environment names no folder.
    """
    makers = {"paper": paper_split, "sound": sound_split}
    if name not in makers:
        raise ValueError(f"split must be one of {sorted(makers)}, but {name!r} was given.")
    folder = os.environ.get("BAYESRNN_DATA")
    if not folder:
        raise ValueError("set BAYESRNN_DATA to the folder that holds cornell_scale/scaledata.")
    place = Path(folder) / "cornell_scale"
    reviews = read_scale_reviews(place)
    if limit is not None:
        keep = torch.randperm(len(reviews), generator=torch.Generator().manual_seed(0))[:limit].sort().values
        rows = keep.tolist()
        chosen = tuple(reviews.texts[r] for r in rows), reviews.ratings[keep], tuple(reviews.authors[r] for r in rows)
        reviews = Reviews(*chosen)
    return replace(makers[name](segments(reviews, steps)), data=(place,))


def synthetic_split(name: str, reviews: int = 200, steps: int = 40) -> Split:
    """Invented reviews of good and bad words, for trying the machinery where the data are absent."""
    generator = torch.Generator().manual_seed(0)
    quality = torch.rand(reviews, generator=generator, dtype=torch.float64)
    good = torch.rand(reviews, 60, generator=generator, dtype=torch.float64) < quality[:, None]
    number = torch.randint(0, 30, (reviews, 60), generator=generator)
    texts = tuple(
        " ".join(f"{'good' if g else 'bad'}{n}" for g, n in zip(line, row, strict=True)) + " \n"
        for line, row in zip(good.tolist(), number.tolist(), strict=True)
    )
    ratings = (quality + 0.1 * torch.randn(reviews, generator=generator, dtype=torch.float64)).clamp(0, 1)
    whole = segments(Reviews(texts, ratings, ("nobody",) * reviews), steps)
    return paper_split(whole) if name == "paper" else sound_split(whole)
