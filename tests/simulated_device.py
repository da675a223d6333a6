"""A device that is not the CPU, on any machine: its tensors refuse to meet those that live elsewhere.

What a GPU would refuse (an index on the other side, a mask that was left behind) is refused here too, and the numbers
are the CPU's, so that whole trainings and predictions can be compared. It says nothing of a GPU's speed or rounding.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch._dispatch.python import enable_python_dispatcher
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from bayesrnn.nn.kernels.scan import operators as ops

_NAME = "npy"  # one of the names that torch parses for backends of others
_MEETING = ("copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_", "_pack_padded_sequence")
_OURS: dict[str, Callable[..., Any]] = {
    "bayesrnn::scan_layer": ops._scan,
    "bayesrnn::scan_gradients": ops._scan_gradients,
}
_LIBRARY = torch.library.Library("aten", "IMPL")


class Elsewhere(Tensor):
    """A tensor on the simulated device; `held` has its numbers."""

    held: Tensor
    is_cuda = True  # so that branches meant for GPUs are taken

    @staticmethod
    def __new__(cls, held: Tensor) -> "Elsewhere":
        return Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=f"{_NAME}:0",
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"Elsewhere({self.held!r})"

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert a tensor that is elsewhere to numpy: copy it to the CPU first.")

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def tolist(self) -> Any:
        return self.held.tolist()

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """Copy the numbers: torch would copy a storage that is not there."""
        if id(self) not in memo:
            twin = Elsewhere(self.held.detach().clone())
            parameter = isinstance(self, nn.Parameter)
            memo[id(self)] = nn.Parameter(twin, self.requires_grad) if parameter else twin
        return memo[id(self)]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Factories(TorchDispatchMode):
    """Tensors that are made on the simulated device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        return _run(func, args, kwargs) if _is_there(kwargs.get("device")) else func(*args, **kwargs)


def _empty(size: Any, *, dtype: Any = None, memory_format: Any = None, **_: Any) -> Elsewhere:
    return Elsewhere(torch.empty(size, dtype=dtype, memory_format=memory_format or torch.contiguous_format))


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Elsewhere:
    return Elsewhere(torch.empty_strided(size, stride, dtype=dtype))


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func._schema.name
    if name in _OURS:  # its inside has to keep to one device as well
        return _OURS[name](*args, **kwargs)
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
    there = [t for t in tensors if isinstance(t, Elsewhere)]
    here = [t for t in tensors if not isinstance(t, Elsewhere) and t.dim() > 0]
    if there and here and name.removeprefix("aten::") not in _MEETING:
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found {_NAME} and cpu.")
    device = kwargs.get("device")
    inside = {**kwargs, "device": torch.device("cpu")} if device is not None else kwargs
    out = func(*tree_map(_held, args), **tree_map(_held, inside))
    if name == "aten::copy_":
        return args[0]
    if name == "aten::_pack_padded_sequence" and there:
        return Elsewhere(out[0]), out[1]  # the sizes stay on the CPU
    lands = _is_there(device) if device is not None else bool(there)
    if not lands:
        return out
    wrapped = tree_map(lambda t: Elsewhere(t) if isinstance(t, Tensor) else t, out)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Elsewhere) else value


def _is_there(device: Any) -> bool:
    return device is not None and torch.device(device).type == _NAME


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    _held(target).copy_(_held(source))
    return target


class _Backend:
    """What torch asks of a device: one, whose random numbers are the CPU's."""

    def is_available(self) -> bool:
        return True

    is_initialized = is_available

    def _is_in_bad_fork(self) -> bool:
        return False

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def manual_seed_all(self, seed: int) -> None:
        """The CPU's generator is seeded anyway."""

    def get_rng_state(self, device: Any = None) -> Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)


@cache
def _register() -> None:
    """Make the device known to torch, with the few operators that it calls behind the back of a mode."""
    _setup_privateuseone_for_python_backend(_NAME, backend_module=_Backend())
    _LIBRARY.impl("empty.memory_format", _empty, "PrivateUse1")
    _LIBRARY.impl("empty_strided", _empty_strided, "PrivateUse1")
    _LIBRARY.impl("_copy_from", _copy_from, "PrivateUse1")


@contextmanager
def simulated_device() -> Iterator[torch.device]:
    """Let tensors be made on the device; backward runs in this thread, torch's layers by their plain operations."""
    _register()
    with torch.autograd.set_multithreading_enabled(False), _Factories(), enable_python_dispatcher():
        yield torch.device(_NAME)


def moved(module: nn.Module) -> nn.Module:
    """Put the parameters and buffers of a module there, as `module.to(device)` would; aliases stay aliases."""
    known: dict[int, Tensor] = {}

    def there(value: Tensor, kind: Callable[[Tensor], Tensor]) -> Tensor:
        if id(value) not in known:
            known[id(value)] = kind(Elsewhere(value.detach().clone()))
        return known[id(value)]

    for part in module.modules():
        for name, value in list(part._parameters.items()):
            if value is not None:
                part._parameters[name] = there(value, lambda t, v=value: nn.Parameter(t, v.requires_grad))
        for name, value in list(part._buffers.items()):
            if value is not None:
                part._buffers[name] = there(value, lambda t: t)
    return module
