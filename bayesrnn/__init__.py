"""Recurrent networks that know what they do not know: Monte Carlo dropout with tied masks."""

from bayesrnn import nn as nn
from bayesrnn import schemes as schemes
from bayesrnn.inference import audit as audit
from bayesrnn.inference import predict as predict

__version__ = "0.1.0"
