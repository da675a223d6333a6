"""Make a predictive from what any model gives: a Gaussian, samples, probabilities, distributions per draw."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Normal

from bayesrnn._checks import as_values, check_finite, check_level, rows_of
from bayesrnn.likelihoods import families
from bayesrnn.likelihoods.validation import validate
from bayesrnn.predictive.classes import ClassPredictive
from bayesrnn.predictive.continuous import ContinuousPredictive
from bayesrnn.predictive.distributions.empirical import EmpiricalDistribution
from bayesrnn.predictive.distributions.mixture import MixtureDistribution
from bayesrnn.predictive.distributions.quantiles import QuantileDistribution
from bayesrnn.predictive.origin import DETERMINISTIC, Origin
from bayesrnn.predictive.probabilities import class_log_probabilities, log_probabilities


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
        raise ValueError(
            f"std must be positive, but it is zero or negative in rows {rows_of(std <= 0)[:5]}. A std of 0 claims "
            "certainty; if you have a variance pass its square root, if a log variance pass exp(0.5 * it)."
        )
    distribution = MixtureDistribution(Normal(mean[None], std[None], validate_args=False))
    return ContinuousPredictive(distribution, Origin(1, sampling=DETERMINISTIC, sequence_ids=sequence_ids))


def samples(values: Any, seed: int | None, sequence_ids: Tensor | None, axis: int | None) -> ContinuousPredictive:
    """Return the predictive known through samples of the target, draws on `axis`."""
    values = floating(values, "samples")
    if axis is None:
        _check_axis(values)
    elif not (isinstance(axis, int) and -values.dim() <= axis < values.dim()):
        raise ValueError(f"axis must be one of the {values.dim()} axes of the samples, but {axis!r} was given.")
    distribution = EmpiricalDistribution(values.movedim(axis or 0, 0))
    return ContinuousPredictive(
        distribution, Origin(len(distribution.samples), seed, "samples", sequence_ids=sequence_ids)
    )


def _check_axis(values: Tensor) -> None:
    """Refuse arrays of other libraries whose draws are surely, or may be, not on axis 0."""
    if values.dim() != 3:
        return
    draws, rows, last = values.shape
    if rows == 1 and draws == last > 1:
        raise ValueError(
            f"samples of shape {tuple(values.shape)} do not say whether the draws are the first axis or the last, as "
            "in darts: pass axis=0 or axis=-1."
        )
    low, high = (values[:, 0], values[:, 1]) if rows == 2 else (None, None)
    if low is None or high is None or draws < 2 or not bool((low <= high).all()):
        return
    widths = (high - low).diff(dim=1)
    if bool((widths >= 0).all()) or bool((widths <= 0).all()):
        raise ValueError(
            f"samples of shape {tuple(values.shape)} look like the ends of intervals, (rows, 2, levels) as in MAPIE: "
            "every [:, 0] lies below [:, 1]. Give those to from_intervals(levels, array); if they are draws of two "
            "rows, pass axis=0."
        )


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
    validate(distribution)
    if len(distribution.batch_shape) < 2 - (len(distribution.event_shape) if kind != "class" else 0):
        raise ValueError(
            "the distribution must have batch shape (draws, rows, ...), but it is "
            f"{tuple(distribution.batch_shape)}. For one draw add an axis in front: Normal(mean[None], std[None])."
        )
    whole = Origin(distribution.batch_shape[0], **origin)
    if kind == "class":
        families.check_parameters(distribution)
        logs = class_log_probabilities(distribution).detach()
        return ClassPredictive.from_log_probabilities(
            logs, origin=whole, dtype=families.example_parameter(distribution).dtype, standard_error=standard_error
        )
    return ContinuousPredictive(MixtureDistribution(distribution), whole, standard_error)


def quantiles(levels: Any, values: Any, sequence_ids: Tensor | None) -> ContinuousPredictive:
    """Return the predictive through quantiles (levels, rows, ...); crossing ones are sorted, with a warning."""
    values = floating(values, "values")
    q = as_values(levels, "levels").to(values.device, torch.float64)
    if q.dim() != 1 or len(q) < 2 or not bool(((q > 0) & (q < 1)).all()) or len(q.unique()) < len(q):
        raise ValueError(
            f"levels must be at least two different probabilities in (0, 1), but {q.tolist()} was given. Percent are "
            "divided by 100: 90 is 0.9."
        )
    if values.dim() < 2 or len(values) != len(q):
        raise ValueError(
            f"values must have shape (levels, rows, ...) with {len(q)} levels on axis 0, but its shape is "
            f"{tuple(values.shape)}. Move the axis of the levels to the front: values.movedim(-1, 0)."
        )
    check_finite(values.transpose(0, 1), "values")
    q, order = q.sort()
    crossed = int((values[order].diff(dim=0) < 0).any(0).sum())
    if crossed:
        warnings.warn(
            f"the quantiles of {crossed} of {values[0].numel()} targets cross; they were sorted.", stacklevel=4
        )
    distribution = QuantileDistribution(q, values[order].sort(0).values)
    return ContinuousPredictive(distribution, Origin(1, sampling=DETERMINISTIC, sequence_ids=sequence_ids))


def intervals(level: Any, low: Any, high: Any, median: Any, sequence_ids: Tensor | None) -> ContinuousPredictive:
    """Return the predictive through the ends of central intervals, one level or several on axis 0."""
    if high is None:
        low, high = _both_ends(level, low)
    ends = [floating(low, "low"), floating(high, "high")]
    if isinstance(level, int | float):
        level, ends = [level], [end[None] for end in ends]
    wide = [check_level(value, "level") for value in level]
    if any(end.shape != ends[0].shape or end.dim() < 2 or len(end) != len(wide) for end in ends):
        raise ValueError(
            f"low and high must have one shape, (rows, ...) for one level or (levels, rows, ...) for {len(wide)}, but "
            f"they have {tuple(ends[0].shape)} and {tuple(ends[1].shape)}."
        )
    if bool((ends[0] > ends[1]).any()):
        raise ValueError("low lies above high for some targets: were the two ends exchanged?")
    levels = [(1 - p) / 2 for p in wide] + [(1 + p) / 2 for p in wide]
    parts = ends
    if median is not None:
        levels, parts = [*levels, 0.5], [*ends, floating(median, "median").to(ends[0])[None]]
    return quantiles(levels, torch.cat(parts), sequence_ids)


def _both_ends(level: Any, ends: Any) -> tuple[Tensor, Tensor]:
    """Return low and high, levels first, of ends (rows, 2, levels); for a single level without its axis."""
    ends = floating(ends, "low")
    levels = 1 if isinstance(level, int | float) else len(level)
    if ends.dim() != 3 or tuple(ends.shape[1:]) != (2, levels):
        raise ValueError(
            f"without high=, low holds both ends, of shape (rows, 2, levels) with {levels} levels, but its shape is "
            f"{tuple(ends.shape)}."
        )
    low, high = ends.movedim(2, 0).unbind(2)
    return (low[0], high[0]) if isinstance(level, int | float) else (low, high)


def floating(value: Any, name: str) -> Tensor:
    """Return a value (tensor, array, list) as a floating tensor without gradient."""
    if not isinstance(value, Tensor):
        try:
            value = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(f"{name} must be a tensor, but a {type(value).__name__} was given.") from None
    return value.detach() if value.is_floating_point() else value.detach().float()
