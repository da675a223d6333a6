"""The verbs that make a predictive, whatever made the prediction."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution

from bayesrnn.predictive.origin import Origin

if TYPE_CHECKING:
    from bayesrnn.predictive.make import ClassPredictive, ContinuousPredictive


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


class Predictive(ABC):
    """The distribution of the target averaged over draws; a frozen value that carries where it came from.

    `bayesrnn.predict` returns one. The `from_...` functions make one of any other model's predictions, so that the
    same metrics, reports and recalibrations judge both.
    """

    origin: Origin

    # The constructors hand over to `make`, which knows the subclasses: the one import that runs back up.

    @staticmethod
    def from_gaussian(mean: Tensor, std: Tensor, *, sequence_ids: Tensor | None = None) -> "ContinuousPredictive":
        """Return the predictive N(mean, std^2), all of whose variance counts as aleatoric.

        Targets are independent given this predictive, also the steps of one row: `paths` of (rows, steps) are noise
        around the mean, and their totals are too sure where errors of neighbouring steps go together.

        Args:
            mean: Shape (rows, ...), target units.
            std: Same shape, or one that broadcasts to it; positive.
            sequence_ids: One id per row.

        Raises:
            ValueError: If a value is not finite or a std is not positive.

        Example:
            >>> Predictive.from_gaussian(torch.zeros(3), torch.ones(3)).quantile(0.5)
            tensor([0., 0., 0.])
        """
        from bayesrnn.predictive import make

        return make.gaussian(mean, std, sequence_ids)

    @staticmethod
    def from_samples(
        samples: Any, *, seed: int | None = None, sequence_ids: Tensor | None = None, axis: int | None = None
    ) -> "ContinuousPredictive":
        """Return the predictive known through samples of the target, shape (draws, rows, ...).

        The samples must be of the target, noise included; means of draws without the noise are too narrow (for those
        use `from_draws`). Quantiles finer than the samples resolve are refused.

        Args:
            samples: A tensor, array or list.
            seed: Seed of the samples.
            sequence_ids: One id per row.
            axis: Which axis holds the draws, such as -1; the first if not given, unless it is unclear.

        Raises:
            ValueError: If there is one draw only, a value is not finite, or the array looks like one of darts or MAPIE
                whose draws are not on axis 0.
        """
        from bayesrnn.predictive import make

        return make.samples(samples, seed, sequence_ids, axis)

    @staticmethod
    def from_probabilities(
        p: Tensor, *, class_names: Sequence[Any] | None = None, sequence_ids: Tensor | None = None
    ) -> "ClassPredictive":
        """Return the class predictive of probabilities of shape (draws, rows, ..., classes).

        A (rows, classes) tensor is taken as one draw: no epistemic part, no Monte Carlo error. A probability of 0 is
        taken as the smallest number of its dtype, so that its logarithm is finite. With `class_names` targets may be
        texts.

        Raises:
            ValueError: If a value is not a probability or the classes of a row do not add up to 1.
        """
        from bayesrnn.predictive import make

        return make.probabilities(p, class_names, sequence_ids)

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
            sequence_ids: One id per row.

        Raises:
            TypeError: If it is no Distribution.
            ValueError: If the batch shape lacks an axis of draws or rows, or a parameter is NaN.
        """
        from bayesrnn.predictive import make

        origin = {"seed": seed, "sampling": sampling, "block_size": block_size, "sequence_ids": sequence_ids}
        return make.draws(distribution, {**origin, "degrees_of_freedom": degrees_of_freedom}, standard_error)

    @staticmethod
    def from_quantiles(levels: Any, values: Any, *, sequence_ids: Tensor | None = None) -> "ContinuousPredictive":
        """Return the predictive through quantiles of the target, values of shape (levels, rows, ...).

        Between the levels it is straight in normal scores, and beyond them each tail is normal,
        through the two outermost quantiles: quantiles of a Gaussian give that Gaussian. Crossing
        quantiles are counted in a warning and sorted. There is no split into aleatoric and epistemic, and no paths.

        Args:
            levels: At least two cumulative probabilities, (L,).
            values: Quantiles, levels on axis 0, target units.
            sequence_ids: One id per row.

        Raises:
            ValueError: If levels are not in (0, 1), shapes differ, or a value is not finite.

        Example:
            >>> predictive = Predictive.from_quantiles([0.1, 0.5, 0.9], torch.tensor([[-1.0], [0.0], [1.0]]))
            >>> predictive.quantile(0.9)
            tensor([1.])
        """
        from bayesrnn.predictive import make

        return make.quantiles(levels, values, sequence_ids)

    @staticmethod
    def from_intervals(
        level: Any, low: Any, high: Any = None, median: Any = None, *, sequence_ids: Tensor | None = None
    ) -> "ContinuousPredictive":
        """Return the predictive through the ends of central intervals: `from_quantiles` at (1 - p)/2 and (1 + p)/2.

        Args:
            level: Probability of the interval, or a list of them.
            low: Lower ends, (rows, ...), or (levels, rows, ...) for a list; without `high` both ends, (rows, 2, levels)
                as MAPIE has them.
            high: Upper ends, the same shape.
            median: The median, (rows, ...), if known.
            sequence_ids: One id per row.

        Raises:
            ValueError: If a level is not in (0, 1), shapes differ, or an end lies on the wrong side.
        """
        from bayesrnn.predictive import make

        return make.intervals(level, low, high, median, sequence_ids)

    @staticmethod
    def from_frame(
        frame: Any, model: str | None = None, *, level: float | None = None
    ) -> "ContinuousPredictive | ClassPredictive":
        """Return the predictive of another library's table of forecasts, or of what `to_frame` wrote.

        Known are neuralforecast and statsforecast (`LSTM-lo-80`, `LSTM-median`, `LSTM_ql0.1`), sktime and skpro
        (`predict_interval`, `predict_quantiles`), darts (`load_q0.100`, `load_s0`, a TimeSeries), GluonTS (a
        list of forecasts) and statsmodels (`summary_frame`). Quantiles become a predictive as in `from_quantiles`.

        Args:
            frame: The table. Series and times in columns `unique_id` and `ds`, or in the index, give shape (series,
                steps), in the order of ids and times; dated lines without series (1, steps); other lines (rows,).
            model: Which model or variable, where the table holds several.
            level: Level of the intervals, where statsmodels does not write it into the table.

        Raises:
            ValueError: If no known columns or not the model are there, there are several cutoffs, a line is there
                twice, or series differ in length.
            TypeError: If it is no table.

        Example:
            >>> import pandas as pd
            >>> table = pd.DataFrame({"unique_id": "a", "ds": [1, 2], "GRU-lo-80": [0.0, 1], "GRU-hi-80": [2.0, 4]})
            >>> Predictive.from_frame(table).quantile(0.5)
            tensor([[1.0000, 2.5000]], dtype=torch.float64)
        """
        from bayesrnn.predictive import frames

        return frames.frame(frame, model, level)

    @staticmethod
    def concatenate(parts: Sequence["Predictive"]) -> Any:
        """Return the predictive of the rows of all parts, one after the other: of batches, files or series.

        Draws are kept where all parts have the same number of them, ids where all have some.

        Raises:
            ValueError: If the parts differ in steps, classes or class names.
            TypeError: If they are no predictives, or of several kinds.

        Example:
            >>> one = Predictive.from_gaussian(torch.zeros(3), torch.ones(3))
            >>> len(Predictive.concatenate([one, one[:1]]))
            4
        """
        from bayesrnn.predictive import joining

        return joining.concatenated(parts)

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
