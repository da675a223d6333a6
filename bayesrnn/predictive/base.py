"""The verbs that make a predictive, whatever made the prediction."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from bayesrnn._checks import check_finite
from bayesrnn.likelihoods import families
from bayesrnn.predictive.origin import DETERMINISTIC, Origin

if TYPE_CHECKING:
    from bayesrnn.predictive.classes import ClassPredictive
    from bayesrnn.predictive.continuous import ContinuousPredictive


class Predictive(ABC):
    """The distribution of the target averaged over draws; a frozen value that carries where it came from.

    `bayesrnn.predict` returns one. The `from_...` functions make one of any other model's predictions, so that the
    same metrics, reports and recalibrations judge both.
    """

    origin: Origin

    @staticmethod
    def from_gaussian(mean: Tensor, std: Tensor, *, sequence_ids: Tensor | None = None) -> "ContinuousPredictive":
        """Return the predictive N(mean, std^2), all of whose variance counts as aleatoric.

        Args:
            mean: Shape (rows, ...), target units.
            std: Same shape, or one that broadcasts to it; positive.
            sequence_ids: One id a row.

        Raises:
            ValueError: If a value is not finite or a std is not positive.

        Example:
            >>> Predictive.from_gaussian(torch.zeros(3), torch.ones(3)).quantile(0.5)
            tensor([0., 0., 0.])
        """
        from bayesrnn.predictive.continuous import ContinuousPredictive
        from bayesrnn.predictive.distributions.mixture import MixtureDistribution

        mean = _floating(mean, "mean")
        std = _floating(std, "std").to(mean)
        if mean.dim() < 1:
            raise ValueError("mean must have shape (rows, ...), but a single number was given: mean[None] makes a row.")
        try:
            std = std.expand(mean.shape)
        except RuntimeError:
            raise ValueError(
                f"std of shape {tuple(std.shape)} does not fit mean of shape {tuple(mean.shape)}: give one std a mean."
            ) from None
        check_finite(mean, "mean")
        check_finite(std, "std")
        if bool((std <= 0).any()):
            rows = (std <= 0).reshape(len(std), -1).any(1).nonzero().flatten()[:5].tolist()
            raise ValueError(
                f"std must be positive, but it is zero or negative in rows {rows}. A std of 0 claims certainty; if you "
                "have a variance pass its square root, if a log variance pass exp(0.5 * it)."
            )
        distribution = MixtureDistribution(Normal(mean[None], std[None], validate_args=False))
        return ContinuousPredictive(distribution, Origin(1, sampling=DETERMINISTIC, sequence_ids=sequence_ids))

    @staticmethod
    def from_samples(
        samples: Tensor, *, seed: int | None = None, sequence_ids: Tensor | None = None
    ) -> "ContinuousPredictive":
        """Return the predictive known through samples of the target, shape (draws, rows, ...).

        The samples must be of the target, noise included; means of draws without the noise are too narrow (for those
        use `from_draws`). Quantiles finer than the samples resolve are refused.

        Raises:
            ValueError: If there is one draw only, or a value is not finite.
        """
        from bayesrnn.predictive.continuous import ContinuousPredictive
        from bayesrnn.predictive.distributions.empirical import EmpiricalDistribution

        distribution = EmpiricalDistribution(samples)
        return ContinuousPredictive(distribution, Origin(len(samples), seed, "samples", sequence_ids=sequence_ids))

    @staticmethod
    def from_probabilities(p: Tensor, *, sequence_ids: Tensor | None = None) -> "ClassPredictive":
        """Return the class predictive of probabilities of shape (draws, rows, ..., classes).

        A (rows, classes) tensor is taken as one draw: no epistemic part, no Monte Carlo error.

        Raises:
            ValueError: If a value is not a probability or the classes of a row do not add up to 1.
        """
        from bayesrnn.predictive.classes import ClassPredictive, check_probabilities

        p = _floating(p, "p")
        if p.dim() < 2:
            raise ValueError(f"p must have shape (draws, rows, classes) or (rows, classes), not {tuple(p.shape)}.")
        if p.dim() == 2:
            logs = check_probabilities(p).log()[None]
            origin = Origin(1, sampling=DETERMINISTIC, sequence_ids=sequence_ids)
        else:
            logs = check_probabilities(p.transpose(0, 1)).transpose(0, 1).log()
            origin = Origin(len(p), sequence_ids=sequence_ids)
        return ClassPredictive.from_log_probabilities(logs, origin=origin, dtype=p.dtype)

    @staticmethod
    def from_draws(
        distribution: Distribution,
        *,
        standard_error: Tensor | None = None,
        degrees_of_freedom: float | None = None,
        seed: int | None = None,
        sampling: str = "independent",
        block_size: int = 1,
        sequence_ids: Tensor | None = None,
    ) -> "ContinuousPredictive | ClassPredictive":
        """Return the predictive that averages S per-draw distributions of batch shape (S, B, ...).

        Args:
            distribution: Distribution of the target given each draw. Categorical and Bernoulli give a class predictive.
            standard_error: Monte Carlo error of the mean (B, ...) or the probabilities (B, ..., K), where the caller
                knows it; otherwise it is computed from the blocks of draws.
            degrees_of_freedom: Of that standard error.
            seed: Seed of the draws.
            sampling: How they were drawn; "deterministic" says that the one draw is exact (no Monte Carlo error).
            block_size: Consecutive draws that depend on one another (a stratified block); 1 when independent.
            sequence_ids: One id a row.

        Raises:
            TypeError: If it is no Distribution.
            ValueError: If the batch shape lacks an axis of draws or rows, or a parameter is NaN.
        """
        from bayesrnn.predictive.classes import ClassPredictive, class_log_probabilities
        from bayesrnn.predictive.continuous import ContinuousPredictive
        from bayesrnn.predictive.distributions.mixture import MixtureDistribution

        kind = families.family(distribution)
        if len(distribution.batch_shape) < 2 - (len(distribution.event_shape) if kind != "class" else 0):
            raise ValueError(
                "the distribution must have batch shape (draws, rows, ...), but it is "
                f"{tuple(distribution.batch_shape)}. For one draw add an axis in front: Normal(mean[None], std[None])."
            )
        size = distribution.batch_shape[0]
        origin = Origin(size, seed, sampling, block_size, sequence_ids, degrees_of_freedom)
        if kind == "class":
            families.check_parameters(distribution)
            logs = class_log_probabilities(distribution)
            return ClassPredictive.from_log_probabilities(
                logs, origin=origin, dtype=logs.dtype, standard_error=standard_error
            )
        return ContinuousPredictive(MixtureDistribution(distribution), origin, standard_error)

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
        """A pandas DataFrame with a line a target."""

    @property
    def draws_used(self) -> int:
        """Number of draws that were averaged."""
        return self.origin.draws

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
        """One id a row, if given."""
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
    return rows if isinstance(rows, slice) else torch.as_tensor(rows)


def _floating(value: Any, name: str) -> Tensor:
    if not isinstance(value, Tensor):
        try:
            value = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(f"{name} must be a tensor, but a {type(value).__name__} was given.") from None
    return value.detach() if value.is_floating_point() else value.detach().float()
