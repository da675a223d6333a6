"""The numbers of a distribution whose averages over draws a predictive holds, in the order in which they are cut."""

from torch import Tensor

from bayesrnn.inference.outputs import OutputDistribution, Point
from bayesrnn.likelihoods import families
from bayesrnn.predictive.probabilities import class_log_probabilities, entropy_of


def is_class(distribution: OutputDistribution) -> bool:
    """Whether the target is one of some classes."""
    return not isinstance(distribution, Point) and families.family(distribution) == "class"


def targets(distribution: OutputDistribution) -> list[Tensor]:
    """Return what is averaged over draws, (S, B, ...) in float64: mean and variance; of a point, the mean only.

    Of classes, the probabilities (S, B, ..., K) and the entropy.
    """
    if isinstance(distribution, Point):
        return [distribution.value.double()]
    if is_class(distribution):
        logs = class_log_probabilities(families.map_parameters(distribution, Tensor.double))
        return [logs.exp(), entropy_of(logs)]
    wide = families.map_parameters(distribution, Tensor.double)
    return [families.mean_of(wide), families.variance_of(wide)]
