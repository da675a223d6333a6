"""The result of `linearize`: moments of a prediction, and where its epistemic variance comes from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from bayesrnn.inference.linear.uncertainty_sources import Sources
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive


@dataclass(frozen=True, eq=False, repr=False)
class LinearPredictive:
    r"""The predictive to first order in the masks, without any draws: $f(z) \approx f(1) + J (z - 1)$.

    The epistemic variance is $\sum_j J_j^2\, p_j / (1 - p_j)$, and each term has a place. Of classes the epistemic part
    is the mutual information to second order, $\frac12 \sum_k \mathrm{Var}\,p_k / p_k$, nats.

    Attributes:
        predictive: Mean, aleatoric and epistemic part; probabilities and entropies of classes.
        beyond: Epistemic part that the first order misses, from a few draws, (B, ...); None without draws.
        beyond_error: Its Monte Carlo standard error.
    """

    predictive: ContinuousPredictive | ClassPredictive
    contributions: Sources
    feature_names: Sequence[Any] | None = None
    vocabulary: Sequence[Any] | None = None
    beyond: Tensor | None = None
    beyond_error: Tensor | None = None

    @property
    def mean(self) -> Tensor:
        """Mean of the target in the deterministic pass, (B, ...)."""
        return self._continuous.mean

    @property
    def probabilities(self) -> Tensor:
        """Probabilities of the classes in the deterministic pass, (B, ..., K)."""
        if not isinstance(self.predictive, ClassPredictive):
            raise AttributeError("a continuous target has no probabilities: see mean and std.")
        return self.predictive.probabilities

    @property
    def aleatoric(self) -> Tensor:
        """Variance given the network, target units squared; of classes the rest of the entropy, nats, (B, ...)."""
        return self.predictive.aleatoric

    @property
    def epistemic(self) -> Tensor:
        """First-order variance of the mean over masks; of classes mutual information, nats, (B, ...)."""
        return self.predictive.epistemic

    @property
    def variance(self) -> Tensor:
        """Aleatoric + epistemic, (B, ...)."""
        return self._continuous.variance

    @property
    def std(self) -> Tensor:
        """Square root of the variance, target units, (B, ...)."""
        return self._continuous.std

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the central interval of the Gaussian with this mean and variance, each (B, ...)."""
        return self._continuous.moment_matched().interval(level)

    def sources(self, by: str = "site") -> Any:
        """Return a DataFrame of what the epistemic part comes from, with a line per row, step and name.

        Args:
            by: "place" (the address of a mask, such as `lstm.hidden_l0`), "site", "layer", "direction", "feature"
                (inputs of the first recurrent layers) or "word" (word types). What has no feature or word is
                `elsewhere`.

        Returns:
            Columns: row, (step,) the name, `variance` (of classes: mutual information, nats), and `share` of the row's.

        Raises:
            ValueError: If `by` is none of these, or no mask is on features or words.
        """
        names = {"feature": self.feature_names, "word": self.vocabulary}.get(by)
        return self.contributions.table(by, names)

    @property
    def shape(self) -> Any:
        """Shape of the target, (B, ...)."""
        return self.predictive.shape

    @property
    def _continuous(self) -> ContinuousPredictive:
        if not isinstance(self.predictive, ContinuousPredictive):
            raise AttributeError("a class target has neither mean nor variance: see probabilities and epistemic.")
        return self.predictive

    def with_draws(self, drawn: ContinuousPredictive | ClassPredictive) -> "LinearPredictive":
        """Return the same with the variance beyond the first order, estimated from draws under control variates."""
        beyond, error = drawn.epistemic - self.epistemic, drawn.standard_errors["epistemic"]
        return replace(self, beyond=beyond, beyond_error=error)

    def __len__(self) -> int:
        return len(self.predictive)

    def __repr__(self) -> str:
        return f"LinearPredictive(shape={tuple(self.shape)}, places={list(self.contributions.places)})"
