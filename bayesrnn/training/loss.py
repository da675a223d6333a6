"""The default loss, and how padding is kept out of any loss."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution

from bayesrnn._checks import as_values
from bayesrnn.likelihoods import families
from bayesrnn.nn.sequences import before_padding

__all__ = ["Loss", "masked_mean", "negative_log_likelihood"]

Loss = Callable[[Any, Tensor], Tensor]
"""(output of the model, target) -> a scalar, or one number per target."""


def negative_log_likelihood(distribution: Distribution, target: Any) -> Tensor:
    r"""Return $-\log p(y)$ of each target in nats, shaped as the distribution's batch.

    The targets are a tensor, an array, a list or a pandas Series. Whole numbers and booleans are taken as numbers,
    except for classes (`Categorical`), whose targets are whole numbers.

    Raises:
        TypeError: If the model's output is no torch Distribution.
        ValueError: If the target's shape is not the distribution's, or a target lies outside the distribution's
            support.

    Example:
        >>> negative_log_likelihood(torch.distributions.Bernoulli(torch.tensor([0.5])), torch.ones(1))
        tensor([0.6931])
    """
    if not isinstance(distribution, Distribution):
        raise TypeError(
            f"the model returned a {type(distribution).__name__}, but the default loss needs a torch Distribution. "
            "Return one from forward (see bayesrnn.likelihoods), or pass loss=, for example "
            "torch.nn.functional.mse_loss."
        )
    target = as_values(target, "target")
    legal = distribution.batch_shape + distribution.event_shape
    if target.shape != legal:
        raise ValueError(
            f"the target has shape {tuple(target.shape)}, but the model's distribution is about {tuple(legal)}. One "
            "target per row is (rows,), one per step is (rows, steps), several are (rows, targets)."
        )
    if not target.is_floating_point() and not isinstance(families.peel(distribution), Categorical):
        target = target.to(families.example_parameter(distribution).dtype)  # binary_cross_entropy takes no other
    _check_support(distribution, target)
    return -distribution.log_prob(target)


def masked_mean(values: Tensor, lengths: Tensor | None, steps: int | None, rows: int = 1) -> tuple[Tensor, int]:
    """Return the mean over the targets that are no padding, and their number.

    Args:
        values: A scalar, or (rows, ...), or (rows, steps, ...) with padding behind `lengths`.
        lengths: Steps of each row, or None.
        steps: Steps of the padded tensors where `values` has one number per step, else None.
        rows: What a scalar loss counts for.
    """
    if lengths is None or steps is None or values.dim() < 2:
        return values.mean(), values.numel() if values.dim() else rows
    inside = before_padding(lengths, steps, values.dim(), values.device).expand_as(values)
    count = int(inside.sum())
    return values.masked_fill(~inside, 0.0).sum() / max(count, 1), count


def _check_support(distribution: Distribution, target: Tensor) -> None:
    if isinstance(distribution, Categorical):
        classes = distribution._num_events
        if target.is_floating_point() or target.dtype == torch.bool:
            raise ValueError(
                f"class targets must be whole numbers in 0..{classes - 1}, but their type is {target.dtype}. "
                "Use target.long()."
            )
        low, high = int(target.min()), int(target.max())
        if low < 0 or high >= classes:
            raise ValueError(
                f"class targets must lie in 0..{classes - 1}, but they reach from {low} to {high}. Count classes from "
                "0, and check the model's number of classes."
            )
        return
    try:
        support = distribution.support
    except NotImplementedError:
        return
    inside = support.check(target) if support is not None else None
    if inside is not None and not bool(inside.all()):
        raise ValueError(
            f"{int((~inside).sum())} targets lie outside the support of {type(distribution).__name__}, {support}. "
            "Counts are whole numbers from 0; for other values choose another likelihood."
        )
