"""The checkpoint of a training: one safetensors file with tensors and JSON, written in one step. It holds no code.

torch's random state is not stored: masks and orders are seeded by the number of the epoch or the step.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayesrnn._files import atomic_path
from bayesrnn.storage.weights import digest_of
from bayesrnn.training.history import History

__all__ = ["FILE", "Checkpoint", "optimizer_state", "restore_optimizer"]

FILE = "checkpoint.safetensors"
_FORMAT = "bayesrnn.checkpoint/1"


@dataclass
class Checkpoint:
    """Everything that the next epoch or step depends on.

    Attributes:
        settings: What must be the same in all parts of one training.
        history: The epochs done.
        tensors: By part, such as `weights` and `optimizer`.
        numbers: What else the next step depends on, as JSON can hold it.
    """

    settings: dict[str, Any]
    history: History = field(default_factory=History)
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    numbers: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the checkpoint: after a kill the folder holds the old one or the new one, whole."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        flat = {
            f"{part}/{name}": torch.clone(value.detach().cpu(), memory_format=torch.contiguous_format)
            for part, named in self.tensors.items()
            for name, value in named.items()  # cloned: tensors that share memory are written one by one
        }
        content = {"settings": self.settings, "history": asdict(self.history), "numbers": self.numbers}
        text = json.dumps({"format": _FORMAT, **content})
        try:
            with atomic_path(folder / FILE) as temporary:
                save_file(flat, temporary, {"training": text, "digest": digest_of(flat, text)})
        except (OSError, SafetensorError) as error:
            size = sum(value.nbytes for value in flat.values()) + len(text)
            raise ValueError(
                f"cannot write to the folder {folder} ({getattr(error, 'strerror', None) or error}): {FILE} needs "
                f"{size / 1e6:,.1f} MB there. The last checkpoint is untouched; make room, or give another folder."
            ) from None

    @classmethod
    def load(cls, folder: Path) -> "Checkpoint | None":
        """Return the checkpoint in `folder`, or None if there is none.

        Raises:
            ValueError: If the file is no checkpoint, is of another format, or a bit of it has changed.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = folder / FILE
        if not path.exists():
            return None
        try:
            data = path.read_bytes()  # at once: a training may put a newer checkpoint in its place meanwhile
            flat = load(data)
            metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
            content = json.loads(metadata["training"])
            written = content.pop("format")
            whole = metadata["digest"] == digest_of(flat, metadata["training"])
        except (SafetensorError, KeyError, TypeError, AttributeError, ValueError, RecursionError, OSError) as error:
            raise ValueError(
                f"{path} is not a checkpoint of bayesrnn ({type(error).__name__}: {error}). Delete it to begin anew."
            ) from None
        if written != _FORMAT:
            raise ValueError(
                f"{path} has the format {written!r}, but this version reads {_FORMAT!r}. Delete it to begin anew."
            )
        if not whole:
            raise ValueError(f"{path} is damaged: it is not what was written. Delete it to begin anew.")
        tensors: dict[str, dict[str, Tensor]] = {}
        for name, value in flat.items():
            part, _, key = name.partition("/")
            tensors.setdefault(part, {})[key] = value
        return cls(content["settings"], History.from_dict(content["history"]), tensors, content["numbers"])


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what an optimizer remembers of each parameter: tensors and numbers, both by `index/name`."""
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            (tensors if isinstance(value, Tensor) else numbers)[f"{index}/{key}"] = value
    return tensors, numbers


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]
) -> None:
    """Give an optimizer what `optimizer_state` returned."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *numbers.items()]:
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
