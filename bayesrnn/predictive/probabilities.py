"""Class probabilities: checked, as logarithms that a rounded 0 leaves finite; names of classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution
from torch.nn import functional as F

from bayesrnn.likelihoods import families

__all__ = ["check_probabilities", "class_log_probabilities", "class_numbers", "entropy_of", "log_probabilities"]


def check_probabilities(p: Tensor) -> Tensor:
    """Return `p` in float64 with the last dimension normalized, if it holds probabilities.

    Raises:
        ValueError: If a value is NaN or outside [0, 1], or a row does not add up to 1.
    """
    wide = p.detach().double()
    bad = ~((wide >= -1e-6) & (wide <= 1 + 1e-6)).all(-1)
    off = ~((wide.sum(-1) - 1).abs() <= (2e-2 if p.dtype in (torch.bfloat16, torch.float16) else 1e-4))
    for wrong, what in ((bad, "values outside [0, 1] or NaN"), (off, "classes that do not add up to 1")):
        if bool(wrong.any()):
            rows = wrong.reshape(len(wrong), -1).any(1).nonzero().flatten()[:5].tolist()
            raise ValueError(
                f"probabilities hold {what} (rows {rows}). If these are logits, pass logits.softmax(-1); "
                "the classes are the last dimension."
            )
    wide = wide.clamp(min=0)
    return wide / wide.sum(-1, keepdim=True)


def log_probabilities(p: Tensor) -> Tensor:
    """Return the normalized logarithms of probabilities in float64, finite everywhere.

    A 0 is what its dtype has for anything smaller than its smallest number (6e-8 in float16, 1e-45 in float32), and is
    taken as that number.
    """
    limits = torch.finfo(p.dtype)
    return check_probabilities(p).clamp(min=max(limits.smallest_normal * limits.eps, 5e-324)).log()


def class_log_probabilities(distribution: Distribution) -> Tensor:
    """Return normalized log probabilities (S, B, ..., K) of a Categorical, OneHotCategorical or Bernoulli."""
    distribution = families.peel(distribution)
    logits: Tensor = distribution.logits.detach()  # type: ignore[attr-defined]
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    if isinstance(distribution, Bernoulli):
        return torch.stack([F.logsigmoid(-logits), F.logsigmoid(logits)], -1)
    return torch.log_softmax(logits, -1)


def entropy_of(logs: Tensor) -> Tensor:
    """Return the entropy of log probabilities, classes last, nats."""
    return -(logs.exp() * logs.clamp(min=torch.finfo(logs.dtype).min)).sum(-1)


def class_numbers(target: Any, names: Sequence[str] | None) -> Any:
    """Return texts as the numbers of the classes that they name; anything else as it is.

    Raises:
        ValueError: If the classes have no names, or a text is none of them.
    """
    if isinstance(target, Tensor):
        return target
    texts = np.asarray(target.to_numpy() if hasattr(target, "to_numpy") else target)
    if texts.dtype.kind not in "UO" or not all(isinstance(text, str) for text in texts.flat):
        return target
    number = {name: k for k, name in enumerate(names or ())}
    unknown = sorted({str(text) for text in texts.flat if text not in number})
    if unknown:
        known = f"classes are called {list(number)[:10]}" if number else "classes have no names"
        raise ValueError(
            f"the target names {unknown[:5]}, but the {known}. Give the numbers of the classes, or their names: "
            "predictive.with_class_names(names)."
        )
    return np.vectorize(number.__getitem__, otypes=[np.int64])(texts)
