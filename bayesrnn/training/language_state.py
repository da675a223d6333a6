"""The state of a language model's training in mid-epoch, in one safetensors file: tensors and a JSON header, no code.

Of the random state nothing needs keeping: the masks of a step are seeded by (seed, step).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayesrnn._files import atomic_path

__all__ = ["FILE", "Checkpoint"]

FILE = "checkpoint.safetensors"
_FORMAT = "bayesrnn.language/1"


@dataclass
class Checkpoint:
    """Everything that the next step depends on.

    Attributes:
        settings: What must not change between the parts of one training.
        tensors: By part: `weights`, `optimizer`, `average`, `best`, `state`.
        step: Steps done, over all epochs.
        loss: Sum of -log p over the targets of this epoch, nats.
        targets: How many targets of this epoch are done.
        seconds: Time spent in this epoch.
        averaged: Steps in the average of the weights.
        averaging: Whether that average has begun.
        history: The epochs done.
    """

    settings: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    step: int = 0
    loss: float = 0.0
    targets: int = 0
    seconds: float = 0.0
    averaged: int = 0
    averaging: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write the state in one step: a kill leaves the old file or the new one."""
        from safetensors.torch import save_file

        flat = {f"{part}/{name}": value for part, named in self.tensors.items() for name, value in named.items()}
        header = {name: value for name, value in self.__dict__.items() if name != "tensors"}
        text = json.dumps({"format": _FORMAT, **header})
        with atomic_path(folder / FILE) as temporary:
            save_file(
                {name: torch.clone(value.detach().cpu()).contiguous() for name, value in flat.items()},
                temporary,
                {"language": text},
            )

    @classmethod
    def load(cls, folder: Path) -> "Checkpoint | None":
        """Return the state in `folder`, or None if there is none.

        Raises:
            ValueError: If the file is not one of these.
        """
        from safetensors import SafetensorError, safe_open

        path = folder / FILE
        if not path.exists():
            return None
        try:
            with safe_open(path, "pt") as file:
                header = json.loads((file.metadata() or {})["language"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if header.pop("format") != _FORMAT:
                raise KeyError("format")
        except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
            raise ValueError(
                f"{path} is not a checkpoint of a language model ({error}). Delete it, or choose another folder."
            ) from None
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            part, _, key = name.partition("/")
            parts.setdefault(part, {})[key] = value
        return cls(tensors=parts, **header)

    def check(self, settings: Mapping[str, Any], folder: Path) -> None:
        """Refuse to go on with a training that was begun otherwise.

        Raises:
            ValueError: If a setting differs; another vocabulary is named as such.
        """
        other = [key for key in settings if self.settings.get(key) != settings[key]]
        if "vocabulary" in other:
            raise ValueError(
                f"{folder / FILE} was trained with another vocabulary ({self.settings.get('vocabulary')}, but that of "
                f"the text is {settings['vocabulary']}). It is left as it is: give its own text, or another folder."
            )
        if other:
            changes = "; ".join(f"{key}: {self.settings.get(key)!r} there, {settings[key]!r} now" for key in other)
            raise ValueError(
                f"{folder / FILE} belongs to another training ({changes}). It is left as it is: choose another folder, "
                "or resume=False to begin anew there."
            )
