"""Parts as bytes and back, for the way between ranks: safetensors, so that reading them can run no code."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from bayesrnn.inference.nested import leaves
from bayesrnn.inference.outputs import map_distribution, parameters
from bayesrnn.inference.passes import Part

__all__ = ["fingerprint", "merged", "pack", "unpack"]


def pack(parts: Sequence[Part]) -> bytes:
    """Return the parts as the bytes of a safetensors file."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    for place, part in enumerate(parts):
        found = {"rows": part.rows, "start": torch.tensor(part.start), "draws": torch.tensor(part.draws)}
        for k, distribution in enumerate(part.distribution):
            found |= {f"distribution{k}|{i}": value for i, value in enumerate(parameters(distribution))}
        for k, statistics in enumerate(part.statistics):
            found |= {f"statistics{k}|{name}": value for name, value in statistics.tensors().items()}
        tensors |= {f"{place}|{name}": value.detach().cpu().contiguous().clone() for name, value in found.items()}
    return save(tensors)


def unpack(data: bytes, like: Part) -> list[Part]:
    """Return the parts in `data`; `like` shows which distributions and statistics they hold.

    Args:
        data: What `pack` made.
        like: A part of this process.
    """
    from safetensors.torch import load

    device = like.statistics[0].replicates.mean.device
    groups: dict[int, dict[str, Tensor]] = {}
    for name, value in load(data).items():
        place, _, key = name.partition("|")
        groups.setdefault(int(place), {})[key] = value
    found = []
    for _, tensors in sorted(groups.items()):
        distributions = []
        for k, distribution in enumerate(like.distributions[0] if like.distributions else []):
            values = iter([tensors[f"distribution{k}|{i}"].to(device) for i in range(len(parameters(distribution)))])
            distributions.append(map_distribution(distribution, lambda _, values=values: next(values)))  # type: ignore[misc]
        statistics = [
            type(own).from_tensors(
                {key.partition("|")[2]: t.to(device) for key, t in tensors.items() if key.startswith(f"statistics{k}|")}
            )
            for k, own in enumerate(like.statistics)
        ]
        chunks = (distributions,) if distributions else ()
        found.append(Part(tensors["rows"], int(tensors["start"]), int(tensors["draws"]), chunks, statistics))
    return found


def merged(parts: Iterable[Part]) -> list[Part]:
    """Merge parts of the same rows in the order of their draws; parts that came twice count once."""
    groups: dict[tuple[int, ...], dict[int, Part]] = {}
    for part in parts:
        groups.setdefault(tuple(part.rows.tolist()), {}).setdefault(part.start, part)
    found = []
    for pieces in groups.values():
        first, *rest = (pieces[start] for start in sorted(pieces))
        for part in rest:
            first = first.merge(part)
        found.append(first)
    return found


def fingerprint(model: nn.Module, inputs: tuple[Any, ...], *facts: Any) -> str:
    """Return a short text that differs, as good as surely, where the model, the inputs or the facts differ."""
    digest = hashlib.blake2b(repr(facts).encode(), digest_size=16)
    tensors = list(model.state_dict().values())
    for path, leaf in leaves(inputs):
        digest.update(path.encode())
        if isinstance(leaf, PackedSequence):
            tensors += [leaf.data, leaf.batch_sizes]
        elif isinstance(leaf, Tensor):
            tensors.append(leaf)
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().flatten()
        digest.update(memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else b"")
    return digest.hexdigest()
