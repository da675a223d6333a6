"""Bayesian uncertainty for recurrent networks: Monte Carlo dropout with masks that hold for a whole sequence."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayesrnn import estimators as estimators
    from bayesrnn import forecasting as forecasting
    from bayesrnn import likelihoods as likelihoods
    from bayesrnn import metrics as metrics
    from bayesrnn import models as models
    from bayesrnn import nn as nn
    from bayesrnn import objective as objective
    from bayesrnn import plots as plots
    from bayesrnn import pyro as pyro
    from bayesrnn import recalibration as recalibration
    from bayesrnn import schemes as schemes
    from bayesrnn.comparison import compare as compare
    from bayesrnn.comparison import compare_predictives as compare_predictives
    from bayesrnn.inference import Stream as Stream
    from bayesrnn.inference import audit as audit
    from bayesrnn.inference import linearize as linearize
    from bayesrnn.inference import predict as predict
    from bayesrnn.inference import predict_to as predict_to
    from bayesrnn.inference._dynamic_perplexity import dynamic_perplexity as dynamic_perplexity
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

__version__ = "0.1.0"

__all__ = [
    "Predictive",
    "Stream",
    "audit",
    "calibration_report",
    "compare",
    "compare_predictives",
    "convert",
    "dynamic_perplexity",
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

_NAMES = {
    "comparison": ("compare", "compare_predictives"),
    "inference": ("Stream", "audit", "linearize", "predict", "predict_to"),
    "inference._dynamic_perplexity": ("dynamic_perplexity",),
    "inference._perplexity": ("perplexity",),
    "inference.generation": ("generate",),
    "inference.translation": ("translate", "translate_draws"),
    "nn.convert": ("convert", "revert"),
    "predictive": ("Predictive",),
    "report": ("calibration_report",),
    "serving": ("export",),
    "storage": ("load", "load_predictive", "load_weights", "save", "save_predictive", "save_weights"),
    "training": ("fit", "fit_ensemble"),
    "tuning.language": ("tune_perplexity",),
    "tuning.rates": ("rate_grid", "rate_search"),
}
_HOME = {name: f"bayesrnn.{module}" for module, names in _NAMES.items() for name in names}
_PACKAGES = (
    "comparison", "data", "estimators", "forecasting", "inference", "likelihoods", "masks", "metrics", "models", "nn",
    "objective", "plots", "predictive", "pyro", "recalibration", "report", "schemes", "serving", "storage", "training",
    "tuning",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import what is asked for on first use: `import bayesrnn` takes no time, and nobody waits for what is not used."""
    if name in _PACKAGES:
        return import_module(f"bayesrnn.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'bayesrnn' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_PACKAGES})
