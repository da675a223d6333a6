r"""Means, variances and Monte Carlo standard errors that accumulate: values that merge in any order."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

MIN_BLOCKS = 4
"""Whole blocks below which the spread between blocks says too little, and the draws' own spread bounds the error."""

MIN_BLOCKS_TO_STOP = 8
"""Whole blocks below which no row stops by the spread between them: it would stop where the spread came out too small.

With 4, a row whose true error is the tolerance stopped at errors 1.2 times the tolerance; with 8 at 1.0 times.
"""


@dataclass(frozen=True, eq=False)
class Moments:
    r"""Count, mean and scatter $\sum (x - \bar x)^2$ over axis 0, in float64.

    Merging two disjoint parts adds $\delta^2 n_a n_b / (n_a + n_b)$ to the scatter, $\delta$ the difference of their
    means: no difference of large numbers, so nothing cancels. Source: Chan, Golub & LeVeque (1983), equation 2.1.

    Example:
        >>> x = torch.arange(6.0)
        >>> (Moments.of(x[:2]).merge(Moments.of(x[2:])).scatter / 6).item() == x.double().var(correction=0).item()
        True
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "Moments":
        """Return the moments of values (n, ...)."""
        wide = values.detach().double()
        mean = wide.mean(0)
        return cls(len(wide), mean, cls.square(wide - mean).sum(0))

    @staticmethod
    def square(deviation: Tensor) -> Tensor:
        """Return what a deviation from the mean adds to the scatter."""
        return deviation.square()

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both parts together."""
        total = self.count + other.count
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / total)
        scatter = self.scatter + other.scatter + self.square(delta) * (self.count * other.count / total)
        return type(self)(total, mean, scatter)

    @property
    def variance(self) -> Tensor:
        """Variance (n - 1), unbiased for independent values; infinite for a single one."""
        return self.scatter / (self.count - 1) if self.count > 1 else torch.full_like(self.scatter, torch.inf)

    def rows(self, index: Tensor) -> "Moments":
        """Return the moments of some rows (axis 0 of the mean)."""
        return type(self)(self.count, self.mean[index], self.scatter[index])

    def columns(self, index: int | slice) -> "Moments":
        """Return the moments of some elements of the last axis."""
        return type(self)(self.count, self.mean[..., index], self.scatter[..., index])


class JointMoments(Moments):
    """Moments of vectors, the last axis (k): the scatter is a matrix (..., k, k).

    Example:
        >>> JointMoments.of(torch.tensor([[1.0, 2.0], [3.0, 6.0]])).variance
        tensor([[2., 4.],
                [4., 8.]], dtype=torch.float64)
    """

    @staticmethod
    def square(deviation: Tensor) -> Tensor:
        """Return the products of all pairs of elements."""
        return deviation.unsqueeze(-1) * deviation.unsqueeze(-2)

    def weighted(self, weights: Tensor) -> Moments:
        """Return the moments of m weighted sums of the elements, weights (..., k, m)."""
        mean = (self.mean.unsqueeze(-2) @ weights).squeeze(-2)
        return Moments(self.count, mean, ((self.scatter @ weights) * weights).sum(-2))


@dataclass(frozen=True, eq=False)
class Replicates:
    r"""Moments over draws that come in blocks: draws of a block depend on one another, blocks do not.

    With $R$ whole blocks of $n$ draws and $V_n$ the variance of a block's mean, $\mathrm{Var}(\bar x) = V_n / R$. Any
    two draws of a block have the same covariance c, so a block of which only m draws were taken adds
    $\mathrm{Var}(\sum) = m \sigma^2 + m (m - 1) c$ with $c = (n V_n - \sigma^2)/(n - 1)$. With fewer than
    `MIN_BLOCKS` whole blocks the error of independent draws, $\sigma^2 / S$, stands in: an upper bound but for a few
    percent, as stratification makes c negative or nearly 0.

    Attributes:
        block: Draws in a block; 1 where draws are independent.
        draws: Moments over single draws.
        blocks: Moments over the means of whole blocks.
        open: Blocks of which not all draws are here, by number.
    """

    block: int
    draws: Moments
    blocks: Moments | None = None
    open: dict[int, Moments] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Tensor, draws: Tensor, block: int, kind: type[Moments] = Moments) -> "Replicates":
        """Return the replicates of values (S, ...) of the draws of these numbers (S,)."""
        replicates = cls(block, kind.of(values))
        if block == 1:
            return replicates
        wide = values.detach().double()
        numbers = (draws // block).tolist()
        closed: list[Tensor] = []
        begin = 0
        for end in range(1, len(numbers) + 1):
            if end < len(numbers) and numbers[end] == numbers[begin]:
                continue
            if end - begin == block:
                closed.append(wide[begin:end].mean(0))
            else:
                part = cls(block, replicates.draws, None, {numbers[begin]: kind.of(wide[begin:end])})
                replicates = replicates._with(part)
            begin = end
        return replicates._with(cls(block, replicates.draws, kind.of(torch.stack(closed)))) if closed else replicates

    def merge(self, other: "Replicates") -> "Replicates":
        """Return both parts together: other draws of the same rows."""
        return Replicates(self.block, self.draws.merge(other.draws), self.blocks, self.open)._with(other)

    def _with(self, other: "Replicates") -> "Replicates":
        """Add the blocks of `other`; blocks that are now whole are closed."""
        blocks, parts = _merged(self.blocks, other.blocks), dict(self.open)
        for number, part in other.open.items():
            parts[number] = part if number not in parts else parts[number].merge(part)
        for number in [n for n, part in parts.items() if part.count == self.block]:
            blocks = _merged(blocks, type(self.draws).of(parts.pop(number).mean.unsqueeze(0)))
        return Replicates(self.block, self.draws, blocks, parts)

    @property
    def mean(self) -> Tensor:
        """Mean over all draws."""
        return self.draws.mean

    @property
    def replicated(self) -> bool:
        """Whether enough whole blocks are here for the spread between them to be used."""
        return self.block > 1 and self.blocks is not None and self.blocks.count >= MIN_BLOCKS

    @property
    def degrees_of_freedom(self) -> float:
        """Of the standard error: whole blocks minus 1, or draws minus 1."""
        whole = self.blocks.count if self.replicated and self.blocks is not None else self.draws.count
        return float(whole - 1)

    @property
    def standard_error(self) -> Tensor:
        """Monte Carlo standard error of the mean."""
        return self.variance_of_mean.clamp(min=0).sqrt()

    @property
    def variance_of_mean(self) -> Tensor:
        """Variance of the mean over all draws; of vectors, their covariance matrix."""
        total = self.draws.count
        if not self.replicated or self.blocks is None:
            return self.draws.variance / total
        size = self.block
        of_block = self.blocks.variance
        of_draw = self.draws.scatter / total + of_block / self.blocks.count
        covariance = (size * of_block - of_draw) / (size - 1)
        of_sum = self.blocks.count * size**2 * of_block
        for part in self.open.values():
            of_sum = of_sum + part.count * of_draw + part.count * (part.count - 1) * covariance
        return of_sum / total**2

    @property
    def variance(self) -> Tensor:
        r"""Variance of a draw, unbiased also where draws of a block depend on one another; of vectors, their matrix.

        Half the mean squared difference of two draws of different blocks. With a single block, which has no such
        draws, the variance of independent ones.
        """
        total, mean = self.draws.count, self.draws.mean
        sizes, squares = total, self.draws.scatter  # sums over the blocks b of n_b^2, and of (n_b (x_b - x))^2
        if self.block > 1:
            sizes, squares = 0, torch.zeros_like(squares)
            if self.blocks is not None:
                n, whole = self.block, self.blocks
                sizes += n**2 * whole.count
                squares = n**2 * (whole.scatter + whole.count * whole.square(whole.mean - mean))
            for part in self.open.values():
                sizes += part.count**2
                squares = squares + part.count**2 * part.square(part.mean - mean)
        pairs = total**2 - sizes
        return self.draws.scatter / total + squares / pairs if pairs else self.draws.variance

    @property
    def stopping_error(self) -> Tensor:
        """The error that decides when a row stops; while blocks are few, at least the error of independent draws."""
        error = self.standard_error
        if self.blocks is None or self.blocks.count >= MIN_BLOCKS_TO_STOP:
            return error
        return torch.maximum(error, (self.draws.variance / self.draws.count).sqrt())

    def map(self, function: Callable[[Any], Moments]) -> "Replicates":
        """Return the replicates with a function of all moments."""
        blocks = None if self.blocks is None else function(self.blocks)
        return Replicates(
            self.block, function(self.draws), blocks, {n: function(part) for n, part in self.open.items()}
        )

    def rows(self, index: Tensor) -> "Replicates":
        """Return the replicates of some rows."""
        return self.map(lambda moments: moments.rows(index))


def _merged(first: Moments | None, second: Moments | None) -> Moments | None:
    if first is None or second is None:
        return second if first is None else first
    return first.merge(second)
