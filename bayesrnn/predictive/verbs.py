"""Methods that make predictives from other predictions, and join several."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.distributions import Distribution

if TYPE_CHECKING:
    from bayesrnn.predictive.base import Predictive
    from bayesrnn.predictive.classes import ClassPredictive
    from bayesrnn.predictive.continuous import ContinuousPredictive


class Verbs:
    """What every predictive inherits: how predictions come in and are joined."""

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
            >>> import torch; from bayesrnn import Predictive
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
            >>> import torch; from bayesrnn import Predictive
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
            >>> import torch; from bayesrnn import Predictive
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
            >>> import torch; from bayesrnn import Predictive
            >>> one = Predictive.from_gaussian(torch.zeros(3), torch.ones(3))
            >>> len(Predictive.concatenate([one, one[:1]]))
            4
        """
        from bayesrnn.predictive import joining

        return joining.concatenated(parts)
