"""The parameters and buffers of any module in one safetensors file; shared tensors are written once."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from bayesrnn._files import atomic_path

__all__ = ["load_weights", "read_tensors", "save_weights", "write_tensors"]

_M = TypeVar("_M", bound=nn.Module)
_SHARED = "shared"


def save_weights(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the parameters and buffers of any module, for `load_weights`.

    Raises:
        ValueError: If the folder of `path` does not exist.
        TypeError: If the module keeps state that is no tensor.

    Example:
        >>> import tempfile, torch
        >>> path = tempfile.mkdtemp() + "/net.safetensors"
        >>> save_weights(torch.nn.Linear(2, 1), path)
        >>> load_weights(torch.nn.Linear(2, 1), path).in_features
        2
    """
    with atomic_path(path) as temporary:
        write_tensors(module.state_dict(), temporary)


def load_weights(module: _M, path: str | os.PathLike[str]) -> _M:
    """Fill a module of the same shape with the weights in `path`, and return it; no code is run.

    Raises:
        ValueError: If the file is missing, is no safetensors file, or does not fit the module.
    """
    fill(module, read_tensors(Path(path)), str(path))
    return module


def write_tensors(tensors: Mapping[str, object], path: Path) -> None:
    """Write named tensors; a name whose tensor is another's (shared embeddings) becomes an entry of the header."""
    from safetensors.torch import save_file

    written: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    first: dict[tuple[object, ...], str] = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"the state {name!r} is a {type(tensor).__name__}; only tensors can be kept without code.")
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device)
        if tensor.numel() and key in first:
            shared[name] = first[key]
        else:
            first[key] = name
            written[name] = tensor.detach().cpu().contiguous().clone()
    save_file(written, path, {_SHARED: json.dumps(shared)})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name, shared ones under each of their names.

    Raises:
        ValueError: If the file is missing or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError(f"there is no file {path}. Check the path.")
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            shared = json.loads((file.metadata() or {}).get(_SHARED, "{}"))
        return tensors | {alias: tensors[name] for alias, name in shared.items()}
    except (SafetensorError, OSError, json.JSONDecodeError, KeyError, AttributeError) as error:
        raise ValueError(
            f"{path} is not a safetensors file that can be read ({error}). A .pt or .ckpt file is a pickle, which can "
            "run code: load it where you trust it and save it again with save_weights."
        ) from None


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy tensors into a module, which takes their dtype where they all have one.

    Raises:
        ValueError: If names or shapes differ.
    """
    state = module.state_dict()
    missing, foreign = sorted(set(state) - set(tensors)), sorted(set(tensors) - set(state))
    wrong = [name for name in state if name in tensors and state[name].shape != tensors[name].shape]
    if missing or foreign or wrong:
        raise ValueError(
            f"the weights in {source} do not fit this {type(module).__name__}: missing {missing or 'none'}, foreign "
            f"{foreign or 'none'}, other shapes {wrong or 'none'}. Build the module with the same arguments."
        )
    floating = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(floating) == 1:
        module.to(dtype=floating.pop())
    with torch.no_grad():
        module.load_state_dict(dict(tensors))
