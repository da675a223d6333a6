"""What every layer with masks shares: it can be bound to the masks of one call, and it can say where its masks act."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from bayesrnn.masks import Binding
from bayesrnn.schemes import Placement

__all__ = ["MaskedModule", "bound", "masked_modules"]


class MaskedModule(nn.Module):
    """A module whose masks come from its arguments, from a binding, or (in training) from torch's random state.

    Subclasses read `self.binding` in their forward pass and list their sites in `placements`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.binding: Binding | None = None

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

    Nothing else of the model changes; the bindings are taken off again also when the block raises.

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
            module.binding = binding.at(_address(model, name))
        yield
    finally:
        for module in modules.values():
            module.binding = None


def _address(model: nn.Module, name: str) -> str:
    """Return a module's name without the wrappers of `torch.compile` and data parallelism."""
    parts = name.split(".")
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        parts = parts[1:]
    return ".".join(part for part in parts if part != "_orig_mod")
