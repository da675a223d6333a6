"""Class probabilities: checked, as logarithms that a rounded 0 leaves finite; names of classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Bernoulli, Distribution
from torch.nn import functional as F

from bayesrnn._checks import as_values, rows_of, shortened
from bayesrnn.likelihoods import families


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
            raise ValueError(
                f"probabilities hold {what} (rows {rows_of(wrong)[:5]}). If these are logits, pass logits.softmax(-1); "
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
    logits: Tensor = distribution.logits  # type: ignore[attr-defined]
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    if isinstance(distribution, Bernoulli):
        return torch.stack([F.logsigmoid(-logits), F.logsigmoid(logits)], -1)
    return torch.log_softmax(logits, -1)


def entropy_of(logs: Tensor) -> Tensor:
    """Return the entropy of log probabilities, classes last, nats."""
    return -(logs.exp() * logs.clamp(min=torch.finfo(logs.dtype).min)).sum(-1)


def class_numbers(target: Any, names: Sequence[str] | None) -> Any:
    """Return texts as the numbers of the classes that they name (missing ones as NaN); anything else as it is.

    Raises:
        ValueError: If the classes have no names, a text is none of them, or numbers could mean names that are numbers.
    """
    if isinstance(target, Tensor):
        return target
    texts = np.asarray(target.to_numpy() if hasattr(target, "to_numpy") else target)
    named = np.array([isinstance(text, str) for text in texts.flat], bool) if texts.dtype.kind in "UOT" else None
    if named is None or not named.any():
        return _unambiguous(target, texts, names)
    from pandas import isna

    number = {name: k for k, name in enumerate(names or ())}
    values, flat = np.full(texts.size, np.nan), texts.reshape(-1)
    missing = isna(flat[~named])
    unknown = sorted({str(text) for text in flat[named] if text not in number} | set(map(str, flat[~named][~missing])))
    if unknown:
        known = f"classes are called {shortened(list(number))}" if number else "classes have no names"
        raise ValueError(
            f"the target names {shortened(unknown)}, but the {known}. Give the numbers of the classes, or their names: "
            "predictive.with_class_names(names)."
        )
    values[named] = [number[text] for text in flat[named]]
    return (values if missing.any() else values.astype(np.int64)).reshape(texts.shape)


def class_index(target: Any, log_mean: Tensor) -> Tensor:
    """Return a target as int64 class indices, on the device of log probabilities (B, ..., K) that it fits."""
    shape, classes = log_mean.shape[:-1], log_mean.shape[-1]
    target = as_values(target, "target").to(log_mean.device)
    if target.shape != shape:
        raise ValueError(
            f"target of shape {tuple(target.shape)} does not fit the predictive of shape {tuple(shape)}: "
            "give one class index per target."
        )
    index = target.long()
    if bool((index != target).any()):
        raise ValueError("a class target must be whole numbers (class indices), but fractions were given.")
    if bool(((index < 0) | (index >= classes)).any()):
        raise ValueError(
            f"a class target must lie in 0..{classes - 1}, but values from {int(index.min())} to "
            f"{int(index.max())} were given. Padding is left out with mask= or lengths=."
        )
    return index


def _unambiguous(target: Any, values: NDArray[Any], names: Sequence[str] | None) -> Any:
    """Refuse numbers where the classes have other numbers as names: 1 could be class 1 or the class "1"."""
    if names is None or values.dtype.kind not in "iuf":
        return target
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return target
    if numbers != list(range(len(names))):
        raise ValueError(
            f"the classes are called {shortened(names)}, so numbers could mean their names or their places. Give the "
            'names as texts, ["..."] or y.astype(str), or the places 0, 1, ... as a tensor.'
        )
    return target
