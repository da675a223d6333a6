"""The predictive: the law of the target averaged over draws, as a value that metrics and plots read."""

from .base import Predictive
from .classes import ClassPredictive
from .continuous import ContinuousPredictive, gaussian_law
from .empirical import EmpiricalLaw
from .law import AbstractLaw
from .mixture import MixtureLaw
from .moments import MomentsLaw
from .origin import DETERMINISTIC, Origin, block_standard_error
from .tokens import TokenPredictive

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
