"""The losses of a training, and its checkpoint (safetensors and JSON, no code)."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn._documents import parse_json
from bayesrnn.storage.weights import Packed, read_tensors, stored_facts

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class History:
    """The losses of each epoch: means over targets, in nats where the loss is a negative log-likelihood.

    Args:
        train: Loss of each epoch, with masks, as the weights changed under it.
        validation: Loss of each epoch on the validation data, by the deterministic pass; empty without such data.
        best_epoch: The epoch whose weights the model now has, counted from 0; None if no epoch has run.
        stopped_early: Whether patience ran out before the last epoch.
        rate: Learning rate of each epoch; this and the next two only for language models.
        seconds: Time of each epoch, without validation.
        words_per_second: Tokens trained on per second in each epoch.
    """

    train: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()
    best_epoch: int | None = None
    stopped_early: bool = False
    rate: tuple[float, ...] = ()
    seconds: tuple[float, ...] = ()
    words_per_second: tuple[float, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "History":
        """Return the history whose fields `dataclasses.asdict` gave, lists in the place of tuples allowed."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)

    @property
    def epochs(self) -> int:
        """How many epochs have run."""
        return len(self.train)

    @property
    def best(self) -> float | None:
        """The lowest validation loss; None without validation data."""
        return min(self.validation, default=None)

    @property
    def train_perplexity(self) -> tuple[float, ...]:
        """The exponential of each training loss: of a language model its perplexity under masks."""
        return tuple(map(_exp, self.train))

    @property
    def validation_perplexity(self) -> tuple[float, ...]:
        """The exponential of each validation loss."""
        return tuple(map(_exp, self.validation))

    def and_epoch(self, *, best: bool = True, **values: float) -> "History":
        """Return the history with one more epoch, whose value of each measured field is given.

        Example:
            >>> History().and_epoch(train=1.5, validation=1.6).and_epoch(best=False, train=1.2, validation=1.7).train
            (1.5, 1.2)
        """
        longer: dict[str, Any] = {name: (*getattr(self, name), value) for name, value in values.items()}
        return replace(self, best_epoch=self.epochs if best else self.best_epoch, **longer)

    def to_frame(self) -> "pandas.DataFrame":
        """Return one row per epoch: the column `epoch` and one for each measured field.

        Example:
            >>> list(History((1.5, 1.2), (1.6, 1.4), 1).to_frame().columns)
            ['epoch', 'train', 'validation']
        """
        import pandas

        measured = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), tuple)}
        columns = {name: values for name, values in measured.items() if values or name == "train"}
        return pandas.DataFrame({"epoch": range(self.epochs), **columns})


def _exp(loss: float) -> float:
    return math.exp(min(loss, 700.0))


FILE = "checkpoint.safetensors"
_FORMAT = "bayesrnn.checkpoint/2"
_KEYS = {"settings": dict, "history": dict, "numbers": dict}


@dataclass
class Checkpoint:
    """Everything that the next epoch or step depends on, in one safetensors file that is written in one step.

    torch's random state is not in it: masks and orders are seeded by the number of the epoch or the step.

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
        """Write the checkpoint: after a kill the folder holds the old one or the new one, whole.

        Raises:
            ValueError: If the folder cannot be written to or has no room; the old checkpoint is untouched then.
        """
        flat = {
            f"{part}/{name}": torch.clone(value.detach().cpu(), memory_format=torch.contiguous_format)
            for part, named in self.tensors.items()
            for name, value in named.items()  # cloned: tensors that share memory are written one by one
        }
        content = {"settings": self.settings, "history": asdict(self.history), "numbers": self.numbers}
        Packed(flat, {"training": as_json({"format": _FORMAT, **content})}).write(folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> "Checkpoint | None":
        """Return the checkpoint in `folder`, or None if there is none.

        Raises:
            ValueError: If the file is no checkpoint, is of another format, or a bit of it has changed.
        """
        path = folder / FILE
        if not path.exists():
            return None
        anew, wrong = "Delete it to begin anew.", f"{path} is not a checkpoint of bayesrnn"
        try:
            facts = stored_facts(path)
        except ValueError as error:
            raise ValueError(f"{wrong}: {error} {anew}") from None
        content = parse_json(facts.get("training", "null").encode(), wrong, anew, infinite=True)
        written = content.pop("format", None) if isinstance(content, dict) else None
        if written is None:
            raise ValueError(f"{wrong}. {anew}")
        if written != _FORMAT:
            raise ValueError(f"{path} has the format {written!r}, but this version reads {_FORMAT!r}. {anew}")
        if set(content) != set(_KEYS) or not all(isinstance(content[key], kind) for key, kind in _KEYS.items()):
            raise ValueError(f"{wrong}: it should hold {', '.join(_KEYS)}, but holds {', '.join(content)}. {anew}")
        packed = read_tensors(path, fix=anew)
        content = json.loads(packed.facts["training"])  # of the same moment as the tensors
        tensors: dict[str, dict[str, Tensor]] = {}
        for name, value in packed.tensors.items():
            part, _, key = name.partition("/")
            tensors.setdefault(part, {})[key] = value
        try:
            history = History.from_dict(content["history"])
        except TypeError as error:
            raise ValueError(f"{wrong}: its history is of another version ({error}). {anew}") from None
        return cls(content["settings"], history, tensors, content["numbers"])


def as_json(content: Mapping[str, Any]) -> str:
    """Return plain data as JSON, numpy's numbers as Python's, infinite ones (a clip, a loss) too."""
    return json.dumps(content, default=_python_number)


def _python_number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r:.60} ({type(value).__name__}) is no plain data.")


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return what an optimizer remembers of each parameter: tensors and numbers, both by `index/name`.

    What a list holds, as those of LBFGS, goes by `index/name/place` and its length by `index/name/length`.
    """
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for key, value in values.items():
            parts = {key: value}
            if isinstance(value, list):
                parts = {f"{key}/{place}": part for place, part in enumerate(value)} | {f"{key}/length": len(value)}
            for name, part in parts.items():
                (tensors if isinstance(part, Tensor) else numbers)[f"{index}/{name}"] = part
    return tensors, numbers


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]
) -> None:
    """Give an optimizer what `optimizer_state` returned."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *numbers.items()]:
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = value
    for values in state.values():
        for key in [name.removesuffix("/length") for name in values if name.endswith("/length")]:
            values[key] = [values.pop(f"{key}/{place}") for place in range(values.pop(f"{key}/length"))]
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
