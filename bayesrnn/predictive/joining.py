"""Predictives of several batches as one."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.distributions import MixtureSameFamily

from bayesrnn.likelihoods import families
from bayesrnn.predictive.base import Predictive
from bayesrnn.predictive.continuous import ContinuousPredictive
from bayesrnn.predictive.distributions.abstract import AbstractDistribution
from bayesrnn.predictive.distributions.empirical import EmpiricalDistribution
from bayesrnn.predictive.distributions.joined import JoinedDistribution
from bayesrnn.predictive.distributions.mixture import MixtureDistribution
from bayesrnn.predictive.origin import Origin
from bayesrnn.predictive.tokens import TokenPredictive


def concatenated(predictives: Sequence[Predictive]) -> Any:
    """Return the predictive of the rows of all parts, one after the other."""
    parts: list[Any] = list(predictives)
    if not parts or not all(isinstance(part, Predictive) for part in parts):
        given = ", ".join(sorted({type(part).__name__ for part in parts})) or "nothing"
        raise TypeError(f"concatenate takes a list of predictives, but {given} was given.")
    kinds = {(type(p), tuple(p.shape[1:]), getattr(p, "class_names", None), getattr(p, "classes", 0)) for p in parts}
    if len(kinds) > 1:
        shapes = ", ".join(f"{type(part).__name__}{tuple(part.shape)}" for part in parts)
        raise ValueError(
            "predictives can be put one after the other if they are of one kind, with the same steps, classes and "
            f"class names, but these are {shapes}."
        )
    first: Any = parts[0]
    whole: dict[str, Any] = {"origin": _origin(parts)}
    if isinstance(first, TokenPredictive):
        whole |= {name: _stacked(parts, name, 0) for name in first.per_token()}
        return replace(first, block_log_prob=_stacked(parts, "block_log_prob", 1), **whole)
    with suppress(ValueError):  # of quantiles there is none
        whole["given_standard_error"] = torch.cat([part.standard_error for part in parts])
    errors = [part.given_errors for part in parts]
    if all(errors):
        whole["given_errors"] = {name: torch.cat([e[name] for e in errors]) for name in errors[0]}
    if isinstance(first, ContinuousPredictive):
        return ContinuousPredictive(_distribution([part.distribution for part in parts]), **whole)
    names = ("log_mean", "expected_entropy", "votes", "network_entropy")
    whole |= {name: _stacked(parts, name, 0) for name in names}
    return replace(first, draw_log_probabilities=_stacked(parts, "draw_log_probabilities", 1), **whole)


def _distribution(parts: list[Any]) -> AbstractDistribution:
    """Return one distribution of all rows: of one kind where all parts have as many draws of one family."""
    if all(type(part) is MixtureDistribution for part in parts):
        families_of = {(type(p.components), p.networks, p.size) for p in parts}
        if len(families_of) == 1 and next(iter(families_of))[0] is not MixtureSameFamily:
            columns = [list(families.parameters_of(families.peel(p.components)).values()) for p in parts]
            joined = iter([torch.cat(values, 1) for values in zip(*columns, strict=True)])
            return MixtureDistribution(
                families.map_parameters(parts[0].components, lambda _: next(joined)), parts[0].networks
            )
    if all(type(part) is EmpiricalDistribution for part in parts) and len({len(p.samples) for p in parts}) == 1:
        return EmpiricalDistribution(torch.cat([part.samples for part in parts], 1))
    ends = [0, *torch.tensor([part.shape[0] for part in parts]).cumsum(0).tolist()]
    return JoinedDistribution(parts, [torch.arange(*pair) for pair in pairwise(ends)])


def _stacked(parts: Sequence[Any], name: str, dim: int) -> Tensor | None:
    """Return an attribute of all parts joined; None where one lacks it, or has other draws."""
    values = [getattr(part, name) for part in parts]
    if any(value is None for value in values) or (dim and len({len(value) for value in values}) > 1):
        return None
    return torch.cat(values, dim)


def _origin(parts: Sequence[Predictive]) -> Origin:
    """Return what the parts have in common, with the draws and the id of each row."""
    origins = [part.origin for part in parts]
    first = origins[0]
    same = all(o.draws == first.draws for o in origins) and all(o.draws_per_row is None for o in origins)
    counts = [
        torch.full((len(p),), o.draws) if o.draws_per_row is None else o.draws_per_row for p, o in zip(parts, origins)
    ]
    ids = [o.sequence_ids for o in origins]
    seeds, samplings = {o.seed for o in origins}, {o.sampling for o in origins}
    freedom = [o.degrees_of_freedom for o in origins]
    return Origin(
        max(o.draws for o in origins),
        first.seed if len(seeds) == 1 else None,
        first.sampling if len(samplings) == 1 else "mixed",
        max(o.block_size for o in origins),
        None if any(i is None for i in ids) else torch.cat(ids),  # type: ignore[arg-type]
        None if any(f is None for f in freedom) else min(freedom),  # type: ignore[type-var]
        None if same else torch.cat(counts),
        first.networks if len({o.networks for o in origins}) == 1 else 1,
    )
