"""Weights of rows: whole ones repeat a row, others multiply its loss."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import _check_sample_weight
from torch import Tensor, nn

from bayesrnn.training.loss import negative_log_likelihood

_MOST_COPIES = 10
"""Most rows that whole weights may repeat, in units of the rows given."""


@dataclass(frozen=True)
class Rows:
    """What an estimator is trained on: sequences, their lengths, targets and, where they differ, weights."""

    values: Tensor
    sizes: Tensor | None
    target: Tensor
    weights: Tensor | None


class Weighted(nn.Module):
    """Passes the weights of the rows through to the loss."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, weights: Tensor, lengths: Tensor | None = None) -> tuple[Any, Tensor]:
        """Return the model's output and the weights."""
        return self.model(x, lengths), weights


def weighted_loss(output: tuple[Any, Tensor], target: Tensor) -> Tensor:
    """Return the negative log-likelihood of each target times the weight of its row."""
    losses = negative_log_likelihood(output[0], target)
    return losses * output[1].reshape(-1, *[1] * (losses.dim() - 1))


def weights_of(sample_weight: Any, X: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Return the numbers of the rows to train on, and the weights of their losses (None: all 1).

    A whole weight repeats its row, as scikit-learn defines it (0 leaves it out); with fractions, or when more than ten
    times the rows would come out, the weights multiply the losses instead, scaled to a mean of 1.

    Raises:
        ValueError: If a weight is negative or not finite, or all are 0.
    """
    rows = np.arange(len(X))
    if sample_weight is None:
        return rows, None
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise ValueError("Sample weights are all 0, so no row is left to train on. Give some row a positive weight.")
    if (weights == np.floor(weights)).all() and weights.sum() <= _MOST_COPIES * len(rows):
        return np.repeat(rows, weights.astype(np.int64)), None
    kept = rows[weights > 0]
    return kept, weights[kept] / weights[kept].mean()
