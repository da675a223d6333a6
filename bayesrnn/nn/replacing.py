"""Replace the layers of a copied model: parameters, modes and hooks stay, and what was shared stays shared."""

from collections.abc import Callable

from torch import nn

from bayesrnn.nn.recurrent import Recurrent

Make = Callable[[nn.Module, str], nn.Module | None]
_HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks", "_is_full_backward_hook",
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


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
