"""What a network keeps between calls, in attributes and buffers, so that a prediction can put it back."""

import copy
from collections import deque
from collections.abc import Iterator
from dataclasses import is_dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_OF_EVERY_MODULE = frozenset(vars(nn.Module())) - {"_buffers"}  # modes, hooks, parameters, children


class Attributes:
    """The attributes and buffers of all modules of a model as they are now.

    Covered are tensors, arrays, lists, dicts, sets, deques, tuples and dataclasses, and what is inside them; of any
    other object, which object it is.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = [
            (vars(module), {name: value for name, value in vars(module).items() if name not in _OF_EVERY_MODULE})
            for module in model.modules()
            if not isinstance(module, nn.modules.lazy.LazyModuleMixin)  # its first call makes it another module
        ]
        seen: set[int] = set()
        self._contents = [c for _, held in self._modules for value in held.values() for c in _contents(value, seen)]

    @torch.no_grad()
    def put_back(self) -> None:
        """Make the attributes what they were: the same objects with the same contents."""
        for now, held in self._modules:
            for name in [name for name in now if name not in _OF_EVERY_MODULE and name not in held]:
                del now[name]
            for name, value in held.items():
                if name not in now or now[name] is not value:
                    now[name] = value
        for value, before in self._contents:
            _write(value, before)

    def tensors(self, rows: int) -> list[str]:
        """Return the names of attributes that hold a tensor with `rows` in a dimension, such as a state."""
        return sorted(
            {
                name
                for _, held in self._modules
                for name, value in held.items()
                for item, _ in _contents({} if name == "_buffers" else value, set())
                if isinstance(item, Tensor) and rows in item.shape
            }
        )


def _contents(value: Any, seen: set[int]) -> Iterator[tuple[Any, Any]]:
    """Yield every value inside `value` that can change in place, with a copy of it."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        if not isinstance(value, nn.Parameter) and value.layout == torch.strided and not value.is_meta:
            yield value, value.detach().clone()
    elif isinstance(value, np.ndarray):
        yield value, value.copy()
    elif isinstance(value, list | dict | set | deque | tuple):
        if not isinstance(value, tuple):
            yield value, copy.copy(value)
        for item in list(value.values() if isinstance(value, dict) else value):
            if not isinstance(item, int | float | str | None):
                yield from _contents(item, seen)
    elif isinstance(value, SimpleNamespace) or (is_dataclass(value) and hasattr(value, "__dict__")):
        yield from _contents(vars(value), seen)


def _write(value: Any, before: Any) -> None:
    """Make a value in place what it was, where it differs."""
    if isinstance(value, Tensor):
        if value.shape != before.shape or value.dtype != before.dtype:
            value.data = before.clone()
        elif not torch.equal(value, before):
            value.copy_(before)
    elif isinstance(value, np.ndarray):
        value[...] = before
    elif isinstance(value, dict):
        if len(value) != len(before) or any(k not in value or value[k] is not v for k, v in before.items()):
            value.clear()
            value.update(before)
    elif len(value) != len(before) or any(a is not b for a, b in zip(value, before)):
        value.clear()
        (value.update if isinstance(value, set) else value.extend)(before)
