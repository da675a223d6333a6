"""Explain errors that torch layers raise: name the layer, the inputs and the likely mistake."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bayesrnn.inference.nested import leaves
from bayesrnn.nn.copying import where


@contextmanager
def explained(model: nn.Module, inputs: tuple[Any, ...]) -> Iterator[None]:
    """Within the block, an error that a layer of torch raises names the layer, the inputs and the likely mistake.

    Errors of the user's code and of this package pass as they are, unless the inputs are numpy arrays.

    Raises:
        ValueError: In the place of an error of a torch layer.
    """
    try:
        yield
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        arrays = [x for _, x in leaves(inputs) if isinstance(x, np.ndarray)]
        name, layer = _last_layer(model, error.__traceback__)
        if isinstance(error, torch.OutOfMemoryError) or not (arrays or type(layer).__module__.startswith("torch.nn.")):
            raise
        reason = str(error).split("\n")[0].rstrip(".")
        raise ValueError(f"{where(layer, name)} refuses its input: {reason}. {_advice(model, inputs)}") from error


def _last_layer(model: nn.Module, trace: TracebackType | None) -> tuple[str, nn.Module]:
    """Return the innermost module of the model whose code was running, with its name."""
    names, last = {module: name for name, module in model.named_modules()}, model
    while trace is not None:
        inside = trace.tb_frame.f_locals.get("self")
        if isinstance(inside, nn.Module) and inside in names:
            last = inside
        trace = trace.tb_next
    return names[last], last


def _advice(model: nn.Module, inputs: tuple[Any, ...]) -> str:
    values: list[Any] = [x for _, x in leaves(inputs) if isinstance(x, Tensor | np.ndarray)]
    given = ", ".join(f"{type(x).__name__} {tuple(x.shape)} of {x.dtype}" for x in values)
    text = f"The inputs of the model, with the rows of all draws, are: {given}. "
    if any(isinstance(x, np.ndarray) for x in values):
        return text + "Models take tensors: pass torch.from_numpy(x), in the type of the parameters (x.float())."
    types = {p.dtype for p in model.parameters() if p.is_floating_point()}
    wrong = next((x for x in values if x.is_floating_point() and types and x.dtype not in types), None)
    if wrong is not None:
        return text + f"The parameters are {min(map(str, types))}: pass x.to({min(map(str, types))})."
    return text + "Check how many features there are, which dimension holds them, and that they are no whole numbers."
