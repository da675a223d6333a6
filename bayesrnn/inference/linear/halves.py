r"""Averages over draws that are controlled by numbers of mean 0, unbiased though the coefficients are fitted.

$\bar y - \hat\beta\, \bar c$ has the least variance with $\beta = \mathrm{cov}(y, c) / \mathrm{Var}\, c$. A coefficient
that is fitted to the draws that it serves would bias the average. So the even blocks of draws use the coefficient
fitted to the odd blocks, and the odd blocks the coefficient fitted to the even blocks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from bayesrnn.inference.statistics import JointMoments, Replicates

FEWEST = 8
"""Draws of a half from which a coefficient can be fitted; with fewer it is 1."""


@dataclass(frozen=True, eq=False)
class Halves:
    """Joint moments of vectors over the even and over the odd blocks of draws; None before the first."""

    even: Replicates | None
    odd: Replicates | None

    @classmethod
    def of(cls, vectors: Tensor, draws: Tensor, block: int) -> "Halves":
        """Return the moments of vectors (S, B, ..., k) of the draws of these numbers (S,)."""

        def half(parity: int) -> Replicates | None:
            mine = draws // block % 2 == parity
            return Replicates.of(vectors[mine], draws[mine], block, JointMoments) if bool(mine.any()) else None

        return cls(half(0), half(1))

    def merge(self, other: "Halves") -> "Halves":
        """Return both together: other draws of the same rows."""
        return Halves(_joined(self.even, other.even), _joined(self.odd, other.odd))

    def rows(self, index: Tensor) -> "Halves":
        """Return the moments of some rows."""
        return Halves(*(None if half is None else half.rows(index) for half in (self.even, self.odd)))

    @property
    def whole(self) -> Any:
        """The replicates of all draws."""
        return _joined(self.even, self.odd)

    def weighted(self, weights: Callable[[JointMoments | None], Tensor]) -> Any:
        """Return the replicates of weighted sums of each vector.

        Args:
            weights: From the moments of the half that is not served to weights (..., k, m); from None where it has too
                few draws.
        """
        served = None
        for half, other in self._pairs():
            served = _joined(served, half.map(partial(JointMoments.weighted, weights=weights(other))))
        return served

    def average(self, statistic: Callable[[Replicates, JointMoments | None], Tensor]) -> Tensor:
        """Return the average over the halves of a statistic of a half and of the moments of the other one."""
        total = self.whole.draws.count
        return torch.stack([statistic(half, other) * (half.draws.count / total) for half, other in self._pairs()]).sum(
            0
        )

    def _pairs(self) -> Iterator[tuple[Replicates, JointMoments | None]]:
        """Yield each half with the moments of the other one; None where that has too few draws."""
        for half, other in ((self.even, self.odd), (self.odd, self.even)):
            if half is not None:
                enough = other is not None and other.draws.count >= FEWEST
                yield half, cast(JointMoments, other.draws) if other is not None and enough else None


def _joined(first: Replicates | None, second: Replicates | None) -> Replicates | None:
    if first is None or second is None:
        return second if first is None else first
    return first.merge(second)
