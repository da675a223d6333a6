"""Copies of modules that have run, and copies with some layers replaced."""

import copy
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bayesrnn.nn.recurrent import Recurrent

Make = Callable[[nn.Module, str], nn.Module | None]
_HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks", "_is_full_backward_hook",
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


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


def replaced(module: nn.Module, make: Make) -> nn.Module:
    """Replace every module for which `make` returns another; one that occurs twice stays one."""
    names = {part: name for name, part in module.named_modules()}
    replacements: dict[nn.Module, nn.Module] = {}

    def replacement(old: nn.Module) -> nn.Module:
        if old not in replacements:
            new = make(old, names[old])
            replacements[old] = old if new is None else _dressed(new, old)
        return replacements[old]

    for parent in list(names):
        for name, child in list(parent._modules.items()):
            if child is not None and replacement(child) is not child:
                setattr(parent, name, replacement(child))
    return replacement(module)


def _dressed(new: nn.Module, old: nn.Module) -> nn.Module:
    """Give `new` the parameters, the mode and the hooks of `old`."""
    for name, parameter in old.named_parameters(recurse=False):
        setattr(new, name, parameter)
    for hooks in _HOOKS:
        setattr(new, hooks, getattr(old, hooks))
    new.training = old.training
    if isinstance(new, nn.RNNBase | Recurrent):
        new.flatten_parameters()
    return new
