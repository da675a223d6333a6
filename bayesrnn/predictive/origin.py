"""Where a predictive came from: how many draws, how they were sampled, which sequences."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from bayesrnn._checks import check_whole
from bayesrnn.predictive.distributions.networks import networks_kept

DETERMINISTIC = "deterministic"


@dataclass(frozen=True, eq=False)
class Origin:
    """Facts about the draws behind a predictive.

    Attributes:
        draws: How many draws were averaged.
        seed: Seed of the mask stream, if one was used.
        sampling: "independent", "stratified", ... or "deterministic" where nothing was sampled.
        block_size: Consecutive draws that depend on one another; blocks are independent replicates.
        sequence_ids: One id per row, if known.
        degrees_of_freedom: Of the standard error, if it came from replicated blocks.
        draws_per_row: Draws that each row took, (B,), where converged rows stopped early; `draws` is then the most.
        networks: How many networks the draws are of, each network as many; they lie side by side, draw after draw.
    """

    draws: int
    seed: int | None = None
    sampling: str = "independent"
    block_size: int = 1
    sequence_ids: Tensor | None = None
    degrees_of_freedom: float | None = None
    draws_per_row: Tensor | None = None
    networks: int = 1

    def __post_init__(self) -> None:
        check_whole(self.draws, "draws")
        check_whole(self.block_size, "block_size")
        if self.sequence_ids is not None and not isinstance(self.sequence_ids, Tensor):
            object.__setattr__(self, "sequence_ids", torch.as_tensor(self.sequence_ids))

    def check_rows(self, rows: int) -> None:
        """Refuse sequence ids that are not one per row."""
        ids = self.sequence_ids
        if ids is not None and (ids.dim() != 1 or len(ids) != rows):
            raise ValueError(f"sequence_ids must be one id per row ({rows} rows), but its shape is {tuple(ids.shape)}.")

    def blocks(self, most: int | None = None) -> list[slice]:
        """Return the replicate blocks of draws, merged evenly into at most `most` groups."""
        whole = max(self.draws // self.block_size, 1)
        groups = whole if most is None else min(whole, most)
        edges = [round(g * whole / groups) * self.block_size for g in range(groups)] + [self.draws]
        return [slice(a, b) for a, b in pairwise(edges)]

    def of_draws(self, draws: Tensor) -> "Origin":
        """Return the origin of a subset of the draws (indices)."""
        kept = networks_kept(draws, self.networks)
        return replace(self, draws=len(draws), block_size=kept, degrees_of_freedom=None, networks=kept)

    def shares_draws(self, other: "Origin") -> bool:
        """Whether the draws of the other predictive come from the same masks, so that errors of finite draws cancel."""
        facts = [(o.seed, o.sampling, o.draws, o.block_size) for o in (self, other)]
        return self is other or (self.seed is not None and facts[0] == facts[1])

    def map_ids(self, function: Callable[[Tensor], Tensor]) -> "Origin":
        """Return the origin with `function`, which selects rows, applied to what it holds for each row."""
        ids, counts = self.sequence_ids, self.draws_per_row
        if ids is None and counts is None:
            return self
        ids = None if ids is None else function(ids)
        return replace(self, sequence_ids=ids, draws_per_row=None if counts is None else function(counts))
