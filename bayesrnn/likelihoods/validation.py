"""Whether the parameters of distributions are looked at, where torch does it and where it does not."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch.distributions import Distribution, MixtureSameFamily, TransformedDistribution

from bayesrnn.likelihoods.families import peel

_anything: ContextVar[bool] = ContextVar("any parameters", default=False)


@contextmanager
def unvalidated() -> Iterator[None]:
    """Let distributions take any parameters for the time of the block."""
    before, token = Distribution._validate_args, _anything.set(True)
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
        _anything.reset(token)


def validate(distribution: Any, again: bool = False) -> None:
    """Look at the parameters in torch's place: `torch.compile` turns its validation off for the whole process.

    Args:
        distribution: A distribution; one that was made with `validate_args` is left as it was asked for.
        again: Look all the same, since its parameters have changed.

    Raises:
        ValueError: If a parameter is outside its range; torch's own error.
    """
    if _anything.get() or not isinstance(distribution, Distribution):
        return
    distribution = peel(distribution)
    if isinstance(distribution, MixtureSameFamily):
        validate(distribution.mixture_distribution, again)
        validate(distribution.component_distribution, again)
    elif isinstance(distribution, TransformedDistribution):
        validate(distribution.base_dist, again)
    if again or not (Distribution._validate_args or "_validate_args" in vars(distribution)):
        Distribution.__init__(distribution, distribution.batch_shape, distribution.event_shape, validate_args=True)
