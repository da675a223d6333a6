"""What both estimators do: check the sequences, train, and draw with masks that belong to a row's content."""

import hashlib
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted, validate_data
from torch import Tensor, nn

from bayesrnn._checks import check_lengths
from bayesrnn.estimators.arrays import (
    check_regular,
    check_resolved,
    inside,
    learned_padding,
    unpadded,
    whole,
    without_nan_ends,
)
from bayesrnn.estimators.weights import Rows, Weighted, weighted_loss, weights_of
from bayesrnn.inference import predict
from bayesrnn.models.encoder import scheme_of
from bayesrnn.predictive import Predictive
from bayesrnn.schemes import Scheme
from bayesrnn.training import History, fit

Lengths = Iterable[int] | Tensor | None


class MCDropoutEstimator(BaseEstimator):
    """What both estimators share. Subclasses build the model and read its predictive."""

    # with scikit-learn's metadata routing enabled, lengths and weights reach fit and score without further requests
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"lengths": True, "sample_weight": True}
    __metadata_request__score: ClassVar[dict[str, bool]] = {"lengths": True, "sample_weight": True}
    __metadata_request__predict: ClassVar[dict[str, bool]] = {"lengths": True}

    padding_: NDArray[Any] | None
    _padded: bool
    _dims: int
    model_: nn.Module
    history_: History

    def __init__(
        self,
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float | Scheme = 0.1,
        cell: str = "lstm",
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
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.cell = cell
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.draws = draws
        self.vocabulary = vocabulary
        self.device = device
        self.progress = progress
        self.random_state = random_state

    def predict_distribution(self, X: ArrayLike, lengths: Lengths = None) -> Any:
        """Return the predictive of each row, averaged over `draws` draws of masks.

        The masks of a row follow from its content and from `random_state`, so that a row's prediction does not depend
        on the rows it comes with.

        Args:
            X: (rows, steps, features), or (rows, steps) for one feature or for tokens.
            lengths: Steps of each row, if some are padded. Without them a row ends before trailing NaN, and, where the
                estimator was fitted with lengths, before trailing steps of the padding it saw then.
        """
        check_is_fitted(self, "model_")
        values, sizes = self._sequences(X, lengths, fitting=False)
        result = predict(
            self.model_,
            values.to(self.device),
            draws=self.draws,
            seed=self.seed_,
            sequence_ids=_identities(values, sizes),
            lengths=sizes,
        )
        return result if isinstance(result, Predictive) else result[0]

    def _train(self, model: nn.Module, rows: Rows) -> None:
        """Train on all rows, or with patience on those that are not held out to watch."""
        data = {"x": rows.values, "target": rows.target}
        data |= {} if rows.sizes is None else {"lengths": rows.sizes}
        data |= {} if rows.weights is None else {"weights": rows.weights}
        data = {key: value.to(self.device) for key, value in data.items()}
        held_out = None
        if self.patience is not None:
            watch, learn = self._split(rows.values.shape[0])
            held_out = {key: value[watch.to(value.device)] for key, value in data.items()}
            data = {key: value[learn.to(value.device)] for key, value in data.items()}
        self.history_ = fit(
            model.to(self.device) if rows.weights is None else Weighted(model).to(self.device),
            data,
            held_out,
            loss=None if rows.weights is None else weighted_loss,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            gradient_clip=self.gradient_clip,
            patience=self.patience,
            seed=self.seed_,
            progress=self.progress,
        )
        self.model_ = model

    def _split(self, rows: int) -> tuple[Tensor, Tensor]:
        if not 0.0 < self.validation_fraction < 1.0:
            raise ValueError(
                f"validation_fraction must lie in (0, 1), but {self.validation_fraction!r} was given; patience watches "
                "those rows."
            )
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(self.seed_))
        count = round(rows * self.validation_fraction)
        if not 0 < count < rows:
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of {rows} rows leaves {count} to watch and "
                f"{rows - count} to learn from; both need at least one."
            )
        return order[:count], order[count:]

    def _seeded(self) -> None:
        """Fix the seed of this fit; with a RandomState it differs from fit to fit, as scikit-learn has it."""
        if isinstance(self.random_state, int | np.integer):
            self.seed_ = int(self.random_state)
        else:
            self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))

    def _scheme(self) -> Scheme:
        scheme = scheme_of(self.dropout)
        if not scheme.active:
            raise ValueError(
                "dropout must be above 0 (or a scheme with a rate above 0): without masks there are no draws to "
                "average, and no epistemic uncertainty. Use bayesrnn.models and bayesrnn.fit for a deterministic net."
            )
        return scheme

    def _rows(self, X: ArrayLike, lengths: Lengths, y: NDArray[Any], sample_weight: ArrayLike | None) -> Rows:
        """Return the rows to train on: weighted, and in an order that follows from their content.

        So the trained model does not depend on the order in which the rows were given.
        """
        values, sizes = self._sequences(X, lengths, fitting=True)
        check_consistent_length(values, y)
        chosen, weights = weights_of(sample_weight, values)
        columns = y.reshape(len(y), -1)[chosen].T
        order = np.lexsort((*columns, _identities(values, sizes).numpy()[chosen]))
        chosen = chosen[order]
        return Rows(
            values[chosen],
            None if sizes is None else sizes[chosen],
            torch.as_tensor(y[chosen]),
            None if weights is None else torch.as_tensor(weights[order], dtype=torch.float32),
        )

    def _sequences(self, X: ArrayLike, lengths: Lengths, *, fitting: bool) -> tuple[Tensor, Tensor | None]:
        """Check X and return it as (rows, steps, features) or tokens (rows, steps), with the lengths."""
        check_regular(X)
        given = None if lengths is None else _whole_lengths(lengths, X)
        X, ends = without_nan_ends(X, given)
        if fitting:
            self._dims = np.asarray(X).ndim
        array = self._checked(X, fitting, free_width=ends is not None or (not fitting and self._padded))
        steps = array.reshape(*array.shape[:2], -1)
        if fitting:
            self._padded = ends is not None and bool((ends < array.shape[1]).any())
            self.padding_ = learned_padding(steps, ends) if self._padded and ends is not None else None
        elif ends is None and self._padded:
            ends = self._unpadded(steps)
        sizes = None if ends is None else check_lengths(torch.as_tensor(ends), array.shape[0], array.shape[1])
        if self.vocabulary is not None:
            return torch.as_tensor(whole(array)), sizes
        if fitting:
            check_resolved(steps[inside(ends, steps.shape)], "X")
        return torch.as_tensor(steps.astype(np.float32)), sizes

    def _checked(self, X: Any, fitting: bool, free_width: bool) -> NDArray[Any]:
        """Return X as a checked array; padded 2-D rows may have another number of steps than in `fit`."""
        name, dims = type(self).__name__, np.asarray(X).ndim
        if not fitting and dims in (2, 3) and dims != self._dims:
            raise ValueError(
                f"X has {dims} dimensions, but {name} was fitted with {self._dims}: (rows, steps) for one feature or "
                "tokens, (rows, steps, features) else."
            )
        if dims != 3 and not (free_width and not fitting):
            return validate_data(self, X, dtype=np.float64, reset=fitting)
        array: NDArray[Any] = check_array(X, allow_nd=True, dtype=np.float64, estimator=self, input_name="X")
        if fitting:
            self.n_features_in_ = array.shape[2]
        elif array.ndim == 3 and array.shape[2] != self.n_features_in_:
            raise ValueError(
                f"X has {array.shape[2]} features per step, but {name} was fitted with {self.n_features_in_}."
            )
        return array

    def _unpadded(self, steps: NDArray[Any]) -> NDArray[Any]:
        if self.padding_ is None:
            raise ValueError(
                f"{type(self).__name__} was fitted with lengths, but none came with these rows, and what lay behind "
                "the ends of the training rows does not tell where a row ends. Pass lengths= here too, or put NaN "
                "behind the end of each row in fit and here. In cross-validation call sklearn.set_config("
                "enable_metadata_routing=True) and pass params={'lengths': lengths}."
            )
        return unpadded(steps, self.padding_)


def _whole_lengths(lengths: Lengths, X: Any) -> NDArray[Any]:
    values = np.asarray(X)
    steps = values.shape[1] if values.ndim > 1 else 1
    return check_lengths(lengths, len(values), steps).numpy()  # type: ignore[arg-type]


def _identities(values: Tensor, sizes: Tensor | None) -> Tensor:
    """Return a number in [0, 2**63) for the content of each row, padding left out."""
    steps = [values.shape[1]] * values.shape[0] if sizes is None else sizes.tolist()
    rows = [row[:count].contiguous().numpy().tobytes() for row, count in zip(values, steps)]
    digests = [hashlib.blake2b(row, digest_size=8).digest() for row in rows]
    return torch.tensor([int.from_bytes(digest, "little") >> 1 for digest in digests])
