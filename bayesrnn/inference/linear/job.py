"""A prediction whose draws are controlled by their linear part."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bayesrnn.inference.job import Job
from bayesrnn.inference.linear.first_order import FirstOrder, first_order
from bayesrnn.inference.linear.sources import RememberedMasks
from bayesrnn.inference.linear.statistics import controlled
from bayesrnn.inference.linear.targets import targets
from bayesrnn.inference.outputs import OutputDistribution
from bayesrnn.masks import MaskSite


@dataclass(frozen=True)
class LinearJob(Job):
    """A job that knows the effect of its masks to first order.

    Attributes:
        at_once: Rows that a pass may hold.
        last: The rows of which the first order is known, and it: the draws of a chunk of rows come one after another.
    """

    at_once: int = 1
    last: list[tuple[Tensor, FirstOrder]] = field(default_factory=list, compare=False)

    def collect(self, draws: Tensor, rows: Tensor, block: int) -> tuple[Any, list[OutputDistribution], list[Any]]:
        """Run some draws, remember their masks, and take the linear part beside each number; see `Job.collect`."""
        if not self.last or not torch.equal(self.last[0][0], rows):
            self.last[:] = [(rows, first_order(self, rows, self.at_once))]
        expansion = self.last[0][1]
        masks: dict[str, tuple[Tensor, MaskSite]] = {}
        structure, distributions = self.run(draws, rows, lambda binding: RememberedMasks(binding, masks))
        linear, known = expansion.linear(masks, draws.numel()), expansion.variance
        sizes = [sum(piece[0, 0].numel() for piece in targets(d)) for d in distributions]
        cuts = zip(distributions, *(t.split(sizes, -1) for t in (linear, expansion.value, known)), strict=True)
        statistics = [controlled(d, part, value, v, draws, block) for d, part, value, v in cuts]
        return structure, distributions, statistics
