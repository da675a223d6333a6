"""Recurrent networks that know what they do not know: Monte Carlo dropout with tied masks."""

from bayesrnn import nn as nn
from bayesrnn import schemes as schemes

__version__ = "0.1.0"
