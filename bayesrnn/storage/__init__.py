"""Keeping models: safetensors and JSON, so that loading can run no code."""

from bayesrnn.storage.folder import load as load
from bayesrnn.storage.folder import load_recalibration as load_recalibration
from bayesrnn.storage.folder import read_card as read_card
from bayesrnn.storage.folder import save as save
from bayesrnn.storage.weights import load_weights as load_weights
from bayesrnn.storage.weights import save_weights as save_weights

__all__ = ["load", "load_recalibration", "load_weights", "read_card", "save", "save_weights"]
