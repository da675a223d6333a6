"""Training by Lightning: early stopping, checkpoints that hold no code, resuming after a kill, gradient clipping.

`fit` trains any torch module that returns a torch Distribution (or whatever the given loss understands). `Training` is
the LightningModule behind it, for those who bring a `lightning.Trainer` of their own; Lightning is imported when one
of them is used.
"""

from typing import TYPE_CHECKING, Any

from bayesrnn.training.history import History as History
from bayesrnn.training.run import fit as fit

if TYPE_CHECKING:
    from bayesrnn.training.module import Training as Training

__all__ = ["History", "Training", "fit"]


def __getattr__(name: str) -> Any:
    if name == "Training":
        from bayesrnn.training.module import Training

        return Training
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
