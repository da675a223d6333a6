"""Bayesian uncertainty for recurrent networks: Monte Carlo dropout with masks that hold for a whole sequence."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bayesrnn import likelihoods as likelihoods
from bayesrnn import metrics as metrics
from bayesrnn import models as models
from bayesrnn import nn as nn
from bayesrnn import objective as objective
from bayesrnn import plots as plots
from bayesrnn import recalibration as recalibration
from bayesrnn import schemes as schemes
from bayesrnn.comparison import compare as compare
from bayesrnn.comparison import compare_predictives as compare_predictives
from bayesrnn.inference import Stream as Stream
from bayesrnn.inference import audit as audit
from bayesrnn.inference import linearize as linearize
from bayesrnn.inference import predict as predict
from bayesrnn.inference import predict_to as predict_to
from bayesrnn.inference._perplexity import perplexity as perplexity
from bayesrnn.inference.generation import generate as generate
from bayesrnn.inference.translation import translate as translate
from bayesrnn.inference.translation import translate_draws as translate_draws
from bayesrnn.nn.convert import convert as convert
from bayesrnn.nn.convert import revert as revert
from bayesrnn.predictive import Predictive as Predictive
from bayesrnn.report import calibration_report as calibration_report
from bayesrnn.serving import export as export
from bayesrnn.storage import load as load
from bayesrnn.storage import load_predictive as load_predictive
from bayesrnn.storage import load_weights as load_weights
from bayesrnn.storage import save as save
from bayesrnn.storage import save_predictive as save_predictive
from bayesrnn.storage import save_weights as save_weights
from bayesrnn.training import fit as fit
from bayesrnn.training import fit_ensemble as fit_ensemble
from bayesrnn.tuning.language import tune_perplexity as tune_perplexity
from bayesrnn.tuning.rates import rate_grid as rate_grid
from bayesrnn.tuning.rates import rate_search as rate_search

if TYPE_CHECKING:
    from bayesrnn import estimators as estimators
    from bayesrnn import forecasting as forecasting
    from bayesrnn import pyro as pyro

__version__ = "0.1.0"

__all__ = [
    "Predictive",
    "Stream",
    "audit",
    "calibration_report",
    "compare",
    "compare_predictives",
    "convert",
    "estimators",
    "export",
    "fit",
    "fit_ensemble",
    "forecasting",
    "generate",
    "likelihoods",
    "linearize",
    "load",
    "load_predictive",
    "load_weights",
    "metrics",
    "models",
    "nn",
    "objective",
    "perplexity",
    "plots",
    "predict",
    "predict_to",
    "pyro",
    "rate_grid",
    "rate_search",
    "recalibration",
    "revert",
    "save",
    "save_predictive",
    "save_weights",
    "schemes",
    "translate",
    "translate_draws",
    "tune_perplexity",
]

_LAZY = ("estimators", "forecasting", "pyro")  # modules that need a heavy library as soon as they are imported


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return import_module(f"bayesrnn.{name}")
    raise AttributeError(f"module 'bayesrnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
