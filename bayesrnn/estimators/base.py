"""What both estimators do: check the sequences, train, and draw with masks that belong to a row's content."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data
from torch import Tensor, nn

from bayesrnn._checks import check_lengths
from bayesrnn.estimators.arrays import check_regular, check_resolved, whole
from bayesrnn.inference import predict
from bayesrnn.models.encoder import scheme_of
from bayesrnn.predictive import Predictive
from bayesrnn.schemes import Scheme
from bayesrnn.training import History, fit

__all__ = ["MCDropoutEstimator"]

Lengths = Iterable[int] | Tensor | None


class MCDropoutEstimator(BaseEstimator):
    """The shared part. Subclasses build the model and read its predictive."""

    hidden_size: int
    num_layers: int
    dropout: float | Scheme
    cell: str
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    gradient_clip: float | None
    patience: int | None
    validation_fraction: float
    draws: int
    vocabulary: int | None
    device: str
    progress: bool
    random_state: Any
    model_: nn.Module
    history_: History

    def predict_distribution(self, X: ArrayLike, lengths: Lengths = None) -> Any:
        """Return the predictive of each row, averaged over `draws` draws of masks.

        The masks of a row follow from its content and from `random_state`, so that a row's prediction does not depend
        on the rows it comes with.

        Args:
            X: (rows, steps, features), or (rows, steps) for one feature or for tokens.
            lengths: Steps of each row, if some are padded.
        """
        check_is_fitted(self, "model_")
        values, sizes = self._sequences(X, lengths, fitting=False)
        found = predict(
            self.model_,
            values.to(self.device),
            draws=self.draws,
            seed=self.seed_,
            sequence_ids=_identities(values, sizes),
            lengths=sizes,
        )
        return found if isinstance(found, Predictive) else found[0]

    def _train(self, model: nn.Module, values: Tensor, sizes: Tensor | None, target: Tensor) -> None:
        """Train on all rows, or with patience on those that are not held out to watch."""
        data = {"x": values, "target": target} | ({} if sizes is None else {"lengths": sizes})
        data = {key: value.to(self.device) for key, value in data.items()}
        held_out = None
        if self.patience is not None:
            watch, learn = self._split(values.shape[0])
            held_out = {key: value[watch.to(value.device)] for key, value in data.items()}
            data = {key: value[learn.to(value.device)] for key, value in data.items()}
        self.history_ = fit(
            model.to(self.device),
            data,
            held_out,
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

    def _sequences(self, X: ArrayLike, lengths: Lengths, *, fitting: bool) -> tuple[Tensor, Tensor | None]:
        check_regular(X)
        if np.asarray(X).ndim == 3:
            array = check_array(X, allow_nd=True, dtype=np.float64, estimator=self, input_name="X")
            if fitting:
                self.n_features_in_ = array.shape[2]
            elif array.shape[2] != self.n_features_in_:
                raise ValueError(
                    f"X has {array.shape[2]} features a step, but {type(self).__name__} was fitted with "
                    f"{self.n_features_in_}."
                )
        else:
            array = validate_data(self, X, dtype=np.float64, reset=fitting)
        sizes = None if lengths is None else check_lengths(lengths, array.shape[0], array.shape[1])
        if self.vocabulary is not None:
            return torch.as_tensor(whole(array)), sizes
        array = array.reshape(*array.shape[:2], -1)
        if fitting:
            inside = (
                np.ones(array.shape[:2], bool) if sizes is None else np.arange(array.shape[1]) < sizes.numpy()[:, None]
            )
            check_resolved(array[inside], "X")
        return torch.as_tensor(array.astype(np.float32)), sizes


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """Return the values of a tensor, wherever it lies, as float64."""
    return tensor.detach().cpu().double().numpy()


def _identities(values: Tensor, sizes: Tensor | None) -> Tensor:
    """Return a number in [0, 2**63) for the content of each row, padding left out."""
    steps = [values.shape[1]] * values.shape[0] if sizes is None else sizes.tolist()
    rows = [row[:count].contiguous().numpy().tobytes() for row, count in zip(values, steps)]
    digests = [hashlib.blake2b(row, digest_size=8).digest() for row in rows]
    return torch.tensor([int.from_bytes(digest, "little") >> 1 for digest in digests])
