"""The predictive: the distribution of the target averaged over draws, as a value that metrics and plots read."""

from bayesrnn.predictive.base import Predictive
from bayesrnn.predictive.classes import ClassPredictive
from bayesrnn.predictive.continuous import ContinuousPredictive
from bayesrnn.predictive.distributions.abstract import AbstractDistribution
from bayesrnn.predictive.distributions.empirical import EmpiricalDistribution
from bayesrnn.predictive.distributions.mixture import MixtureDistribution, gaussian_distribution
from bayesrnn.predictive.distributions.moments import MomentsDistribution
from bayesrnn.predictive.finite_draws import block_standard_error
from bayesrnn.predictive.origin import DETERMINISTIC, Origin
from bayesrnn.predictive.tokens import TokenPredictive

__all__ = [
    "DETERMINISTIC",
    "AbstractDistribution",
    "ClassPredictive",
    "ContinuousPredictive",
    "EmpiricalDistribution",
    "MixtureDistribution",
    "MomentsDistribution",
    "Origin",
    "Predictive",
    "TokenPredictive",
    "block_standard_error",
    "gaussian_distribution",
]
