"""The state of a training between epochs, in one safetensors file: tensors and a JSON header, no code.

The header holds the format version, the settings that must not change between the parts of one training, the losses and
the counters. Nothing of torch's random state is needed: each epoch is seeded by its number.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayesrnn._files import atomic_path

__all__ = ["FILE", "State"]

FILE = "training.safetensors"
_FORMAT = "bayesrnn.training/1"


@dataclass
class State:
    """Everything that the next epoch depends on."""

    settings: dict[str, Any]
    weights: dict[str, Tensor] = field(default_factory=dict)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[Any, Any] = field(default_factory=dict)
    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    stopped_early: bool = False

    def save(self, folder: Path) -> None:
        """Write the state to `folder` in one step: a kill leaves the old file or the new one."""
        from safetensors.torch import save_file

        tensors = {f"weights/{key}": value for key, value in self.weights.items()}
        tensors |= {f"best/{key}": value for key, value in self.best_weights.items()}
        plain: dict[str, dict[str, Any]] = {}
        for index, values in self.optimizer.items():
            for key, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer/{index}/{key}"] = value
                else:
                    plain.setdefault(str(index), {})[key] = value
        header = {
            "format": _FORMAT,
            "settings": self.settings,
            "train": self.train,
            "validation": self.validation,
            "best_epoch": self.best_epoch,
            "stopped_early": self.stopped_early,
            "optimizer": plain,
        }
        with atomic_path(folder / FILE) as temporary:
            save_file(_separate(tensors), temporary, {"training": json.dumps(header)})

    @classmethod
    def load(cls, folder: Path) -> "State | None":
        """Return the state in `folder`, or None if there is none.

        Raises:
            ValueError: If the file is not one of these.
        """
        path = folder / FILE
        if not path.exists():
            return None
        header, tensors = _read(path)
        parts: dict[str, dict[str, Tensor]] = {"weights": {}, "best": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, key = name.partition("/")
            parts[part][key] = tensor
        optimizer: dict[Any, Any] = {int(index): dict(values) for index, values in header["optimizer"].items()}
        for name, tensor in parts["optimizer"].items():
            index, _, key = name.partition("/")
            optimizer.setdefault(int(index), {})[key] = tensor
        return cls(
            settings=header["settings"],
            weights=parts["weights"],
            best_weights=parts["best"],
            optimizer=optimizer,
            train=header["train"],
            validation=header["validation"],
            best_epoch=header["best_epoch"],
            stopped_early=header["stopped_early"],
        )

    def check_settings(self, settings: Mapping[str, Any], folder: Path) -> None:
        """Refuse to go on with a training that was begun otherwise.

        Raises:
            ValueError: If a setting differs; the message names each.
        """
        differing = [key for key in settings if self.settings.get(key) != settings[key]]
        if differing:
            changes = ", ".join(f"{key}: {self.settings.get(key)!r} there, {settings[key]!r} now" for key in differing)
            raise ValueError(
                f"{folder / FILE} belongs to another training ({changes}). Pass resume=False to begin anew, or another "
                "checkpoint folder."
            )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})["training"])
            if header["format"] != _FORMAT:
                raise ValueError(
                    f"{path} has the format {header['format']!r}, but this version reads {_FORMAT!r}. Train anew with "
                    "resume=False."
                )
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
        raise ValueError(
            f"{path} is not a training state of bayesrnn ({error}). Delete it, or pass resume=False to overwrite it."
        ) from None


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share memory (tied embeddings) are written one by one."""
    return {name: torch.clone(value.detach()).contiguous() for name, value in tensors.items()}
