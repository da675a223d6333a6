"""The distribution of a mask, and the Pyro counterpart of a torch Distribution."""

import inspect
from functools import cache
from typing import Any

import torch
from pyro import distributions as dist
from pyro.distributions.torch_distribution import TorchDistribution, TorchDistributionMixin
from torch import Tensor
from torch import distributions as D
from torch.distributions import constraints

from bayesrnn._checks import check_rate

_ALTERNATIVES = (("logits", "probs"), ("scale_tril", "covariance_matrix", "precision_matrix"))


class _MaskSupport(constraints.Constraint):
    is_discrete = True

    def __init__(self, kept: Tensor) -> None:
        super().__init__()
        self.kept = kept

    def check(self, value: Tensor) -> Tensor:
        return (value == 0) | torch.isclose(value, self.kept.to(value))


class Mask(TorchDistribution):
    r"""A mask value: 0 with probability p, else $1/(1-p)$.

    Args:
        rate: p, in [0, 1); a tensor of the batch shape, or a number for a single mask value.

    Raises:
        TypeError: If the rate is neither a number nor a floating tensor.
        ValueError: If the rate is outside [0, 1).

    Example:
        >>> Mask(torch.tensor(0.5)).log_prob(torch.tensor([0.0, 2.0]))
        tensor([-0.6931, -0.6931])
    """

    arg_constraints = {"rate": constraints.half_open_interval(0.0, 1.0)}  # noqa: RUF012 (torch's own protocol)
    has_enumerate_support = True

    def __init__(self, rate: Tensor | float, validate_args: bool | None = None) -> None:
        self.rate = rate if isinstance(rate, Tensor) else torch.tensor(check_rate(rate))
        if not self.rate.is_floating_point():
            raise TypeError(
                f"rate must hold probabilities in [0, 1), but a tensor of {self.rate.dtype} was given. "
                "Write torch.tensor(0.5), or convert it with .float()."
            )
        super().__init__(self.rate.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        """The values 0 and 1/(1-p)."""
        return _MaskSupport(1.0 / (1.0 - self.rate))

    @property
    def mean(self) -> Tensor:
        """1, at any rate."""
        return torch.ones_like(self.rate)

    @property
    def variance(self) -> Tensor:
        """Odds of the rate, p / (1-p)."""
        return self.rate / (1.0 - self.rate)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw masks, shape (*sample_shape, *batch_shape)."""
        keep = (1.0 - self.rate).expand(torch.Size(sample_shape) + self.batch_shape)
        return torch.bernoulli(keep) / keep

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p where the value is 0, else log(1-p)."""
        if self._validate_args:
            self._validate_sample(value)
        return torch.where(value == 0, self.rate.log(), torch.log1p(-self.rate))

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Mask":
        """Return the same distribution for a larger batch shape."""
        return Mask(self.rate.expand(torch.Size(batch_shape)), validate_args=False)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return both values, along a new first dimension."""
        kept = 1.0 / (1.0 - self.rate)
        values = torch.stack([torch.zeros_like(kept), kept])
        return values if expand else values[(...,) + (slice(0, 1),) * len(self.batch_shape)]


def as_pyro(distribution: D.Distribution) -> Any:
    """Return a Pyro distribution for a torch one: Pyro's class of the same name, wrappers included.

    A class that Pyro does not know, such as a subclass with a density of its own, keeps its own methods.

    Example:
        >>> type(as_pyro(D.Independent(D.Normal(torch.zeros(3), 1.0), 1)).base_dist).__module__
        'pyro.distributions.torch'
    """
    if isinstance(distribution, TorchDistributionMixin):
        return distribution
    if isinstance(distribution, D.Independent):
        return dist.Independent(as_pyro(distribution.base_dist), distribution.reinterpreted_batch_ndims)
    if isinstance(distribution, D.MixtureSameFamily):
        return dist.MixtureSameFamily(
            as_pyro(distribution.mixture_distribution), as_pyro(distribution.component_distribution)
        )
    if type(distribution) is D.TransformedDistribution:
        return dist.TransformedDistribution(as_pyro(distribution.base_dist), distribution.transforms)
    kind = getattr(dist, type(distribution).__name__, None)
    if isinstance(kind, type) and issubclass(kind, type(distribution)):
        return kind(**_parameters(distribution, kind))
    plain: Any = type(distribution)
    copied = object.__new__(_extended(plain))  # the constructor of a class we do not know may take anything
    copied.__dict__.update(distribution.__dict__)
    return copied


@cache
def _extended(kind: Any) -> Any:
    """Return the class with Pyro's methods added, as Pyro does it for the classes of torch."""
    return type(kind.__name__, (kind, TorchDistributionMixin), {})


def _parameters(distribution: D.Distribution, kind: type) -> dict[str, Any]:
    """Return the constructor arguments of `distribution`; of alternatives (logits, probs) the one it holds."""
    names = [n for n in inspect.signature(kind).parameters if n != "validate_args" and hasattr(distribution, n)]
    for group in _ALTERNATIVES:
        present = [n for n in group if n in names]
        chosen = [n for n in present if n in distribution.__dict__] or present
        names = [n for n in names if n not in present or n == chosen[0]]
    return {n: getattr(distribution, n) for n in names}
