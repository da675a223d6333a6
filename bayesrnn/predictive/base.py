"""`Predictive`, the base of all predictives."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

from bayesrnn.predictive.distributions.abstract import AbstractDistribution
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
_DRAWS_FIRST = ("draw_log_probabilities", "block_log_prob")  # fields with draws in front of the rows
_WIDE = ("log_mean", "expected_entropy", "network_entropy")  # fields that stay in float64


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

    @property
    @abstractmethod
    def shape(self) -> torch.Size:
        """Shape of the target, (B, ...)."""

    def __len__(self) -> int:
        """Number of rows."""
        return self.shape[0]

    @abstractmethod
    def to_frame(self) -> Any:
        """A pandas DataFrame with one line per target."""

    def to(self, device: Any = None, dtype: torch.dtype | None = None) -> Self:
        """Return the predictive on another device or in another floating dtype."""
        if isinstance(device, torch.dtype):
            device, dtype = None, device

        def move(tensor: Tensor, wide: bool = False) -> Tensor:
            return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() and not wide else None)

        own = {f.name: dtype for f in fields(self) if dtype is not None and f.name == "dtype"}  # type: ignore[arg-type]
        return self._changed(lambda name, t: move(t, name in _WIDE), lambda d: d.cast(move), **own)

    def __getitem__(self, rows: Any) -> Self:
        """The predictive of some rows."""
        key = row_key(rows, len(self))
        return self._selected(key, origin=self.origin.map_ids(lambda ids: ids[key]))

    def at_step(self, step: int | slice) -> Self:
        """Return the predictive of one step of targets (B, T, ...), or of a slice of the steps."""
        legal = isinstance(step, slice) or (len(self.shape) > 1 and -self.shape[1] <= step < self.shape[1])
        if len(self.shape) < 2 or not legal:
            raise ValueError(f"there is no step {step} in a predictive of shape {tuple(self.shape)} (rows, steps).")
        return self._selected(slice(None), step)

    def _selected(self, *key: Any, **more: Any) -> Self:
        """The predictive of the targets at a key of (rows, ...), with `more` of its fields changed."""

        def pick(name: str, tensor: Tensor) -> Tensor:
            return tensor[(slice(None), *key) if name in _DRAWS_FIRST else key]

        return self._changed(pick, lambda d: d.select(key if len(key) > 1 else key[0]), **more)

    def _changed(
        self,
        tensor: Callable[[str, Tensor], Tensor],
        distribution: Callable[[AbstractDistribution], AbstractDistribution],
        **more: Any,
    ) -> Self:
        """The predictive after a change of its tensors, given with the names of their fields, and its distribution."""
        for field in fields(self):  # type: ignore[arg-type]
            name, value = field.name, getattr(self, field.name)
            if isinstance(value, Tensor):
                more[name] = tensor(name, value)
            elif isinstance(value, AbstractDistribution):
                more[name] = distribution(value)
            elif isinstance(value, dict):
                more[name] = {key: tensor(name, item) for key, item in value.items()}
        return replace(self, **more)  # type: ignore[type-var]

    if not TYPE_CHECKING:  # a type checker shall know what is missing

        def __getattr__(self, name: str) -> Any:
            """Name the kind of target that a missing attribute belongs to."""
            fix = ""
            for kind, words in _ONLY.items():
                if name in words:
                    fix = f": that is for {kind} targets. A {type(self).__name__} has {_HINTS[type(self).__name__]}"
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{fix}", name=name, obj=self)

    def __repr__(self) -> str:
        classes = f"classes={self.classes}, " if hasattr(type(self), "classes") else ""  # type: ignore[attr-defined]
        return (
            f"{type(self).__name__}(shape={tuple(self.shape)}, {classes}draws={self.draws_used}, "
            f"sampling={self.sampling!r}, seed={self.seed})"
        )

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
