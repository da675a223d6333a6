"""Training: early stopping, checkpoints that hold no code, resuming after a kill, gradient clipping.

`fit` trains any torch module that returns a torch Distribution, or any other output with a loss of your own;
`fit_ensemble` trains several. `Training` is a LightningModule for a `lightning.Trainer` of your own; Lightning is
imported for it, and for a training on several devices. `train_language_model` trains a `LanguageModel` on a stream of
tokens as a `Recipe` says.
"""

from typing import TYPE_CHECKING, Any

from bayesrnn.training._fit import fit
from bayesrnn.training._fit_ensemble import Ensemble, fit_ensemble
from bayesrnn.training.checkpoint import History
from bayesrnn.training.language import train_language_model
from bayesrnn.training.recipes import (
    SGD,
    AdamW,
    Cosine,
    ExponentialAverage,
    NonMonotoneAverage,
    Recipe,
    StepDecay,
    gal,
    one_cycle,
    zaremba,
)

if TYPE_CHECKING:
    from bayesrnn.training.lightning import Training as Training

__all__ = [
    "SGD",
    "AdamW",
    "Cosine",
    "Ensemble",
    "ExponentialAverage",
    "History",
    "NonMonotoneAverage",
    "Recipe",
    "StepDecay",
    "Training",
    "fit",
    "fit_ensemble",
    "gal",
    "one_cycle",
    "train_language_model",
    "zaremba",
]


def __getattr__(name: str) -> Any:
    if name == "Training":
        from bayesrnn.training.lightning import Training

        return Training
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
