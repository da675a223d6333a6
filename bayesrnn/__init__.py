"""Recurrent networks that know what they do not know: Monte Carlo dropout with tied masks."""

from bayesrnn import models as models
from bayesrnn import nn as nn
from bayesrnn import schemes as schemes
from bayesrnn.inference import audit as audit
from bayesrnn.inference import predict as predict
from bayesrnn.storage import load as load
from bayesrnn.storage import load_weights as load_weights
from bayesrnn.storage import save as save
from bayesrnn.storage import save_weights as save_weights
from bayesrnn.training import fit as fit

__version__ = "0.1.0"
