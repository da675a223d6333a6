"""`MCDropoutRegressor`."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_array

from bayesrnn.estimators.arrays import check_resolved, to_numpy
from bayesrnn.estimators.base import Lengths, MCDropoutEstimator
from bayesrnn.models import SequenceRegressor
from bayesrnn.models.heads import NumberLikelihood
from bayesrnn.schemes import Scheme


class MCDropoutRegressor(RegressorMixin, MCDropoutEstimator):
    r"""A recurrent network that predicts numbers with intervals, under scikit-learn's contract.

    Trains a `SequenceRegressor` by $-\log p(y \mid x, z)$ over fresh masks z and predicts with the mixture
    $\frac1S \sum_s p(y \mid x, z_s)$. Inputs and (real) targets are standardized inside; predictions are in the
    target's units.

    Args:
        hidden_size: Hidden units.
        num_layers: Recurrent layers.
        dropout: A rate above 0 (= ``schemes.gal(p)``) or a scheme.
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        likelihood: See `SequenceRegressor`.
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
        model_: The trained `SequenceRegressor`; `bayesrnn.save` keeps it.
        history_: Its losses.
        padding_: The step of numbers behind the ends of rows fitted with lengths, where it is a constant.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(40, 6, 2))
        >>> y = X.sum((1, 2))
        >>> low, high = MCDropoutRegressor(epochs=2, draws=16).fit(X, y).predict_interval(X, 0.9)
        >>> low.shape
        (40,)
    """

    def __init__(
        self,
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float | Scheme = 0.1,
        cell: str = "lstm",
        likelihood: NumberLikelihood = "gaussian",
        *,
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 5e-3,
        weight_decay: float = 1e-4,
        gradient_clip: float | None = 1.0,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        draws: int = 100,
        vocabulary: int | None = None,
        device: str = "cpu",
        progress: bool = False,
        random_state: Any = 0,
    ) -> None:
        super().__init__(
            hidden_size, num_layers, dropout, cell, epochs=epochs, batch_size=batch_size, learning_rate=learning_rate,
            weight_decay=weight_decay, gradient_clip=gradient_clip, patience=patience,
            validation_fraction=validation_fraction, draws=draws, vocabulary=vocabulary, device=device,
            progress=progress, random_state=random_state,
        )  # fmt: skip
        self.likelihood = likelihood

    def fit(
        self, X: ArrayLike, y: ArrayLike, lengths: Lengths = None, sample_weight: ArrayLike | None = None
    ) -> "MCDropoutRegressor":
        """Train on sequences X, (rows, steps, features) or (rows, steps), and targets y, (rows,) or (rows, targets).

        Args:
            X: The sequences; NaN behind the end of a row is padding.
            y: The targets.
            lengths: Steps of each row, if some are padded.
            sample_weight: Weight of each row: a whole number repeats it, a fraction scales its loss.

        Raises:
            ValueError: On values that are not finite, unequal numbers of rows, or parameters out of range.
        """
        if y is None:
            raise ValueError("MCDropoutRegressor requires y to be passed, but the target y is None.")
        target = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", estimator=self)
        self._column = target.ndim == 2 and target.shape[1] == 1
        rows = self._rows(X, lengths, target[:, 0] if self._column else target, sample_weight)
        check_resolved(target.reshape(len(target), -1), "y")
        self._seeded()
        scheme = self._scheme()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed_)
            model = SequenceRegressor(
                None if self.vocabulary is not None else rows.values.shape[-1],
                self.hidden_size,
                self.num_layers,
                1 if target.ndim == 1 else target.shape[1],
                scheme,
                self.cell,  # type: ignore[arg-type]
                self.likelihood,
                vocabulary=self.vocabulary,
            )
        rows = replace(rows, target=rows.target.float())
        model.standardize(rows.values, rows.target, rows.sizes)
        self._train(model, rows)
        return self

    def predict(
        self, X: ArrayLike, return_std: bool = False, lengths: Lengths = None
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]:
        """Return the predictive mean of each row and, if asked, its standard deviation (aleatoric and epistemic).

        Raises:
            TypeError: If `return_std` is neither True nor False.
        """
        if not isinstance(return_std, bool):
            raise TypeError(
                f"return_std must be True or False, but a {type(return_std).__name__} was given. Lengths are passed as "
                "lengths=."
            )
        result = self.predict_distribution(X, lengths)
        mean = self._shaped(result.mean)
        return (mean, self._shaped(result.std)) if return_std else mean

    def predict_interval(
        self, X: ArrayLike, level: float = 0.9, lengths: Lengths = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the lower and upper ends of the central interval of each row that holds `level` of the predictive."""
        low, high = self.predict_distribution(X, lengths).interval(level)
        return self._shaped(low), self._shaped(high)

    def score(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, lengths: Lengths = None
    ) -> float:
        """Return the coefficient of determination of the predictive mean, 1 at best."""
        return float(r2_score(y, self.predict(X, lengths=lengths), sample_weight=sample_weight))

    def _shaped(self, tensor: torch.Tensor) -> NDArray[Any]:
        values = to_numpy(tensor)
        return values[:, None] if self._column else values

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.multi_output = True
        return tags
