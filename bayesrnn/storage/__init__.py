"""Keeping models and predictives: safetensors and JSON, so that loading can run no code."""

from bayesrnn.storage.folder import load, load_recalibration, read_card, save
from bayesrnn.storage.predictives import load_predictive, save_predictive
from bayesrnn.storage.weights import load_weights, save_weights

__all__ = [
    "load",
    "load_predictive",
    "load_recalibration",
    "load_weights",
    "read_card",
    "save",
    "save_predictive",
    "save_weights",
]
