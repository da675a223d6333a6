"""The confusion matrix: which class was observed, and which was predicted."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from bayesrnn.metrics._reliability import check_classes
from bayesrnn.metrics.pairs import pair
from bayesrnn.metrics.score import Array, Options
from bayesrnn.predictive import Predictive

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    r"""How many targets of each class were predicted as which class: $C_{jk} = \#\{y = j, \hat y = k\}$.

    Attributes:
        counts: (K, K), rows observed, columns predicted.
        class_names: Name of each class; its number where there are no names.
    """

    counts: NDArray[np.int64]
    class_names: tuple[str, ...]

    @property
    def shares(self) -> Array:
        """Each row as shares of its targets, (K, K); NaN in the row of a class that was not observed."""
        total = self.counts.sum(1, keepdims=True)
        return np.divide(self.counts, total, out=np.full(self.counts.shape, np.nan), where=total > 0)

    def to_frame(self) -> "DataFrame":
        """Return the counts with the names of the classes: index observed, columns predicted."""
        import pandas as pd

        names = list(self.class_names)
        return pd.DataFrame(
            self.counts, index=pd.Index(names, name="observed"), columns=pd.Index(names, name="predicted")
        )

    def by_class(self) -> "DataFrame":
        """Return one line per class: targets, predictions, and the share that is right of each (recall, precision)."""
        import pandas as pd

        observed, predicted, right = self.counts.sum(1), self.counts.sum(0), self.counts.diagonal()
        unknown = np.full(len(right), np.nan)
        return pd.DataFrame(
            {
                "class": self.class_names,
                "observed": observed,
                "predicted": predicted,
                "recall": np.divide(right, observed, out=unknown.copy(), where=observed > 0),
                "precision": np.divide(right, predicted, out=unknown.copy(), where=predicted > 0),
            }
        )

    def confusions(self, most: int = 10) -> "DataFrame":
        """Return the most frequent mistakes, one per line: observed, predicted, targets."""
        wrong = self.counts * (1 - np.eye(len(self.counts), dtype=np.int64))
        frame = type(self)(wrong, self.class_names).to_frame().stack().rename("targets").reset_index()
        return frame[frame["targets"] > 0].sort_values("targets", ascending=False, kind="stable").head(most)


def confusion_matrix(predictive: Predictive, target: Any, **options: Unpack[Options]) -> ConfusionMatrix:
    """Count which class was observed against the most probable class.

    Args:
        predictive: Of classes.
        target: Class numbers, or their names where the predictive has `class_names`; (rows, ...).
        **options: mask, lengths and nan of `metrics.Options`.

    Raises:
        ValueError: If the predictive is not of classes, or the target does not fit it.

    Example:
        >>> import torch
        >>> p = Predictive.from_probabilities(torch.eye(2)[[0, 1, 1]], class_names=["cat", "dog"])
        >>> confusion_matrix(p, ["cat", "cat", "dog"]).counts.tolist()
        [[1, 1], [0, 1]]
    """
    check_classes(predictive, "confusion_matrix", tokens=False)
    pairs = pair(predictive, target, options)
    judged = pairs.predictive
    observed, predicted = (
        pairs.take(index).astype(np.int64) for index in (judged.class_index(pairs.target), judged.mode)
    )
    size = judged.classes
    counts = np.bincount(observed * size + predicted, minlength=size**2).reshape(size, size)
    return ConfusionMatrix(counts.astype(np.int64), judged.names)
