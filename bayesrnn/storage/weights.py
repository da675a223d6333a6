"""The parameters and buffers of any module in one safetensors file; shared tensors are written once."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from bayesrnn._files import atomic_path

__all__ = [
    "Packed",
    "digest_of",
    "fill",
    "load_weights",
    "misfit",
    "pack",
    "read_tensors",
    "save_weights",
    "stored_shapes",
]

_UNREADABLE = (
    "{path} is not a safetensors file that can be read ({error}). A .pt or .ckpt file is a pickle, which can run code: "
    "load it where you trust it and save it again with save_weights."
)
_M = TypeVar("_M", bound=nn.Module)
_SHARED, _DIGEST = "shared", "digest"


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
    packed = pack(module.state_dict())
    with atomic_path(path) as temporary:
        packed.write(temporary)


def load_weights(module: _M, path: str | os.PathLike[str]) -> _M:
    """Fill a module of the same shape with the weights in `path`, and return it; no code is run.

    Raises:
        ValueError: If the file is missing, is no safetensors file, or does not fit the module.
    """
    fill(module, read_tensors(Path(path)), str(path))
    return module


@dataclass(frozen=True)
class Packed:
    """Named tensors as a file holds them: shared ones once, with a digest of all content."""

    tensors: dict[str, Tensor]
    shared: str
    digest: str

    def write(self, path: Path) -> None:
        """Write the safetensors file."""
        from safetensors.torch import save_file

        save_file(self.tensors, path, {_SHARED: self.shared, _DIGEST: self.digest})


def pack(tensors: Mapping[str, object]) -> Packed:
    """Return named tensors ready to be written; a name whose tensor is another's becomes an entry of the header.

    Raises:
        TypeError: If the state of a module holds something that is no tensor.
    """
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
    text = json.dumps(shared)
    return Packed(written, text, digest_of(written, text))


def digest_of(tensors: Mapping[str, Tensor], text: str) -> str:
    """Return a digest of all content: names, types, shapes, every bit of the tensors, and a text beside them."""
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name, value in sorted(tensors.items()):
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_tensors(path: Path, digest: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a file by name, shared ones under each of their names.

    Args:
        path: A file of `save_weights`, or any safetensors file.
        digest: The digest of what was written, if known: a file with other content is refused.

    Raises:
        ValueError: If the file is missing, no safetensors file, or not what was written.
    """
    from safetensors import SafetensorError, safe_open

    _check_file(path)
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = file.metadata() or {}
        text = facts.get(_SHARED, "{}")
        expected = digest or facts.get(_DIGEST)
        whole = expected is None or digest_of(tensors, text) == expected
        shared = {alias: tensors[name] for alias, name in json.loads(text).items()} if whole else {}
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(_UNREADABLE.format(path=path, error=error)) from None
    if not whole:
        raise ValueError(f"{path} is damaged: its content is not what was written. Take a copy, or save it again.")
    return tensors | shared


def stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in a file by name, shared ones under each of their names, without reading them.

    Raises:
        ValueError: If the file is missing or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    _check_file(path)
    try:
        with safe_open(path, "pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            shared = json.loads((file.metadata() or {}).get(_SHARED, "{}"))
        return shapes | {alias: shapes[name] for alias, name in shared.items()}
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(_UNREADABLE.format(path=path, error=error)) from None


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"there is no file {path}. Check the path.")


def misfit(module: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return how the state of a module differs from stored shapes, or None."""
    state = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    missing, foreign = sorted(set(state) - set(shapes)), sorted(set(shapes) - set(state))
    wrong = [name for name in state if name in shapes and state[name] != shapes[name]]
    if not (missing or foreign or wrong):
        return None
    return f"missing {_some(missing)}, foreign {_some(foreign)}, other shapes {_some(wrong)}"


def _some(names: list[str]) -> str:
    return str(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "") if names else "none"


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy tensors into a module, which takes their dtype where they all have one.

    Raises:
        ValueError: If names or shapes differ.
    """
    if difference := misfit(module, {name: tuple(value.shape) for name, value in tensors.items()}):
        raise ValueError(
            f"the weights in {source} do not fit this {type(module).__name__}: {difference}. Build the module with the "
            "same arguments."
        )
    floating = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    if len(floating) == 1:
        module.to(dtype=floating.pop())
    with torch.no_grad():
        module.load_state_dict(dict(tensors))
