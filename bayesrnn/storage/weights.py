"""The parameters and buffers of any module in one safetensors file; shared tensors are written once."""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from bayesrnn._checks import check_path, shortened
from bayesrnn._documents import parse_json
from bayesrnn._files import atomic_path

_UNREADABLE = (
    "{path} is not a safetensors file that can be read ({error}). A .pt or .ckpt file is a pickle, which can run code: "
    "load it where you trust it and save it again with save_weights."
)
_M = TypeVar("_M", bound=nn.Module)
_SHARED, _DIGEST = "shared", "digest"
_FOREIGN = {"format"}  # what other libraries note in the header
_LONGEST_HEADER = 2**22  # bytes; of a large file a quarter


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
    pack(module.state_dict()).write(check_path(path))


def load_weights(module: _M, path: str | os.PathLike[str]) -> _M:
    """Fill a module of the same shape with the weights in `path`, and return it; no code is run.

    Raises:
        ValueError: If the file is missing, is no safetensors file, or does not fit the module.
    """
    fill(module, read_weights(check_path(path)), str(path))
    return module


@dataclass(frozen=True)
class Packed:
    """Named tensors as a file holds them, with facts in its header and a digest of all of it.

    Attributes:
        tensors: Contiguous tensors on the CPU that share no memory.
        facts: Texts by name.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, str]

    @cached_property
    def digest(self) -> str:
        """Digest of names, types, shapes, a checksum of every bit of each tensor, and the facts.

        CRC-32 finds damage and exchanged files at several times the speed of a digest that also withstands forgers,
        who could change the digest as well.
        """
        digest = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode())
        for name, value in sorted(self.tensors.items()):
            flat = value.reshape(-1).view(torch.uint8).numpy().data if value.numel() else b""  # empty: no view of bytes
            digest.update(f"{name}{value.dtype}{tuple(value.shape)}{zlib.crc32(flat)}".encode())
        return digest.hexdigest()[:32]

    def write(self, path: Path) -> None:
        """Write the safetensors file in one step.

        Raises:
            ValueError: If the folder does not exist, cannot be written to, or has no room.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        need = sum(value.nbytes for value in self.tensors.values()) + len(str(self.facts))
        with atomic_path(path, need) as temporary:
            try:
                save_file(self.tensors, temporary, {**self.facts, _DIGEST: self.digest})
            except SafetensorError as error:
                raise OSError(str(error)) from None


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
    return Packed(written, {_SHARED: json.dumps(shared)})


def read_tensors(path: Path, digest: str | None = None, fix: str = "Take a copy, or save it again.") -> Packed:
    """Return tensors and facts of a file that `Packed.write` wrote, or of any safetensors file.

    Args:
        path: The file.
        digest: The digest of what was written, if known: a file with other content is refused.
        fix: What to do about a damaged file.

    Raises:
        ValueError: If the file is missing, no safetensors file, or not what was written.
    """
    with _opened(path) as file:
        facts = file.metadata() or {}
        tensors = {name: _copied(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 - the file may change
    noted = facts.pop(_DIGEST, None)
    packed = Packed(tensors, facts)
    foreign = digest is None and noted is None and set(facts) <= _FOREIGN
    if not foreign and (packed.digest != noted or digest not in (None, noted)):
        raise ValueError(f"{path} is damaged: its content is not what was written. {fix}")
    return packed


def _copied(tensor: Tensor) -> Tensor:
    """Return a copy with the same bits. `clone` turns the bytes 2 to 255 of a boolean into 1, unseen by a digest."""
    return tensor.view(torch.uint8).clone().view(torch.bool) if tensor.dtype == torch.bool else tensor.clone()


def read_weights(path: Path, digest: str | None = None) -> dict[str, Tensor]:
    """Return the tensors in a file by name, shared ones under each of their names.

    Raises:
        ValueError: If the file is missing, no safetensors file, or not what was written.
    """
    packed = read_tensors(path, digest)
    return packed.tensors | {alias: packed.tensors[name] for alias, name in _shared(path, packed.facts).items()}


def stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in a file by name (shared ones under every name), without reading them.

    Raises:
        ValueError: If the file is missing or no safetensors file.
    """
    with _opened(path) as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        shared = _shared(path, file.metadata() or {})
        return shapes | {alias: shapes[name] for alias, name in shared.items()}


def stored_facts(path: Path) -> dict[str, str]:
    """Return the facts in the header of a file as they stand there, unchecked.

    Raises:
        ValueError: If the file is missing or no safetensors file.
    """
    with _opened(path) as file:
        return file.metadata() or {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file whose header is not longer than any that is written here."""
    from safetensors import SafetensorError, safe_open

    _check_file(path)
    try:
        with path.open("rb") as start:
            length = int.from_bytes(start.read(8), "little")
        if length > max(_LONGEST_HEADER, path.stat().st_size // 4):
            raise ValueError(f"its header would have {length:,} bytes")
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, RecursionError, MemoryError) as error:
        raise ValueError(_UNREADABLE.format(path=path, error=error)) from None


def _shared(path: Path, facts: Mapping[str, str]) -> dict[str, str]:
    shared = parse_json(facts.get(_SHARED, "{}").encode(), f"{path} has a header that cannot be read")
    if not isinstance(shared, dict) or not all(isinstance(name, str) for name in shared.values()):
        raise ValueError(f"{path} has a header that cannot be read: {_SHARED} must give names of tensors by name.")
    return shared


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
    kinds = {"missing": missing, "foreign": foreign, "other shapes": wrong}
    return ", ".join(f"{kind} {shortened(names) if names else 'none'}" for kind, names in kinds.items())


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: str, *, keep: bool = False) -> None:
    """Copy tensors into a module, which takes their dtype where they all have one.

    With `keep` a module on the CPU whose parameters are all its own keeps the tensors themselves.

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
        own = len(list(module.parameters())) == len(list(module.named_parameters(remove_duplicate=False)))
        module.load_state_dict(dict(tensors), assign=keep and own)
