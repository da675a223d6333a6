"""`Predictive`, the base of all predictives."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn.predictive.origin import Origin
from bayesrnn.predictive.verbs import Verbs

_ONLY = {  # what only one kind of predictive has: an error about the wrong kind can then say so
    "continuous": {"mean", "std", "variance", "quantile", "interval", "interval_of_mean", "cdf", "sample"},
    "class": {"probabilities", "mode", "variation_ratio"},
    "token": {"perplexity", "nll", "deterministic_perplexity"},
}
_HINTS = {
    "ContinuousPredictive": "mean, std, quantile, interval, cdf, aleatoric and epistemic",
    "ClassPredictive": "probabilities, mode, entropy, aleatoric and epistemic",
    "TokenPredictive": "log_prob, nll, perplexity, entropy, aleatoric and epistemic",
}


class Predictive(Verbs, ABC):
    """The distribution of the target averaged over draws; a frozen value that carries where it came from.

    `bayesrnn.predict` returns one. The `from_...` functions make one of any other model's predictions, so that the
    same metrics, reports and recalibrations judge both.
    """

    origin: Origin

    def to_xarray(self) -> Any:
        """Return an xarray Dataset: the columns of `to_frame()` over row and step, and `draws` over network and draw.

        Raises:
            ImportError: If xarray is not installed.
        """
        from bayesrnn.predictive import exchange

        return exchange.to_xarray(self)

    def to_arviz(self, target: Any = None, seed: int = 0) -> Any:
        """Return a DataTree for ArviZ: `posterior` has the mean (or probabilities) of each draw, over chain and draw.

        `posterior_predictive` has one sample `y` of the target from each draw, `observed_data` the target. The networks
        of an ensemble are the chains. ArviZ before 1.0 has a class of its own:
        ``InferenceData(**{name: group.to_dataset() for name, group in tree.children.items()})``.

        Args:
            target: What happened, (rows, ...), if known.
            seed: Seed of the samples.

        Raises:
            ValueError: If the draws were not kept, or the target does not fit.
            ImportError: If xarray is not installed.
        """
        from bayesrnn.predictive import exchange

        return exchange.to_arviz(self, target, seed)  # type: ignore[arg-type]

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @abstractmethod
    def __getitem__(self, rows: Any) -> "Predictive":
        """The predictive of some rows."""

    @abstractmethod
    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> "Predictive":
        """The predictive on another device or in another floating dtype."""

    @abstractmethod
    def to_frame(self) -> Any:
        """A pandas DataFrame with one line per target."""

    if not TYPE_CHECKING:  # a type checker shall know what is missing

        def __getattr__(self, name: str) -> Any:
            """Name the kind of target that a missing attribute belongs to."""
            fix = ""
            for kind, words in _ONLY.items():
                if name in words:
                    fix = f": that is for {kind} targets. A {type(self).__name__} has {_HINTS[type(self).__name__]}"
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{fix}", name=name, obj=self)

    @property
    def draws_used(self) -> int:
        """Number of draws that were averaged."""
        return self.origin.draws

    @property
    def networks(self) -> int:
        """Number of networks that the draws are of: above 1 for an ensemble."""
        return self.origin.networks

    @property
    def draws_per_row(self) -> Tensor | None:
        """Draws that each row took, (B,), where `tolerance=` let converged rows stop early; else None."""
        return self.origin.draws_per_row

    @property
    def seed(self) -> int | None:
        """Seed of the draws, if known."""
        return self.origin.seed

    @property
    def sampling(self) -> str:
        """How the draws were sampled; "deterministic" where there was nothing to sample."""
        return self.origin.sampling

    @property
    def sequence_ids(self) -> Tensor | None:
        """One id per row, if given."""
        return self.origin.sequence_ids

    @property
    def degrees_of_freedom(self) -> float | None:
        """Degrees of freedom of the standard error, if it came from replicated blocks of draws."""
        if self.origin.degrees_of_freedom is not None:
            return self.origin.degrees_of_freedom
        return float(len(self.origin.blocks()) - 1) or None


def row_key(rows: Any, size: int) -> Any:
    """Return an index that keeps the row axis: a lone integer becomes a slice of one row."""
    if isinstance(rows, bool | tuple):
        raise TypeError(f"rows are chosen by an int, a slice, a list, or a tensor of indices or bools, not {rows!r}.")
    if isinstance(rows, int):
        if not -size <= rows < size:
            raise IndexError(f"row {rows} does not exist: the predictive has {size} rows.")
        return slice(rows % size, rows % size + 1)
    if isinstance(rows, slice):
        return rows
    words = isinstance(rows, str) or (isinstance(rows, Sequence) and any(isinstance(row, str) for row in rows))
    key = None if words or rows is None else torch.as_tensor(rows)
    if key is None or key.is_floating_point() or key.is_complex():
        raise TypeError(f"rows are chosen by an int, a slice, a list, or a tensor of indices or bools, not {rows!r}.")
    return key


def check_step(step: int | slice, shape: torch.Size) -> None:
    """Refuse a step that a predictive of that shape does not have."""
    legal = isinstance(step, slice) or (len(shape) > 1 and -shape[1] <= step < shape[1])
    if len(shape) < 2 or not legal:
        raise ValueError(f"there is no step {step} in a predictive of shape {tuple(shape)} (rows, steps).")


def index_columns(shape: torch.Size, sequence_ids: Tensor | None) -> dict[str, Any]:
    """Return the columns that say which target each line of a table is about."""
    grid = np.indices(tuple(shape)).reshape(len(shape), -1)
    names = ["row", "step", *(f"axis_{k}" for k in range(2, len(shape)))]
    columns: dict[str, Any] = dict(zip(names, grid))
    if sequence_ids is not None:
        columns["sequence_id"] = sequence_ids.cpu().numpy()[grid[0]]
    return columns


def flat(tensor: Tensor) -> Any:
    """Return the values as a flat numpy array."""
    values = tensor.detach().cpu().reshape(-1)
    return values.float().numpy() if values.dtype == torch.bfloat16 else values.numpy()
