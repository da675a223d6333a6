"""Which device a command computes on, and whether its operations are being recorded."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_played_back: ContextVar[bool] = ContextVar("played_back", default=False)


def pick_device(name: str = "auto") -> torch.device:
    """Return the device of a name; `auto` is the first CUDA device if there is one, else the CPU.

    Raises:
        ValueError: If torch knows no such device, or this machine has none.
        TypeError: If it is no name.

    Example:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not isinstance(name, str):
        raise TypeError(f"device must be the name of one, such as 'auto' or 'cpu', but {name!r} was given.")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # a device that keeps no numbers is of no use
    except (RuntimeError, AssertionError, ImportError) as error:  # torch says some of it in an assertion
        reason = str(error).split("\n")[0].split(". ")[0][:120].rstrip(".")
        present = f"cuda:0 to cuda:{torch.cuda.device_count() - 1}" if torch.cuda.is_available() else "no CUDA device"
        raise ValueError(
            f"device must be 'auto', 'cpu' or one that torch can use here, but {name!r} was given ({reason}). This "
            f"machine has {present}; on a GPU, torch must be a build for its CUDA version."
        ) from None
    return device


def transformed() -> bool:
    """True within a transform of `torch.func` or forward-mode differentiation, which need plain torch operations."""
    if torch.compiler.is_compiling():
        return False
    inside = torch._C._functorch.peek_interpreter_stack() is not None
    return inside or torch.autograd.forward_ad._current_level >= 0


def watched() -> bool:
    """True while tracing, transforming or recording: no number may be read from a tensor."""
    if torch.compiler.is_compiling() or transformed():
        return True
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


@contextmanager
def to_be_played_back() -> Iterator[None]:
    """Within the block, kernels are recorded into one graph: many small ones cost no more than few."""
    token = _played_back.set(True)
    try:
        yield
    finally:
        _played_back.reset(token)


def played_back() -> bool:
    """True while kernels are recorded into a graph, or warmed up for it."""
    return not torch.compiler.is_compiling() and _played_back.get()
