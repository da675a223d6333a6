"""Copies of modules that have run: results that they stored are copied without their gradient."""

import copy
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def where(part: nn.Module, name: str) -> str:
    """Name a module and its class for an error."""
    return f"{name!r} ({type(part).__name__})" if name else f"the {type(part).__name__}"


class _DetachedCopies(TorchFunctionMode):
    """Within the block, `copy.deepcopy` takes tensors that were computed with a gradient, too: without the gradient."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            if id(tensor) not in memo:
                memo[id(tensor)] = tensor.detach().clone()
            return memo[id(tensor)]
        return func(*args, **(kwargs or {}))


def copied(module: nn.Module) -> nn.Module:
    """Copy a module; what cannot be copied is named."""
    try:
        with _DetachedCopies():
            return copy.deepcopy(module)
    except (TypeError, RuntimeError, AttributeError, NotImplementedError, copy.Error) as error:
        place = _uncopied(module)
        raise ValueError(
            f"{place or type(module).__name__} cannot be copied ({error}). convert and revert return a copy: set the "
            "attribute to None before, and put it back on the copy."
        ) from error


def _uncopied(module: nn.Module) -> str | None:
    """Name the first attribute that `copy.deepcopy` does not take."""
    for name, part in module.named_modules():
        for attribute, value in vars(part).items():
            if attribute == "_modules" or "hooks" in attribute:
                continue
            try:
                with _DetachedCopies():
                    copy.deepcopy(value)
            except Exception:
                return f"the attribute {attribute!r} ({type(value).__name__}) of {where(part, name)}"
    return None
