"""One thread at a time predicts with a model: masks and modes are set on its layers meanwhile."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_changed = threading.Condition()
_holders: dict[int, tuple[int, int]] = {}  # of a module's id: the thread that holds it, and how often


@contextmanager
def exclusive(model: nn.Module) -> Iterator[None]:
    """Hold `model` and all modules inside it for this thread during the block; other threads wait for its end.

    A thread may hold a model again that it holds already.

    Raises:
        ValueError: If this thread holds one model and would have to wait for another, which could be for ever.
    """
    thread, modules = threading.get_ident(), [id(module) for module in model.modules()]
    with _changed:
        while any(_holders.get(module, (thread, 0))[0] != thread for module in modules):
            if any(holder == thread for holder, _ in _holders.values()):
                raise ValueError(
                    "another thread predicts with a part of this model, while this thread predicts with another model: "
                    "the two could wait for each other for ever. Give each thread its own copy.deepcopy(model)."
                )
            _changed.wait()
        for module in modules:
            _holders[module] = thread, _holders.get(module, (thread, 0))[1] + 1
    try:
        yield
    finally:
        with _changed:
            for module in modules:
                count = _holders[module][1] - 1
                if count:
                    _holders[module] = thread, count
                else:
                    del _holders[module]
            _changed.notify_all()
