"""Properties of torch Distributions that predictives need: family, moments, cdf, inverse, rows."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch import distributions as D
from torch.distributions import Distribution

from bayesrnn._checks import rows_of, some

Family = Literal["continuous", "count", "class"]
_CLASSES = (D.Categorical, D.Bernoulli, D.OneHotCategorical)
_COUNTS = (D.Poisson, D.NegativeBinomial, D.Binomial, D.Geometric)


def peel(distribution: Distribution) -> Distribution:
    """Return the distribution of the single targets: `Independent` wrappers removed."""
    while isinstance(distribution, D.Independent):
        distribution = distribution.base_dist
    return distribution


def family(distribution: Distribution) -> Family:
    """Return what kind of target the distribution is about: "continuous", "count" or "class".

    Raises:
        TypeError: If it is no torch Distribution.
        ValueError: If the distribution is joint over several targets (its event shape is not empty).
    """
    if not isinstance(distribution, Distribution):
        raise TypeError(
            f"a torch Distribution is needed, but a {type(distribution).__name__} was given. "
            "Give a likelihood (see bayesrnn.likelihoods), or let the model return a Distribution."
        )
    distribution = peel(distribution)
    if isinstance(distribution, _CLASSES):
        return "class"
    if distribution.event_shape:
        raise ValueError(
            f"{type(distribution).__name__} is a joint distribution of {tuple(distribution.event_shape)} targets; "
            "the predictive describes each target's own distribution. Return the marginals, e.g. Normal(mean, std) "
            "with the targets in the batch shape."
        )
    return "count" if isinstance(distribution, _COUNTS) else "continuous"


def map_parameters(distribution: Distribution, function: Callable[[Tensor], Tensor]) -> Any:
    """Rebuild a distribution with `function` applied to each of its parameter tensors (to select rows, cast, move)."""
    distribution = peel(distribution)
    if isinstance(distribution, D.MixtureSameFamily):
        return D.MixtureSameFamily(
            map_parameters(distribution.mixture_distribution, function),
            map_parameters(distribution.component_distribution, function),
            validate_args=False,
        )
    if isinstance(distribution, D.TransformedDistribution) and type(distribution) is D.TransformedDistribution:
        transforms = [_map_transform(t, distribution.batch_shape, function) for t in distribution.transforms]
        return D.TransformedDistribution(
            map_parameters(distribution.base_dist, function), transforms, validate_args=False
        )
    parameters = {name: function(value) for name, value in parameters_of(distribution).items()}
    make: Any = type(distribution)
    return make(**parameters, validate_args=False)


def with_parameters(distribution: Distribution, **changed: Tensor) -> Any:
    """Rebuild a distribution with some of its parameter tensors, by name, in the place of its own."""
    distribution = peel(distribution)
    make: Any = type(distribution)
    return make(**(parameters_of(distribution) | changed), validate_args=False)


def example_parameter(distribution: Distribution) -> Tensor:
    """Return one of the distribution's parameter tensors: its dtype and device are the distribution's."""
    parameters: list[Tensor] = []

    def note(value: Tensor) -> Tensor:
        parameters.append(value)
        return value

    map_parameters(distribution, note)
    return parameters[0]


def check_parameters(distribution: Distribution) -> None:
    """Refuse a distribution with a NaN parameter; the error names the rows (dimension 1 of (S, B, ...)).

    Raises:
        ValueError: If a parameter is NaN.
    """

    def check(value: Tensor) -> Tensor:
        bad = torch.isnan(value)
        if bool(bad.any()):
            raise ValueError(
                f"the distribution of the target holds {int(bad.sum())} NaN parameters (rows {some(rows_of(bad, 1))}). "
                "Look for NaN in the inputs or the weights: a diverged training or an unfilled missing value."
            )
        return value

    map_parameters(distribution, check)


def mean_of(distribution: Distribution) -> Tensor:
    """Return the mean of each target's distribution, shape the batch shape.

    Raises:
        ValueError: If a distribution has no mean (Cauchy, Student t with at most 1 degree of freedom) or torch knows
            none.
    """
    distribution = peel(distribution)
    mean = _moment(distribution, "mean")
    if bool(torch.isnan(mean).any()):
        raise ValueError(
            f"{type(distribution).__name__} has no mean for some rows (a Cauchy, or a Student t with at most 1 "
            "degree of freedom). Use quantile(0.5) and interval(level), or keep the degrees of freedom above 2."
        )
    return mean


def variance_of(distribution: Distribution) -> Tensor:
    """Return the variance of each target, infinite where it is (Student t, at most 2 degrees of freedom)."""
    distribution = peel(distribution)
    variance = _moment(distribution, "variance")
    return torch.where(torch.isnan(variance), torch.inf, variance)


def cdf_of(distribution: Distribution, value: Tensor) -> Tensor:
    """Return P(Y <= value), shape broadcast over the batch shape.

    Raises:
        ValueError: If neither torch nor this module knows the distribution's cdf.
    """
    distribution = peel(distribution)
    if isinstance(distribution, D.Normal):
        return torch.special.ndtr((value - distribution.loc) / distribution.scale)
    if isinstance(distribution, D.StudentT):
        from scipy.special import stdtr

        return _through_numpy(stdtr, distribution.df, (value - distribution.loc) / distribution.scale)
    if isinstance(distribution, D.Beta):
        from scipy.special import betainc

        return _through_numpy(betainc, distribution.concentration1, distribution.concentration0, value.clamp(0, 1))
    if isinstance(distribution, _COUNTS):
        return _count_cdf(distribution, torch.floor(value))
    try:
        unchecked = map_parameters(distribution, lambda t: t)  # values outside the support have a cdf too: 0 or 1
        return torch.nan_to_num(unchecked.cdf(value), nan=0.0).clamp(0, 1)
    except NotImplementedError:
        raise ValueError(
            f"the cdf of {type(distribution).__name__} is not known, so neither quantiles nor coverage can be "
            "computed. Use a distribution with a cdf (see bayesrnn.likelihoods), or judge samples: "
            "Predictive.from_samples."
        ) from None


def icdf_of(distribution: Distribution, level: Tensor) -> Tensor | None:
    """Return the quantile of each distribution where a closed form is known, else None."""
    distribution = peel(distribution)
    if isinstance(distribution, D.Normal):
        return distribution.loc + distribution.scale * torch.special.ndtri(level)
    if isinstance(distribution, D.StudentT):
        from scipy.special import stdtrit

        return distribution.loc + distribution.scale * _through_numpy(stdtrit, distribution.df, level)
    if isinstance(distribution, D.Gamma):
        from scipy.special import gammaincinv

        return _through_numpy(gammaincinv, distribution.concentration, level) / distribution.rate
    if isinstance(distribution, D.MixtureSameFamily | D.Beta):
        return None
    try:
        return distribution.icdf(level)
    except NotImplementedError:
        return None


def _count_cdf(distribution: Distribution, count: Tensor) -> Tensor:
    whole = count.clamp(min=0)
    if isinstance(distribution, D.Poisson):
        below = torch.special.gammaincc(whole + 1, distribution.rate)
    elif isinstance(distribution, D.NegativeBinomial):
        from scipy.special import betaincc, expit

        # not 1 - sigmoid(-logits), which is 0 for a dispersion near a Poisson distribution's
        below = _through_numpy(
            lambda y, r, o: betaincc(y, r, expit(o)), whole + 1, distribution.total_count, distribution.logits
        )
    elif isinstance(distribution, D.Binomial):
        from scipy.special import betainc

        left = (distribution.total_count - whole).clamp(min=0)
        below = _through_numpy(betainc, left.clamp(min=1), whole + 1, 1 - distribution.probs)
        below = torch.where(left > 0, below, 1.0)
    else:
        below = -torch.expm1((whole + 1) * torch.log1p(-distribution.probs))  # type: ignore[attr-defined]
    return torch.where(count < 0, torch.zeros_like(below), below)


def _moment(distribution: Distribution, name: Literal["mean", "variance"]) -> Tensor:
    try:
        return getattr(distribution, name)
    except NotImplementedError:
        pass
    if isinstance(distribution, D.TransformedDistribution) and all(
        isinstance(t, D.AffineTransform) for t in distribution.transforms
    ):
        moment = _moment(peel(distribution.base_dist), name)
        for transform in distribution.transforms:
            location, scale = getattr(transform, "loc"), getattr(transform, "scale")  # noqa: B009
            moment = location + scale * moment if name == "mean" else scale**2 * moment
        return moment
    raise ValueError(
        f"torch knows no {name} of {type(distribution).__name__}. Use a distribution with a known {name} (see "
        "bayesrnn.likelihoods), or judge samples: Predictive.from_samples."
    )


def parameters_of(distribution: Distribution) -> dict[str, Tensor]:
    """Return the parameter tensors by name; of logits and probabilities those that were given."""
    names = list(distribution.arg_constraints)
    if "logits" in names and "probs" in names:
        names.remove(
            "logits" if "probs" in distribution.__dict__ and "logits" not in distribution.__dict__ else "probs"
        )
    parameters = {name: getattr(distribution, name) for name in names}
    tensors = {name: value for name, value in parameters.items() if isinstance(value, Tensor)}
    if len(tensors) != len(parameters):
        raise ValueError(f"{type(distribution).__name__} holds parameters that are no tensors: {sorted(parameters)}.")
    return tensors


def _map_transform(transform: Any, shape: torch.Size, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(transform, D.AffineTransform):
        location, scale = (torch.as_tensor(v) for v in (transform.loc, transform.scale))
        if location.dim() or scale.dim():
            return D.AffineTransform(function(location.expand(shape)), function(scale.expand(shape)))
    return transform


def _through_numpy(function: Callable[..., Any], *arguments: Tensor) -> Tensor:
    first = arguments[0]
    arrays = [a.detach().cpu().double().numpy() for a in arguments]
    return torch.as_tensor(np.asarray(function(*arrays)), dtype=arguments[-1].dtype, device=first.device)
