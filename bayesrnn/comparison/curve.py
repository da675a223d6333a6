"""A score as a function of the number of draws."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from bayesrnn.metrics.registry import Measure

_COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_SETS = 8  # disjoint sets of draws behind a point of a curve


@dataclass(frozen=True)
class Curve:
    """A score per number of draws: mean over disjoint sets of draws, and the standard error of one set."""

    name: str
    label: str
    draws: tuple[int, ...]
    values: tuple[float, ...]
    standard_errors: tuple[float | None, ...]


def draws_curve(measure: Measure, drawn: Any, target: Any, options: dict[str, Any]) -> Curve | None:
    """Return the score that `predict` gives with fewer draws; None if no draws were kept.

    The sets of k draws are disjoint and lie in as few stratified blocks as the draws of `predict(draws=k)`: one across
    two blocks would be less exact. The first set is the beginning of `drawn`.
    """
    networks = drawn.networks
    size, block = drawn.draws_used // networks, drawn.origin.block_size // networks
    counts = [k for k in _COUNTS if k < size] + [size]
    values: list[float] = []
    errors: list[float | None] = []
    try:
        for count in counts:
            sets = [_of_all(s, networks) for s in _sets(size, count, block)]
            few = len(sets) < 3
            scores = [
                measure.score(drawn if count == size else drawn.keep_draws(s), target, monte_carlo=few, **options)
                for s in sets
            ]
            of_subsets = torch.tensor([s.value for s in scores], dtype=torch.float64)
            values.append(float(of_subsets.mean()))
            errors.append(scores[0].standard_error if few else float(of_subsets.std()))
    except ValueError:  # the draws were not kept
        return None
    return Curve(measure.key, measure.label, tuple(counts), tuple(values), tuple(errors))


def _of_all(draws: torch.Tensor, networks: int) -> torch.Tensor:
    """Return the places of these draws of all networks, which lie side by side."""
    return (draws[:, None] * networks + torch.arange(networks)).flatten()


def _sets(size: int, count: int, block: int) -> list[torch.Tensor]:
    """Return disjoint sets of `count` of the `size` draws, each inside one block or from the start of a block."""
    apart = math.ceil(count / block) * block
    inner = range(0, apart - count + 1, count)
    starts = [start + k for start in range(0, size, apart) for k in inner if start + k + count <= size]
    return [torch.arange(start, start + count) for start in starts[:_SETS]]
