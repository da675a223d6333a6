"""The predictive: the law of the target averaged over draws, as a value that metrics and plots read."""

from bayesrnn.predictive.base import Predictive
from bayesrnn.predictive.classes import ClassPredictive
from bayesrnn.predictive.continuous import ContinuousPredictive, gaussian_law
from bayesrnn.predictive.distributions.abstract import AbstractLaw
from bayesrnn.predictive.distributions.empirical import EmpiricalLaw
from bayesrnn.predictive.distributions.mixture import MixtureLaw
from bayesrnn.predictive.distributions.moments import MomentsLaw
from bayesrnn.predictive.origin import DETERMINISTIC, Origin, block_standard_error
from bayesrnn.predictive.tokens import TokenPredictive

__all__ = [
    "DETERMINISTIC",
    "AbstractLaw",
    "ClassPredictive",
    "ContinuousPredictive",
    "EmpiricalLaw",
    "MixtureLaw",
    "MomentsLaw",
    "Origin",
    "Predictive",
    "TokenPredictive",
    "block_standard_error",
    "gaussian_law",
]
