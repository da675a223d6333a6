"""`MCDropoutClassifier`."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from bayesrnn.estimators.arrays import to_numpy
from bayesrnn.estimators.base import Lengths, MCDropoutEstimator
from bayesrnn.models import SequenceClassifier


class MCDropoutClassifier(ClassifierMixin, MCDropoutEstimator):
    r"""A recurrent network whose class probabilities are averaged over draws, under scikit-learn's contract.

    Trains a `SequenceClassifier` and predicts $\frac1S \sum_s p(y \mid x, z_s)$. `predict_distribution` splits the
    entropy of that distribution into its aleatoric and epistemic parts.

    Args:
        hidden_size: Hidden units.
        num_layers: Recurrent layers.
        dropout: A rate above 0 (= ``schemes.gal(p)``) or a scheme.
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        epochs: How often to see every row.
        batch_size: Rows per batch.
        learning_rate: Step size of AdamW.
        weight_decay: Decay of AdamW.
        gradient_clip: Largest norm of the gradient, or None.
        patience: Stop after so many epochs without a better loss on held-out rows, and keep the best weights; None to
            train on all rows to the end.
        validation_fraction: Share of the rows held out if there is patience.
        draws: Draws that a prediction averages over.
        vocabulary: Word types, if X holds tokens.
        device: Where to train and predict.
        progress: Whether to show a bar on a terminal.
        random_state: Seed of the initial weights, the order of the rows and the masks.

    Attributes:
        classes_: The labels, sorted.
        model_: The trained `SequenceClassifier`; `bayesrnn.save` keeps it, with its labels.
        history_: Its losses.
        padding_: The step of numbers behind the ends of rows fitted with lengths, where it is a constant.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(40, 6, 2))
        >>> labels = np.where(X.sum((1, 2)) > 0, "up", "down")
        >>> MCDropoutClassifier(epochs=2, draws=16).fit(X, labels).predict_proba(X).shape
        (40, 2)
    """

    def fit(
        self, X: ArrayLike, y: ArrayLike, lengths: Lengths = None, sample_weight: ArrayLike | None = None
    ) -> "MCDropoutClassifier":
        """Train on sequences X, (rows, steps, features) or (rows, steps), and labels y, (rows,).

        Args:
            X: The sequences; NaN behind the end of a row is padding.
            y: The labels: numbers or texts.
            lengths: Steps of each row, if some are padded.
            sample_weight: Weight of each row: a whole number repeats it, a fraction scales its loss.

        Raises:
            ValueError: On values that are not finite, unequal numbers of rows, one class only, or parameters out of
                range.
        """
        if y is None:
            raise ValueError("MCDropoutClassifier requires y to be passed, but the target y is None.")
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        index = np.unique(labels, return_inverse=True)[1]
        rows = self._rows(X, lengths, index, sample_weight)
        present, target = np.unique(rows.target.numpy(), return_inverse=True)  # a weight of 0 may leave no row of one
        self.classes_ = np.unique(labels)[present]
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds only 1 class, {self.classes_.tolist()}; a classifier needs at least two to tell apart."
            )
        self._seeded()
        scheme = self._scheme()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed_)
            model = SequenceClassifier(
                None if self.vocabulary is not None else rows.values.shape[-1],
                self.hidden_size,
                len(self.classes_),
                self.num_layers,
                scheme,
                self.cell,  # type: ignore[arg-type]
                vocabulary=self.vocabulary,
                labels=self.classes_.tolist(),
            )
        model.standardize(rows.values, rows.sizes)
        self._train(model, replace(rows, target=torch.as_tensor(target).long()))
        return self

    def predict_distribution(self, X: ArrayLike, lengths: Lengths = None) -> Any:
        """Return the predictive of each row, averaged over draws, its classes named by `classes_`. See the regressor's.

        Metrics, reports and comparisons of it take labels that are texts as they are; numbers as `y.astype(str)`.
        """
        return super().predict_distribution(X, lengths).with_class_names(self.classes_.tolist())

    def predict_proba(self, X: ArrayLike, lengths: Lengths = None) -> NDArray[Any]:
        """Return the probability of each class, (rows, classes), averaged over draws; columns as in `classes_`."""
        probabilities = to_numpy(self.predict_distribution(X, lengths).probabilities)
        return probabilities / probabilities.sum(1, keepdims=True)

    def predict(self, X: ArrayLike, lengths: Lengths = None) -> NDArray[Any]:
        """Return the most probable label of each row."""
        best = self.predict_proba(X, lengths).argmax(1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, lengths: Lengths = None
    ) -> float:
        """Return the share of rows whose most probable label is theirs."""
        return float(accuracy_score(y, self.predict(X, lengths), sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags
