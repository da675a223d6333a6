"""Which steps of a batch are padding, told from the lengths that a model was given."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["before_padding", "padding"]


def padding(
    model: nn.Module, inputs: Sequence[Any], keywords: Mapping[str, Any], values: Tensor
) -> tuple[Tensor | None, int | None]:
    """Return the lengths that the model was given and the padded steps, or None where `values` is not per step.

    Lengths are the argument of `forward` of that name. A loss has one number a step if its second dimension is as long
    as that of the inputs, unless the model says ``every_step = False``.
    """
    lengths = keywords.get("lengths")
    if lengths is None and len(inputs) > 1:
        lengths = inspect.signature(model.forward).bind_partial(*inputs).arguments.get("lengths")
    if lengths is None or values.dim() < 2 or getattr(model, "every_step", None) is False:
        return None, None
    tensors = [value for value in (*inputs, *keywords.values()) if isinstance(value, Tensor) and value.dim() > 1]
    steps = values.shape[1]
    return (lengths, steps) if any(tensor.shape[1] == steps for tensor in tensors) else (None, None)


def before_padding(lengths: Any, steps: int, dims: int, device: torch.device) -> Tensor:
    """Return, for values of `dims` dimensions, (rows, steps, 1, ...): whether a step lies before the row's padding."""
    inside = torch.arange(steps, device=device) < torch.as_tensor(lengths, device=device)[:, None]
    return inside.reshape(inside.shape + (1,) * (dims - 2))
