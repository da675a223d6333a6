"""The state of a language model's training in mid-epoch, in one safetensors file: tensors and a JSON header, no code.

Of the random state nothing needs keeping: the masks of a step are seeded by (seed, step).
"""

import json
import math
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayesrnn._files import atomic_path

__all__ = ["FILE", "Checkpoint", "check_numbers", "check_tensors", "damaged", "interrupts_wait"]

FILE = "checkpoint.safetensors"
_FORMAT = "bayesrnn.language/1"
_PARTS = {"weights", "optimizer", "average", "best", "state"}
_FIRST = ("tokens", "train", "valid")
"""Settings that say which text it was; `train` and `valid`, its digests, are missing in the oldest checkpoints."""


def damaged(path: Path, reason: str) -> ValueError:
    """Return the error for a checkpoint whose content cannot be."""
    return ValueError(
        f"{path} is damaged: {reason}. Nothing can go on from it: delete it, or begin anew with resume=False."
    )


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Hold Ctrl-C back to the end of the block, so that what belongs together is not cut in two.

    Where somebody else handles the signal, or in another thread than the main one, nothing is changed.
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    held: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if held:
        raise KeyboardInterrupt


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
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = folder / FILE
        if not path.exists():
            return None
        try:
            data = path.read_bytes()  # at once: a training may put a newer checkpoint in its place meanwhile
            tensors = load(data)
            length = int.from_bytes(data[:8], "little")
            header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["language"])
            if header.pop("format") != _FORMAT:
                raise KeyError("format")
        except (SafetensorError, KeyError, TypeError, AttributeError, json.JSONDecodeError, OSError) as error:
            raise ValueError(
                f"{path} is not a checkpoint of a language model ({error}). Delete it, or choose another folder."
            ) from None
        _check_header(path, header)
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            part, _, key = name.partition("/")
            parts.setdefault(part, {})[key] = value
        if not parts.keys() <= _PARTS:
            raise damaged(path, f"it holds unknown parts {sorted(parts.keys() - _PARTS)}")
        return cls(tensors=parts, **header)

    def check(self, settings: Mapping[str, Any], folder: Path) -> None:
        """Refuse to go on with a training that was begun otherwise.

        Raises:
            ValueError: If a setting differs; another vocabulary is named as such.
        """
        there, now = _flat(self.settings), _flat(settings)
        for name in ("train", "valid"):
            if name not in self.settings:
                now.pop(name)
        if there.get("vocabulary") != now["vocabulary"]:
            raise ValueError(
                f"{folder / FILE} was trained with another vocabulary ({there.get('vocabulary')}, but that of "
                f"the text is {now['vocabulary']}). It is left as it is: give its own text, or another folder, or "
                "resume=False to begin anew there."
            )
        other = [key for key in sorted(there.keys() | now.keys()) if there.get(key) != now.get(key)]
        if not other:
            return
        texts = [_TEXTS[key] for key in _FIRST if key in other]
        rest = [f"{key}: {there.get(key)!r} there, {now.get(key)!r} now" for key in other if key not in _FIRST]
        raise ValueError(
            f"{folder / FILE} belongs to another training ({'; '.join(dict.fromkeys([*texts, *rest]))}). It is left as "
            "it is: give what it was begun with, or another folder, or resume=False to begin anew there."
        )


_TEXTS = {
    "tokens": "the training text is another one",
    "train": "the training text is another one",
    "valid": "the validation text is another one, or there is one on one side only",
}


def check_tensors(path: Path, part: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse tensors of a checkpoint that are not those of the model, or not finite.

    Raises:
        ValueError: If a name, a shape or a value cannot be.
    """
    if found.keys() != expected.keys():
        missing, foreign = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
        raise damaged(path, f"its {part} lack {missing[:3]}" if missing else f"its {part} hold {foreign[:3]} too many")
    for name, value in found.items():
        if value.shape != expected[name].shape or value.is_floating_point() != expected[name].is_floating_point():
            shape, wanted = tuple(value.shape), tuple(expected[name].shape)
            raise damaged(path, f"its {part} hold {name} of shape {shape} and type {value.dtype}, not {wanted}")
        if not bool(torch.isfinite(value).all()):
            raise damaged(path, f"its {part} hold NaN or infinite values in {name}")


def check_numbers(path: Path, point: Checkpoint, epochs: int, windows: int) -> None:
    """Refuse counts of a checkpoint that contradict each other.

    Raises:
        ValueError: If they do.
    """
    done = len(point.history)
    if done > epochs or not done * windows <= point.step <= min(done + 1, epochs) * windows:
        raise damaged(path, f"step {point.step} with {done} closed epochs of {windows} steps cannot be")
    if (point.step > done * windows) != (point.targets > 0):
        raise damaged(path, f"{point.targets} targets at step {point.step} after {done} epochs cannot be")


def _check_header(path: Path, header: Mapping[str, Any]) -> None:
    """Refuse a header without just the fields of a `Checkpoint`, each of its type."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "settings": dict,
        "step": int,
        "loss": (int, float),
        "targets": int,
        "seconds": (int, float),
        "averaged": int,
        "averaging": bool,
        "history": list,
    }
    names = {f.name for f in fields(Checkpoint)} - {"tensors"}
    if header.keys() != names:
        raise damaged(path, f"the entries {sorted(header.keys() ^ names)} of its header are missing or unknown")
    for name, kind in kinds.items():
        value: Any = header[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise damaged(path, f"the entry {name!r} of its header cannot be {value!r:.40}")
        if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
            raise damaged(path, f"the entry {name!r} of its header cannot be {value!r}")
    for place, epoch in enumerate(header["history"]):
        whole = isinstance(epoch, dict) and epoch.get("epoch") == place + 1
        if not whole or any(not isinstance(epoch.get(n), int | float) for n in ("train_nll", "train_perplexity")):
            raise damaged(path, f"epoch {place + 1} of its history cannot be {epoch!r:.40}")
        if not isinstance(epoch.get("valid_nll", 0.0), int | float):
            raise damaged(path, f"epoch {place + 1} of its history has no number as valid_nll")


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one dict with dotted names."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
