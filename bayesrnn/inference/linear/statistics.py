r"""Mean and variance of draws f, given their linear part $L = J (z - 1)$ of variance v.

The mean is controlled by the mean of L, which is known to be 0, and the variance by its variance; $s^2$ is unbiased
over blocks of draws:

$$\hat\mu = \bar f - \hat\beta \bar L \qquad \widehat{\mathrm{Var}} f = s^2_f - \hat\gamma\, (s^2_L - v)$$

Both are unbiased whatever L is (see `Halves` for the coefficients), and the closer f is to $f(1) + L$, the smaller
their error. With coefficients of 1 the variance is $v + 2\,\mathrm{cov}(L, R) + \mathrm{Var}\,R$, $R = f - L$. Standard
errors come from replicated blocks of what the estimates move by to first order.
"""

from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from bayesrnn.inference.accumulators import ClassStatistics, Statistics, statistics_of
from bayesrnn.inference.linear.halves import Halves
from bayesrnn.inference.linear.rescaled import rescaled
from bayesrnn.inference.linear.targets import is_class, targets
from bayesrnn.inference.outputs import OutputDistribution, parameters
from bayesrnn.inference.statistics import JointMoments, Replicates

_NAMES = ("mean", "aleatoric", "epistemic", "variance")


@dataclass(frozen=True, eq=False)
class ControlledStatistics(Statistics):
    """Statistics of a continuous target.

    Attributes:
        halves: Of the vectors (T, L, T^2, L^2, A, M): T = f - f(1), A the variance of the draw less its value at the
            mean of the masks, M the linear part of A.
        mean: f(1), (B, ...).
        known: v, the variance of L, (B, ...).
        noise: The variance at the mean of the masks, (B, ...).
        dtype: Of the results.
    """

    halves: Halves
    mean: Tensor
    known: Tensor
    noise: Tensor
    dtype: torch.dtype

    @property
    def replicates(self) -> Replicates:
        """The means of the draws less their linear part."""
        return self._weighted.map(lambda moments: moments.columns(0))

    def merge(self, other: "ControlledStatistics") -> "ControlledStatistics":
        """Return the statistics of both."""
        return replace(self, halves=self.halves.merge(other.halves))

    def rows(self, index: Tensor) -> "ControlledStatistics":
        """Return the statistics of some rows."""
        rows = self.mean[index], self.known[index], self.noise[index]
        return ControlledStatistics(self.halves.rows(index), *rows, self.dtype)

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean, aleatoric and epistemic variance, (B, ...), float64; a variance below 0 becomes 0."""
        average = self._weighted.mean
        epistemic = self.halves.average(self._epistemic)
        return self.mean + average[..., 0], (self.noise + average[..., 1]).clamp(min=0), epistemic.clamp(min=0)

    def _epistemic(self, half: Replicates, other: JointMoments | None) -> Tensor:
        """Return the variance of the draws' means in one half."""
        spread, gamma = half.variance, self._coefficients(other)[1]
        return spread[..., 0, 0] - gamma * (spread[..., 1, 1] - self.known)

    def errors(self) -> dict[str, Tensor]:
        """Return the standard errors of the moments."""
        return dict(zip(_NAMES, self._weighted.standard_error.unbind(-1)))

    def adjusted(self, distribution: OutputDistribution) -> OutputDistribution:
        """Return the draws' distributions, moved and widened to these moments."""
        return rescaled(distribution, *self.moments())

    @cached_property
    def _weighted(self) -> Replicates:
        return self.halves.weighted(self._weights)

    def _coefficients(self, other: JointMoments | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the coefficients of mean, variance and noise, (B, ...) each."""
        if other is None:
            one = torch.ones_like(self.mean)
            return one, one, one
        s, t, m = other.scatter, other.mean[..., 0], other.mean[..., 1]
        both = s[..., 2, 3] - 2 * (t * s[..., 0, 3] + m * s[..., 1, 2]) + 4 * t * m * s[..., 0, 1]
        own = s[..., 3, 3] - 4 * m * s[..., 1, 3] + 4 * m.square() * s[..., 1, 1]
        gamma = _ratio(both, own)  # of (T - t)^2 and (L - m)^2
        return _ratio(s[..., 0, 1], s[..., 1, 1]), gamma, _ratio(s[..., 4, 5], s[..., 5, 5])

    def _weights(self, other: JointMoments | None) -> Tensor:
        r"""Return the weights of what mean, aleatoric, epistemic and variance move by, (B, ..., 6, 4).

        The variance moves by $T^2 - 2 \bar T T - \hat\gamma (L^2 - 2 \bar L L)$.
        """
        zero, one, mean = torch.zeros_like(self.mean), torch.ones_like(self.mean), self.halves.whole.mean
        beta, gamma, noise = self._coefficients(other)
        spread = -2 * mean[..., 0], 2 * gamma * mean[..., 1], one, -gamma
        columns = [
            (one, -beta, zero, zero, zero, zero),
            (zero, zero, zero, zero, one, -noise),
            (*spread, zero, zero),
            (*spread, one, -noise),
        ]
        return torch.stack([torch.stack(column, -1) for column in columns], -1)


@dataclass(frozen=True, eq=False)
class ControlledClassStatistics(ClassStatistics):
    """Statistics of a class target.

    Attributes:
        halves: Of the vectors of K probabilities, the entropy, and the linear parts of these.
    """

    halves: Halves = field(default_factory=lambda: Halves(None, None))

    @property
    def replicates(self) -> Replicates:
        """The probabilities of the draws less their linear part."""
        return self._weighted(self.probabilities.mean).map(lambda m: m.columns(slice(self._classes)))

    def merge(self, other: ClassStatistics) -> "ControlledClassStatistics":
        """Return the statistics of both."""
        return _with(super().merge(other), self.halves.merge(cast("ControlledClassStatistics", other).halves))

    def rows(self, index: Tensor) -> "ControlledClassStatistics":
        """Return the statistics of some rows."""
        return _with(super().rows(index), self.halves.rows(index))

    @property
    def log_mean(self) -> Tensor:
        """Logarithms of the mean probabilities; of the plain draws where a controlled mean is below 0."""
        mean = self.replicates.mean
        legal = (mean > 0).all(-1, keepdim=True)
        return torch.where(legal, torch.where(legal, mean, 1.0).log(), super().log_mean)

    @property
    def expected_entropy(self) -> Tensor:
        """Mean entropy of a draw, (B, ...)."""
        return self._weighted(self.probabilities.mean).mean[..., self._classes + 1].clamp(min=0)

    def errors(self) -> dict[str, Tensor]:
        """Return the standard errors of the averages."""
        error = self._weighted(self.log_mean.exp()).standard_error
        names = ("entropy", "aleatoric", "epistemic")
        return {"probabilities": error[..., :-3]} | dict(zip(names, error[..., -3:].unbind(-1)))

    @property
    def _classes(self) -> int:
        return self.probabilities.mean.shape[-1]

    def _weighted(self, mean: Tensor) -> Replicates:
        r"""Return the replicates of the probabilities, and of what entropy, aleatoric and epistemic move by.

        The entropy of the mean moves by $-\sum_k (1 + \log \bar p_k) p_k$. One coefficient serves all classes, so that
        they add up to 1.
        """
        k = self._classes
        by_class = -1.0 - mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
        columns = torch.eye(k + 1, k + 3, dtype=mean.dtype, device=mean.device).repeat(*mean.shape[:-1], 1, 1)
        columns[..., :k, k] = columns[..., :k, k + 2] = by_class
        columns[..., k, k:] = columns.new_tensor([0.0, 1.0, -1.0])

        def weights(other: JointMoments | None) -> Tensor:
            slopes = torch.ones_like(columns[..., :1])
            if other is not None:
                both, own = (other.scatter.diagonal(offset, -2, -1)[..., -k - 1 :] for offset in (k + 1, 0))
                of_classes = _ratio(both[..., :k].sum(-1, keepdim=True), own[..., :k].sum(-1, keepdim=True))
                of_entropy = _ratio(both[..., k:], own[..., k:])
                slopes = torch.cat([of_classes.expand_as(own[..., :k]), of_entropy], -1).unsqueeze(-1)
            return torch.cat([columns, -slopes * columns], -2)

        return self.halves.weighted(weights)


def controlled(
    distribution: OutputDistribution, linear: Tensor, value: Tensor, known: Tensor, draws: Tensor, block: int
) -> Statistics:
    """Return the statistics of some draws of a distribution.

    Args:
        distribution: Batch shape (S, B, ...).
        linear: The linear part of its `targets`, (S, B, C).
        value: These at the mean of the masks, (B, C).
        known: The variance of the linear part, (B, C).
        draws: Numbers of the draws, (S,).
        block: Draws that depend on one another.
    """
    pieces = targets(distribution)
    sizes = [piece[0, 0].numel() for piece in pieces]

    def like(tensor: Tensor, sample: bool) -> list[Tensor]:
        parts = zip(tensor.split(sizes, -1), pieces, strict=True)
        return [part.reshape(piece.shape if sample else piece.shape[1:]) for part, piece in parts]

    parts = like(linear, True)
    if is_class(distribution):
        plain = cast(ClassStatistics, statistics_of(distribution, draws, block))
        vectors = torch.cat([pieces[0], pieces[1].unsqueeze(-1), parts[0], parts[1].unsqueeze(-1)], -1)
        return _with(plain, Halves.of(vectors, draws, block))
    values, variances = like(value, False), like(known, False)
    away, part = pieces[0] - values[0], parts[0]
    zero = torch.zeros_like(away)
    noise = [pieces[1] - values[1], parts[1]] if len(pieces) > 1 else [zero, zero]
    vectors = torch.stack([away, part, away.square(), part.square(), *noise], -1)
    at_mean = values[1] if len(values) > 1 else torch.zeros_like(values[0])
    facts = values[0], variances[0], at_mean, parameters(distribution)[0].dtype
    return ControlledStatistics(Halves.of(vectors, draws, block), *facts)


def _with(plain: ClassStatistics, halves: Halves) -> ControlledClassStatistics:
    inside = {f.name: getattr(plain, f.name) for f in fields(ClassStatistics)}
    return ControlledClassStatistics(**inside, halves=halves)


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """Return a coefficient; 1 where there is nothing to divide by."""
    return torch.where(below > 0, above / torch.where(below > 0, below, 1.0), 1.0)
