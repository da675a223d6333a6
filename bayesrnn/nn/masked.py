"""What every layer with masks shares: it can be bound to the masks of one call, and it can say where its masks act."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from bayesrnn.masks import Binding
from bayesrnn.schemes import Placement

__all__ = ["MaskedModule", "bound", "masked_modules"]


class MaskedModule(nn.Module):
    """A module whose masks come from its arguments, from a binding, or (in training) from torch's random state.

    Subclasses read `self.binding` in their forward pass, say so with `count_call`, and list their sites in
    `placements`.
    """

    bound_calls: int = 0

    def __init__(self) -> None:
        super().__init__()
        self.binding: Binding | None = None

    def count_call(self) -> None:
        """Note that the bound masks were used once more."""
        if not torch.compiler.is_compiling():
            self.bound_calls += 1

    def placements(self) -> dict[str, Placement]:
        """Return the active sites, keyed like the masks: rates above 0 only."""
        raise TypeError(f"{type(self).__name__} must say where its masks act: define placements().")


def masked_modules(model: nn.Module) -> dict[str, MaskedModule]:
    """Return the modules of `model` with at least one active site, by qualified name."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, MaskedModule)}
    return {name: module for name, module in found.items() if module.placements()}


@contextmanager
def bound(model: nn.Module, binding: Binding) -> Iterator[None]:
    """Bind the masks of `binding` to every layer inside `model` for the time of the block.

    Nothing else of the model changes; the bindings are taken off again also when the block raises. A warning says
    where a layer was called more than once: each call begins with the same masks, where training draws new ones.
    torch's fused kernels for transformers are off meanwhile, since they leave out the dropout inside.

    Raises:
        ValueError: If a layer is bound already: two predictions run on one model object at once.
    """
    modules = masked_modules(model)
    taken = [name for name, module in modules.items() if module.binding is not None]
    if taken:
        raise ValueError(
            f"the layers {taken} are bound to masks already: another prediction is running on this same model object. "
            "Wait for it, or give each thread its own copy.deepcopy(model)."
        )
    try:
        for name, module in modules.items():
            module.binding, module.bound_calls = binding.at(_address(model, name)), 0
        with _no_fused_transformers():
            yield
        _warn_of_repeated({name: module.bound_calls for name, module in modules.items() if module.bound_calls > 1})
    finally:
        for module in modules.values():
            module.binding = None


def _warn_of_repeated(calls: dict[str, int]) -> None:
    if calls:
        names = ", ".join(f"{name or 'the model itself'} ({count} times)" for name, count in calls.items())
        warnings.warn(
            f"layers were called more than once in one pass: {names}. Every call had the same masks (masks of single "
            "steps began anew), but in training each call draws new ones, so this model is predicted with other masks "
            "than it was trained with. Give a recurrent layer the whole sequence in one call, and each place a Dropout "
            "of its own.",
            stacklevel=2,
        )


class _Fused:
    """How many blocks want torch's fused transformer kernels off, and whether they were on before the first."""

    lock = threading.Lock()
    blocks = 0
    before = True


@contextmanager
def _no_fused_transformers() -> Iterator[None]:
    with _Fused.lock:
        if _Fused.blocks == 0:
            _Fused.before = torch.backends.mha.get_fastpath_enabled()
            torch.backends.mha.set_fastpath_enabled(False)
        _Fused.blocks += 1
    try:
        yield
    finally:
        with _Fused.lock:
            _Fused.blocks -= 1
            if _Fused.blocks == 0:
                torch.backends.mha.set_fastpath_enabled(_Fused.before)


def _address(model: nn.Module, name: str) -> str:
    """Return a module's name without the wrappers of `torch.compile` and data parallelism."""
    parts = name.split(".")
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        parts = parts[1:]
    return ".".join(part for part in parts if part != "_orig_mod")
