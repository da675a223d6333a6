"""Recurrent networks that know what they do not know: Monte Carlo dropout with tied masks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bayesrnn import likelihoods as likelihoods
from bayesrnn import models as models
from bayesrnn import nn as nn
from bayesrnn import schemes as schemes
from bayesrnn.inference import audit as audit
from bayesrnn.inference import predict as predict
from bayesrnn.inference.perplexity import perplexity as perplexity
from bayesrnn.nn.convert import convert as convert
from bayesrnn.predictive import Predictive as Predictive
from bayesrnn.storage import load as load
from bayesrnn.storage import load_weights as load_weights
from bayesrnn.storage import save as save
from bayesrnn.storage import save_weights as save_weights
from bayesrnn.training import fit as fit

if TYPE_CHECKING:
    from bayesrnn import estimators as estimators

__version__ = "0.1.0"

__all__ = [
    "Predictive",
    "audit",
    "convert",
    "estimators",
    "fit",
    "likelihoods",
    "load",
    "load_weights",
    "models",
    "nn",
    "perplexity",
    "predict",
    "save",
    "save_weights",
    "schemes",
]

_LAZY = ("estimators",)  # modules that need a heavy library as soon as they are imported


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return import_module(f"bayesrnn.{name}")
    raise AttributeError(f"module 'bayesrnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
