"""Stopping and resuming a training: signals wait, the folder is locked, settings are compared with the checkpoint."""

import hashlib
import json
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bayesrnn._files import locked, remove_leftovers
from bayesrnn.nn.concrete import learned_rates
from bayesrnn.nn.masked import masked_modules, qualified
from bayesrnn.training.checkpoint import FILE, Checkpoint, as_json

Settings = dict[str, Any]

_DIGESTS = {
    "train": "the training data is other data",
    "validation": "the validation data is other data, or there is some on one side only",
    "vocabulary": "the vocabulary is another one",
    "parameters": "the parameters have other names or shapes",
    "trainable": "other parameters are frozen",
}
"""What it means that one of these settings differs; their values are digests, which tell a reader nothing."""

_NEEDED = ("trained by", "parameters")
"""Settings without which a checkpoint cannot be taken up at all."""


_SHOWN = 8  # differences that a message names


class OtherTraining(ValueError):
    """A checkpoint was begun with other settings.

    Attributes:
        differences: Setting -> its value in the checkpoint and its value now.
    """

    def __init__(self, path: Path, differences: dict[str, tuple[Any, Any]]) -> None:
        self.path, self.differences = path, differences
        force = "" if any(key in differences for key in _NEEDED) else ' or resume="force" to go on all the same,'
        super().__init__(
            f"{path} belongs to another training ({described(differences)}). It is left as it is: give what it was "
            f"begun with, or another folder,{force} or resume=False to begin anew there."
        )


def described(differences: Mapping[str, tuple[Any, Any]], names: Mapping[str, str] | None = None) -> str:
    """Return the differences between two settings in words; `names` are other names for some settings."""
    parts = []
    for key, (there, now) in differences.items():
        name = (names or {}).get(key, key)
        parts.append(_DIGESTS.get(key, f"{name}: {there!r} there, {now!r} now"))
    return "; ".join([*parts[:_SHOWN], *([f"and {len(parts) - _SHOWN} more"] if len(parts) > _SHOWN else [])])


@contextmanager
def resumed(
    folder: Path | None, settings: Settings, resume: bool | str, defaults: Settings | None = None
) -> Iterator[tuple[Checkpoint, bool]]:
    """Hold the folder and yield its checkpoint, or a new one, and whether it is of another training.

    Args:
        folder: Of the checkpoint; None for none.
        settings: Of this training.
        resume: Whether to go on; "force" from another training too.
        defaults: What settings are where a checkpoint says nothing of them, as one that is older than they are.

    Raises:
        OtherTraining: If the checkpoint was begun with other settings; with `resume="force"` that is a warning.
        ValueError: If the folder cannot be written to, another process trains there, or the file is no checkpoint.
    """
    if resume not in (True, False, "force"):
        raise ValueError(f'resume must be True, False or "force", but {resume!r} was given.')
    if folder is None:
        yield Checkpoint(settings), False
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"cannot write to the folder {folder} ({error.strerror or error}). Give a folder that exists or can be "
            "made, on a disk that has room and can be written to."
        ) from None
    with locked(folder, "another process is training there"):
        remove_leftovers(folder / FILE)
        point = Checkpoint.load(folder) if resume else None
        differing = {} if point is None else differences(point.settings, settings, defaults)
        if differing and (resume != "force" or any(key in differing for key in _NEEDED)):
            raise OtherTraining(folder / FILE, differing)
        if differing:
            warnings.warn(f'resume="force" ignores what differs: {described(differing)}.', stacklevel=4)
        if point is not None:
            point.settings = settings
        yield point or Checkpoint(settings), bool(differing)


def differences(there: Settings, now: Settings, defaults: Settings | None = None) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ; of a schedule only the epochs that both sides have are compared.

    A setting that is missing `there` has its value of `defaults`, else None.
    """
    new, unsaid = (_flat(json.loads(as_json(settings))) for settings in (now, defaults or {}))
    old = {key: value for key, value in unsaid.items() if key in new} | _flat(there)
    past, present = old.get("schedule"), new.get("schedule")
    if isinstance(past, list) and isinstance(present, list):
        both = min(len(past), len(present))
        old["schedule"], new["schedule"] = past[:both], present[:both]
    same_trainer = old.get("trained by") == new["trained by"]
    keys = sorted(old.keys() | new.keys()) if same_trainer else ["trained by"]
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def model_settings(model: nn.Module) -> Settings:
    """Return digests of the parameters' names and shapes, and the rates of all masks that are not learned."""
    named = dict(model.named_parameters())
    shapes = [f"{name}{tuple(value.shape)}{value.dtype}" for name, value in model.state_dict().items()]
    learned = learned_rates(model)
    masks = {
        qualified(owner, key): f"{place.rate:g} per {place.span}, gates {place.gates}"
        for owner, module in masked_modules(model).items()
        for key, place in module.placements().items()
        if qualified(owner, key) not in learned
    }
    plain = {name: f"{m.p:g}" for name, m in model.named_modules() if isinstance(m, nn.modules.dropout._DropoutNd)}
    return {
        "parameters": _digest([type(model).__name__, *shapes]),
        "trainable": _digest([name for name, value in named.items() if value.requires_grad]),
        "dropout": masks | plain,
    }


def optimizer_settings(optimizer: torch.optim.Optimizer) -> Settings:
    """Return the class of an optimizer and the options of its groups, without the parameters."""
    groups = [
        {key: value if isinstance(value, bool | int | float | str | None) else repr(value) for key, value in g.items()}
        for g in optimizer.state_dict()["param_groups"]
    ]
    for group in groups:
        group.pop("params")
    name = type(optimizer).__name__
    return {"name": name} | (groups[0] if len(groups) == 1 else {str(i): group for i, group in enumerate(groups)})


def source_of(function: Callable[..., Any] | None) -> str | None:
    """Return a function's name with a digest of its code and plain values, or an object's class.

    Two lambdas that do different things have different texts here.
    """
    if function is None:
        return None
    inner = getattr(function, "func", function)  # functools.partial
    code = getattr(inner, "__code__", None)
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    if code is None:
        return repr(function) if isinstance(function, nn.Module) else name
    cells = [cell.cell_contents for cell in getattr(inner, "__closure__", None) or ()]
    inside = [*cells, *(inner.__defaults__ or ()), *getattr(function, "args", ()), getattr(function, "keywords", None)]
    constants = [c for c in (*code.co_consts, *inside) if isinstance(c, bool | int | float | str | dict)]
    return f"{name} ({_digest([code.co_code.hex(), repr(code.co_names), repr(constants)])[:8]})"


def _digest(texts: list[str]) -> str:
    return hashlib.blake2b("\n".join(texts).encode(), digest_size=16).hexdigest()


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Settings:
    """Return nested settings as one dict with dotted names."""
    flat: Settings = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


_STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let requests to stop wait for the end of the block, so that no step is cut in two.

    Only signals that Python handles wait; outside the main thread nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, Any] = {n: h for n in _STOPS if callable(h := signal.getsignal(n))}
    waiting: list[tuple[int, Any]] = []
    for number in handlers:
        signal.signal(number, lambda number, frame: waiting.append((number, frame)))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number, frame in waiting[:1]:
        handlers[number](number, frame)
