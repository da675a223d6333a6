"""First-order results of one output for some rows, and how they are joined."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bayesrnn.inference.linear.first_order import FirstOrder
from bayesrnn.inference.linear.targets import is_class, targets
from bayesrnn.inference.linear.uncertainty_sources import Sources
from bayesrnn.inference.outputs import parameters
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive, MomentsDistribution, Origin
from bayesrnn.predictive.probabilities import entropy_of


@dataclass(frozen=True, eq=False)
class LinearPart:
    """First-order results of some rows: mean or probabilities, both uncertainty parts, sources of the epistemic part.

    Attributes:
        mean: (B, ...), or probabilities (B, ..., K), float64.
        aleatoric: (B, ...); of classes the entropy.
        epistemic: (B, ...).
        sources: Contributions to the epistemic part.
        dtype: Of the results.
        classes: Whether the target is a class.
    """

    mean: Tensor
    aleatoric: Tensor
    epistemic: Tensor
    sources: Sources
    dtype: torch.dtype
    classes: bool


def parts_of(expansion: FirstOrder) -> list[LinearPart]:
    """Return the part of each output."""
    parts, start = [], 0
    for distribution in expansion.distributions:
        mean, *rest = (piece[0].detach() for piece in targets(distribution))
        noise, classes = rest[0] if rest else torch.zeros_like(mean), is_class(distribution)
        columns = slice(start, start := start + mean[0].numel())
        variance = expansion.variance[:, columns]
        # of classes mutual information, to second order: half of Var p_k / p_k, added up over k
        weights = 0.5 / mean.reshape(variance.shape).clamp(min=1e-12) if classes else torch.ones_like(variance)
        epistemic = (variance * weights).reshape(mean.shape)
        epistemic = epistemic.sum(-1) if classes else epistemic
        sources = Sources.of(expansion.places, columns, weights, tuple(noise.shape))
        parts.append(LinearPart(mean, noise, epistemic, sources, parameters(distribution)[0].dtype, classes))
    return parts


def joined(parts: Sequence[LinearPart], ids: Tensor) -> tuple[Any, Sources]:
    """Return the predictive of all rows and the sources of its epistemic part."""
    mean, aleatoric, epistemic = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("mean", "aleatoric", "epistemic")
    )
    sources, dtype = parts[0].sources, parts[0].dtype
    for part in parts[1:]:
        sources = sources.joined(part.sources)
    origin = Origin(1, None, "first order", sequence_ids=ids)
    if not parts[0].classes:
        moments = MomentsDistribution(*(t.to(dtype) for t in (mean, aleatoric, epistemic)))
        return ContinuousPredictive(moments, origin, torch.zeros_like(mean, dtype=dtype)), sources
    logs = mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
    expected = (entropy_of(logs) - epistemic).clamp(min=0)
    votes = F.one_hot(mean.argmax(-1), mean.shape[-1])
    return ClassPredictive(logs, expected, votes, origin, dtype, torch.zeros_like(mean, dtype=dtype)), sources
