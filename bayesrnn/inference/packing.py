"""Values as a dict of tensors, one of them JSON, and back: reading them can run no code."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from bayesrnn.inference.accumulators import ClassStatistics, ContinuousStatistics
from bayesrnn.inference.linear.halves import Halves
from bayesrnn.inference.linear.statistics import ControlledClassStatistics, ControlledStatistics
from bayesrnn.inference.statistics import JointMoments, Moments, Replicates

_STATISTICS = (ContinuousStatistics, ClassStatistics, ControlledStatistics, ControlledClassStatistics)
_CLASSES: dict[str, Any] = {c.__name__: c for c in (*_STATISTICS, Halves, Replicates, Moments, JointMoments)}


def packed(value: Any) -> dict[str, Tensor]:
    """Return plain data, tensors and statistics, nested in lists, tuples and dicts, as a flat dict of tensors."""
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_described(value, tensors)).encode()
    return tensors | {"header": torch.frombuffer(bytearray(text), dtype=torch.uint8)}


def unpacked(tensors: Mapping[str, Tensor], device: Any = "cpu") -> Any:
    """Return the value that `packed` packed, its tensors on a device."""
    text = tensors["header"].cpu().numpy().tobytes()
    return _made(json.loads(text), {name: t.to(device) for name, t in tensors.items() if name != "header"})


def _described(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return a value as JSON takes it, with its tensors put into `tensors`."""
    if isinstance(value, Tensor):
        tensors[str(len(tensors))] = value.detach().cpu().contiguous().clone()
        return {"tensor": str(len(tensors) - 1)}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if is_dataclass(value):
        inside = {field.name: _described(getattr(value, field.name), tensors) for field in fields(value)}
        return {"class": type(value).__name__, "fields": inside}
    if isinstance(value, dict):
        return {"items": [[key, _described(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_described(item, tensors) for item in value]}
    return [_described(item, tensors) for item in value] if isinstance(value, list) else value


def _made(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Return the value that `_described` described."""
    if isinstance(value, list):
        return [_made(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "dtype" in value:
        return getattr(torch, value["dtype"])
    if "items" in value:
        return {key: _made(item, tensors) for key, item in value["items"]}
    if "tuple" in value:
        return tuple(_made(item, tensors) for item in value["tuple"])
    return _CLASSES[value["class"]](**{k: _made(v, tensors) for k, v in value["fields"].items()})
