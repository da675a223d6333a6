"""Conformal sets of classes: each holds the true class with a chosen probability."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bayesrnn._checks import as_values, check_choice, check_level, check_number, check_seed, check_whole
from bayesrnn.metrics.pairs import pair
from bayesrnn.predictive import ClassPredictive
from bayesrnn.predictive.probabilities import class_numbers
from bayesrnn.recalibration.conformal import conformal_rank
from bayesrnn.recalibration.protocol import FEWEST

Groups = Sequence[Any] | NDArray[Any] | None
_SCORES = ("lac", "aps", "raps")


@dataclass(frozen=True, eq=False)
class ClassSets:
    """Sets of classes, one per row.

    Attributes:
        members: (rows, classes) booleans: which classes are in the set.
        names: Names of the classes.
        level: The probability with which a set should hold the true class.
        groups: Group of each row, if the sets were made by group.
    """

    members: NDArray[np.bool_]
    names: tuple[str, ...]
    level: float
    groups: tuple[Any, ...] | None = None

    def __len__(self) -> int:
        return len(self.members)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of classes in each set, (rows,)."""
        return self.members.sum(1)

    def texts(self, separator: str = "|") -> list[str]:
        """Return each set as a text, its classes in their order."""
        return [separator.join(name for name, is_in in zip(self.names, row) if is_in) for row in self.members]

    def holds(self, target: Any) -> NDArray[np.bool_]:
        """Return whether each set holds its target, (rows,): a tensor of class numbers, or names of classes."""
        return self.members[np.arange(len(self)), self._places(target)]

    def coverage(self, target: Any, groups: Groups = None) -> Any:
        """Return a DataFrame with coverage, its 95 % Clopper-Pearson interval and mean size: all, by class, by group.

        Example:
            >>> sets = ClassSets(np.array([[True, False], [True, True]]), ("a", "b"), 0.9)
            >>> sets.coverage(["a", "b"])["size"].tolist()  # of all, of class a, of class b
            [1.5, 1.0, 2.0]
        """
        import pandas as pd
        from scipy.stats import binomtest

        held, sizes = self.holds(target), self.sizes
        names = np.asarray(self.names)[self._places(target)]
        groups = self.groups if groups is None else groups
        parts = {("all", "all"): np.ones(len(self), bool)}
        parts |= {("class", name): names == name for name in self.names if (names == name).any()}
        if groups is not None:
            labels = np.asarray([str(group) for group in groups])
            parts |= {("group", label): labels == label for label in sorted(set(labels))}
        lines = []
        for (kind, part), rows in parts.items():
            low, high = binomtest(int(held[rows].sum()), int(rows.sum())).proportion_ci(0.95, "exact")
            share, size = float(held[rows].mean()), float(sizes[rows].mean())
            lines.append(
                {"kind": kind, "part": part, "rows": int(rows.sum()), "coverage": share, "low": low, "high": high,
                 "size": size}
            )  # fmt: skip
        return pd.DataFrame(lines)

    def _places(self, target: Any) -> NDArray[Any]:
        """Return the number of each target's class."""
        if len(target) != len(self):
            raise ValueError(f"there are {len(self)} sets but {len(target)} targets: give one per row.")
        places = as_values(class_numbers(target, self.names), "target").cpu().numpy()
        if places.dtype.kind != "i" or ((places < 0) | (places >= len(self.names))).any():
            raise ValueError(f"class targets must be whole numbers in 0..{len(self.names) - 1}, or names of classes.")
        return places


class ConformalSets:
    r"""Sets of classes that hold the true one with probability at least `level`, whatever the model is worth.

    A score $s(x, y)$ says how strange class y is for row x. Of n held-out scores q is the one of rank
    $\lceil (n + 1) \text{level} \rceil$, infinite beyond n; the set of a new row is $\{y : s(x, y) \le q\}$. If
    held-out and new rows are exchangeable it holds the class with probability between level and level + 1/(n + 1).

    With $\bar p$ the mean probabilities, r the rank of class y among them and u uniform in [0, 1]:

    $$\text{lac} = 1 - \bar p_y \qquad \text{aps} = \sum_{k : r_k < r_y} \bar p_k + u\, \bar p_y \qquad
    \text{raps} = \text{aps} + \lambda \max(0, r_y - r_0)$$

    Sets of "lac" are smallest on average; sets of "aps" cover hard rows as well as easy ones; "raps" cuts large ones.
    A set may be empty: then no class is usual enough.

    Args:
        score: "lac", "aps" or "raps".
        by: None; "class", where each class has a q of its own; or "group", where each group has.
        penalty: $\lambda$ of raps.
        free: $r_0$ of raps: classes without penalty.
        seed: Seed of u, which belongs to the id of a row (its number, where it has none).

    Source: Sadinle, Lei & Wasserman 2019 (arXiv:1609.00451); Romano, Sesia & Candès 2020 (arXiv:2006.02544);
        Angelopoulos et al. 2021 (arXiv:2009.14193).

    Example:
        >>> from bayesrnn.predictive import Predictive
        >>> import torch
        >>> p = torch.distributions.Dirichlet(torch.ones(3)).sample((1, 200))
        >>> y = torch.distributions.Categorical(p[0]).sample()
        >>> sets = ConformalSets("aps").fit(Predictive.from_probabilities(p), y).apply(Predictive.from_probabilities(p))
        >>> sets.members.shape
        (200, 3)
    """

    name = "conformal_sets"

    def __init__(
        self, score: str = "lac", by: str | None = None, *, penalty: float = 0.01, free: int = 1, seed: int = 0
    ) -> None:
        self.score = check_choice(score, "score", _SCORES)
        self.by = by if by is None else check_choice(by, "by", ("class", "group"))
        self.penalty = check_number(penalty, "penalty", "finite and at least 0", 0.0)
        self.free, self.seed = check_whole(free, "free", 0), check_seed(seed)
        self.scores: dict[str, list[float]] | None = None

    def fit(self, predictive: ClassPredictive, target: Any, groups: Groups = None) -> Self:
        """Keep the scores of held-out rows.

        Args:
            predictive: Of rows that neither trained nor selected the model, one class per row.
            target: Their classes, by number or name.
            groups: Their groups, where `by` is "group".

        Raises:
            ValueError: If there are fewer than 30 rows, targets do not fit, or groups are missing.
        """
        index = pair(_checked(predictive), target, {}).target
        if len(predictive) < FEWEST:
            raise ValueError(
                f"ConformalSets needs at least {FEWEST} held-out rows, but {len(predictive)} were given: their ranks "
                "say too little. Hold out more rows."
            )
        classes = index.cpu().numpy().astype(int)  # type: ignore[union-attr]
        own = self._scores(predictive, "fit")[np.arange(len(classes)), classes]
        parts = self._parts(len(predictive), groups, [predictive.names[k] for k in classes])
        self.scores = {part: np.sort(own[parts == part]).tolist() for part in sorted(set(parts.tolist()))}
        return self

    def apply(self, predictive: ClassPredictive, groups: Groups = None, *, level: float = 0.9) -> ClassSets:
        """Return the sets of other rows.

        Raises:
            ValueError: If nothing was fitted, or a group was not among the held-out rows.
        """
        level = check_level(level)
        if self.scores is None:
            raise ValueError("these ConformalSets were not fitted: call fit(predictive, target) on held-out rows.")
        scores = self._scores(_checked(predictive), "apply")
        if self.by == "class":  # a class that was not held out has no rank: it is in every set
            bounds = np.array([self._bound(name, level) for name in predictive.names])[None, :]
        else:
            parts = self._parts(len(predictive), groups, None)
            unknown = sorted(set(parts.tolist()) - set(self.scores))
            if unknown:
                raise ValueError(
                    f"the group {unknown[0]!r} was not among the held-out rows ({', '.join(list(self.scores)[:10])}): "
                    "nothing is known of its scores. Fit with rows of it, or without by='group'."
                )
            bounds = np.array([self._bound(part, level) for part in parts])[:, None]
        kept = None if groups is None else tuple(groups)
        return ClassSets(scores <= bounds, predictive.names, level, kept)

    def to_dict(self) -> dict[str, Any]:
        """Return name, settings and held-out scores as JSON values."""
        settings = {name: getattr(self, name) for name in ("score", "by", "penalty", "free", "seed")}
        return {"name": self.name, "settings": settings, "scores": self.scores}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make the sets that `to_dict` described."""
        sets = cls(**values["settings"])
        sets.scores = values["scores"]
        return sets

    def _bound(self, part: str, level: float) -> float:
        known = (self.scores or {}).get(part, [])
        rank = conformal_rank(len(known), level)
        return known[rank - 1] if rank <= len(known) else math.inf

    def _parts(self, rows: int, groups: Groups, classes: list[str] | None) -> NDArray[Any]:
        """Return which held-out scores each row goes by."""
        if self.by == "class" and classes is not None:
            return np.asarray(classes)
        if self.by != "group":
            return np.full(rows, "all")
        if groups is None or len(groups) != rows:
            given = "none were" if groups is None else f"{len(groups)} were"
            raise ValueError(f"by='group' needs the group of each of the {rows} rows, but {given} given: groups=[...].")
        return np.asarray([str(group) for group in groups])

    def _scores(self, predictive: ClassPredictive, purpose: str) -> NDArray[np.float64]:
        """Return the score of every class, (rows, classes)."""
        p = predictive.log_mean.double().exp().cpu().numpy()
        if self.score == "lac":
            return 1 - p
        order = np.argsort(-p, 1, kind="stable")
        ranks = np.argsort(order, 1, kind="stable") + 1
        before = np.take_along_axis(np.cumsum(np.take_along_axis(p, order, 1), 1), ranks - 1, 1) - p
        ids = range(len(p)) if predictive.sequence_ids is None else predictive.sequence_ids.tolist()
        aps = before + np.array([_uniform(f"{purpose}/{self.seed}/{i}") for i in ids])[:, None] * p
        return aps if self.score == "aps" else aps + self.penalty * np.maximum(0, ranks - self.free)


def _checked(predictive: Any) -> ClassPredictive:
    if not isinstance(predictive, ClassPredictive) or len(predictive.shape) != 1:
        raise ValueError(
            "ConformalSets are made of a ClassPredictive with one class per row, but "
            f"{type(predictive).__name__} of shape {tuple(getattr(predictive, 'shape', ()))} was given."
        )
    return predictive


def _uniform(key: str) -> float:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") / 2**64
