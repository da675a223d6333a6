"""Make predictives from collected parts: rows in order, equal draws as one distribution."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bayesrnn._checks import narrowed
from bayesrnn.inference.accumulators import ClassStatistics
from bayesrnn.inference.outputs import OutputDistribution, Point, join, map_distribution
from bayesrnn.inference.passes import Part
from bayesrnn.predictive import (
    DETERMINISTIC,
    AbstractDistribution,
    ClassPredictive,
    ContinuousPredictive,
    MixtureDistribution,
    MomentsDistribution,
    Origin,
    Predictive,
)
from bayesrnn.predictive.distributions.empirical import PointDistribution
from bayesrnn.predictive.distributions.joined import JoinedDistribution
from bayesrnn.predictive.probabilities import class_log_probabilities


def assemble(parts: Sequence[Part], keep: bool, block: int, origin: dict[str, Any]) -> list[Predictive]:
    """Return one predictive for each output, rows in order.

    Args:
        parts: Disjoint in rows, together all rows.
        keep: Whether the distributions of the draws are there.
        block: Draws of a network that depend on one another.
        origin: Seed, sampling, sequence ids, and the number of networks where there are several.
    """
    outputs = range(len(parts[0].statistics))
    return [_one([p.statistics[k] for p in parts], parts, k if keep else None, block, origin) for k in outputs]


_MOMENTS = ("the mean", "the aleatoric variance", "the epistemic variance", "the variance between networks")


def _one(
    statistics: list[Any], parts: Sequence[Part], kept: int | None, block: int, origin: dict[str, Any]
) -> Predictive:
    order = torch.cat([p.rows for p in parts]).argsort()
    dtype = statistics[0].dtype
    error = narrowed(torch.cat([s.replicates.standard_error for s in statistics])[order], dtype, "the standard error")
    if origin["sampling"] == DETERMINISTIC:
        error = torch.zeros_like(error)
    networks = origin.get("networks", 1)
    counts = torch.cat([torch.full((p.rows.numel(),), p.draws * networks) for p in parts])[order]
    errors = _errors(statistics, order)
    freedom = min(s.replicates.degrees_of_freedom for s in statistics) or None
    whole = Origin(
        int(counts.max()),
        origin["seed"],
        origin["sampling"],
        block * networks,
        origin["sequence_ids"],
        freedom,
        counts if int(counts.min()) < int(counts.max()) else None,
        networks,
    )
    even = whole.draws_per_row is None
    if isinstance(statistics[0], ClassStatistics):
        logs = None
        if kept is not None and even:
            whole_distribution = join([p.distribution[kept] for p in parts], 1)
            logs = class_log_probabilities(whole_distribution)[:, order]  # type: ignore[arg-type]
        apart = [s.network_entropy for s in statistics]
        return ClassPredictive(
            torch.cat([s.log_mean for s in statistics])[order],
            torch.cat([s.expected_entropy for s in statistics])[order],
            torch.cat([s.votes for s in statistics])[order],
            whole,
            dtype,
            error,
            logs,
            network_entropy=None if networks == 1 else torch.cat(apart)[order],
            given_errors=errors,
        )
    distribution = (
        MomentsDistribution(
            *(
                narrowed(torch.cat(column)[order], dtype, name)
                for name, column in zip(_MOMENTS, zip(*(s.moments() for s in statistics)))
            )
        )
        if kept is None
        else _kept([s.adjusted(p.distribution[kept]) for s, p in zip(statistics, parts)], parts, order, even, networks)
    )
    return ContinuousPredictive(distribution, whole, error, errors)


def _errors(statistics: list[Any], order: Tensor) -> dict[str, Tensor] | None:
    """Return the standard errors of the moments by name, rows in order, where they are known."""
    by_part = [s.errors() for s in statistics]
    dtype = statistics[0].dtype
    return {name: torch.cat([errors[name] for errors in by_part])[order].to(dtype) for name in by_part[0]} or None


def _kept(
    distributions: list[OutputDistribution], parts: Sequence[Part], order: Tensor, even: bool, networks: int
) -> AbstractDistribution:
    if even:
        return _mixture(map_distribution(join(distributions, 1), lambda t: t[:, order]), networks)
    groups: dict[int, list[int]] = {}
    for place, part in enumerate(parts):
        groups.setdefault(part.draws, []).append(place)
    index = [torch.cat([parts[place].rows for place in places]) for places in groups.values()]
    joined = [_mixture(join([distributions[place] for place in places], 1), networks) for places in groups.values()]
    return JoinedDistribution(joined, index)


def _mixture(distribution: OutputDistribution, networks: int) -> AbstractDistribution:
    if not isinstance(distribution, Point):
        return MixtureDistribution(distribution, networks)
    value = distribution.value
    return PointDistribution(value.expand(2, *value.shape[1:]) if len(value) == 1 else value, networks)  # two equal
