"""Make a predictive from what any model gives: a Gaussian, samples, probabilities, distributions per draw."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from bayesrnn._checks import check_finite
from bayesrnn.likelihoods import families
from bayesrnn.predictive.classes import ClassPredictive
from bayesrnn.predictive.continuous import ContinuousPredictive
from bayesrnn.predictive.distributions.empirical import EmpiricalDistribution
from bayesrnn.predictive.distributions.mixture import MixtureDistribution
from bayesrnn.predictive.origin import DETERMINISTIC, Origin
from bayesrnn.predictive.probabilities import class_log_probabilities, log_probabilities

__all__ = ["ClassPredictive", "ContinuousPredictive", "draws", "gaussian", "probabilities", "samples"]


def gaussian(mean: Any, std: Any, sequence_ids: Tensor | None) -> ContinuousPredictive:
    """Return N(mean, std^2) as the predictive of one exact draw."""
    mean = floating(mean, "mean")
    std = floating(std, "std").to(mean)
    if mean.dim() < 1:
        raise ValueError("mean must have shape (rows, ...), but a single number was given: mean[None] makes a row.")
    try:
        std = std.expand(mean.shape)
    except RuntimeError:
        raise ValueError(
            f"std of shape {tuple(std.shape)} does not fit mean of shape {tuple(mean.shape)}: give one std per mean."
        ) from None
    check_finite(mean, "mean")
    check_finite(std, "std")
    if bool((std <= 0).any()):
        rows = (std <= 0).reshape(len(std), -1).any(1).nonzero().flatten()[:5].tolist()
        raise ValueError(
            f"std must be positive, but it is zero or negative in rows {rows}. A std of 0 claims certainty; if you "
            "have a variance pass its square root, if a log variance pass exp(0.5 * it)."
        )
    distribution = MixtureDistribution(Normal(mean[None], std[None], validate_args=False))
    return ContinuousPredictive(distribution, Origin(1, sampling=DETERMINISTIC, sequence_ids=sequence_ids))


def samples(values: Any, seed: int | None, sequence_ids: Tensor | None) -> ContinuousPredictive:
    """Return the predictive known through samples of the target, (draws, rows, ...)."""
    distribution = EmpiricalDistribution(values)
    return ContinuousPredictive(distribution, Origin(len(values), seed, "samples", sequence_ids=sequence_ids))


def probabilities(p: Any, class_names: Sequence[Any] | None, sequence_ids: Tensor | None) -> ClassPredictive:
    """Return the class predictive of probabilities (draws, rows, ..., classes), or (rows, classes) of one draw."""
    p = floating(p, "p")
    if p.dim() < 2:
        raise ValueError(f"p must have shape (draws, rows, classes) or (rows, classes), not {tuple(p.shape)}.")
    if p.dim() == 2:
        logs = log_probabilities(p)[None]
        origin = Origin(1, sampling=DETERMINISTIC, sequence_ids=sequence_ids)
    else:
        logs = log_probabilities(p.transpose(0, 1)).transpose(0, 1)
        origin = Origin(len(p), sequence_ids=sequence_ids)
    predictive = ClassPredictive.from_log_probabilities(logs, origin=origin, dtype=p.dtype)
    return predictive if class_names is None else predictive.with_class_names(class_names)


def draws(
    distribution: Distribution, origin: dict[str, Any], standard_error: Tensor | None
) -> ContinuousPredictive | ClassPredictive:
    """Return the predictive that averages per-draw distributions of batch shape (S, B, ...)."""
    kind = families.family(distribution)
    if len(distribution.batch_shape) < 2 - (len(distribution.event_shape) if kind != "class" else 0):
        raise ValueError(
            "the distribution must have batch shape (draws, rows, ...), but it is "
            f"{tuple(distribution.batch_shape)}. For one draw add an axis in front: Normal(mean[None], std[None])."
        )
    whole = Origin(distribution.batch_shape[0], **origin)
    if kind == "class":
        families.check_parameters(distribution)
        logs = class_log_probabilities(distribution)
        return ClassPredictive.from_log_probabilities(
            logs, origin=whole, dtype=families.example_parameter(distribution).dtype, standard_error=standard_error
        )
    return ContinuousPredictive(MixtureDistribution(distribution), whole, standard_error)


def floating(value: Any, name: str) -> Tensor:
    """Return a value (tensor, array, list) as a floating tensor without gradient."""
    if not isinstance(value, Tensor):
        try:
            value = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(f"{name} must be a tensor, but a {type(value).__name__} was given.") from None
    return value.detach() if value.is_floating_point() else value.detach().float()
