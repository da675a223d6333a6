"""A run: a folder with a model, results and `run.json` (its kind, inputs and files)."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bayesrnn._documents import read_document, write_document
from bayesrnn._files import locked
from bayesrnn._folders import atomic_folder, versions

FILE = "run.json"
TRAINING = "training"
_FORMAT = "bayesrnn.run/2"


@dataclass(frozen=True)
class Manifest:
    """The contents of `run.json`.

    Attributes:
        kind: "forecast", "classify", "regress" or "lm".
        data: Summary of the data: file, rows, ...
        scores: Figures on held-out data.
        request: Settings and fingerprint of the data: the same request makes the same run.
        details: What a prediction needs beside the model.
        date: When it was made, UTC.
        versions: Of bayesrnn, torch, Python.
        files: Names in the folder that belong to the run.
    """

    kind: str
    data: dict[str, Any]
    scores: dict[str, float]
    request: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)
    date: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)


def write_run(folder: Path, manifest: Manifest) -> None:
    """Write `run.json` into a folder that holds all else already."""
    values = asdict(manifest)
    values["date"] = datetime.now(UTC).isoformat(timespec="seconds")
    values["versions"] = versions()
    values["files"] = sorted({FILE, *manifest.files, *(place.name for place in folder.iterdir())})
    write_document(folder / FILE, _FORMAT, values)


def read_run(folder: Path, kinds: tuple[str, ...] = ()) -> Manifest:
    """Read `run.json`.

    Raises:
        ValueError: If there is no run, or it is unfinished, damaged, of another version, or of none of the `kinds`.
    """
    file = folder / FILE
    if not file.is_file():
        unfinished = (folder / TRAINING).is_dir()
        fix = "It is not finished: run the command that began it again." if unfinished else "Give the folder of a run."
        raise ValueError(f"{folder} holds no finished run (there is no {file}). {fix}")
    keys = [entry.name for entry in fields(Manifest)]
    manifest = Manifest(**read_document(file, _FORMAT, keys, fix="Take a copy of the run, or train anew."))
    if kinds and manifest.kind not in kinds:
        raise ValueError(
            f"{folder} holds a run of `bayesrnn {_command(manifest.kind)}`, which this command does not take; it takes "
            f"runs of {', '.join(_command(kind) for kind in kinds)}."
        )
    return manifest


def find_runs(folder: Path, depth: int = 3) -> list[Path]:
    """Return the folders of runs in a folder, itself included, down to a depth."""
    if (folder / FILE).is_file():
        return [folder]
    if depth == 0 or not folder.is_dir():
        return []
    inner = sorted(place for place in folder.iterdir() if place.is_dir() and not place.name.startswith("."))
    return [run for place in inner for run in find_runs(place, depth - 1)]


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the folder of a run and hold it for this process during the block; vanishes if it stays empty.

    Raises:
        ValueError: If it holds something that is no run, cannot be made, or another process works on it.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"a run is a folder, but {folder} is a file. Give another name.")
    if folder.is_dir() and any(folder.iterdir()) and not ((folder / FILE).is_file() or (folder / TRAINING).is_dir()):
        raise ValueError(f"{folder} is not empty and holds no run; it is left alone. Give another folder.")
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make the folder {folder} ({error.strerror or error}). Give another place.") from None
    try:
        with locked(folder, "another process works on this run"):
            yield
    finally:
        if new and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`; on success it takes its place, on failure it vanishes.

    Files of the old folder that do not belong to the run stay.
    """
    own = set(read_run(folder).files) if (folder / FILE).is_file() else set()
    with atomic_folder(folder, replaces=own | {TRAINING}) as new:
        yield new


@contextmanager
def changed(folder: Path) -> Iterator[Path]:
    """Yield a new folder for what changes in a run, which takes the run's place on success.

    All else in the run stays. On failure it vanishes, and the run is as it was.
    """
    with atomic_folder(folder, replaces={FILE, "model"}) as new:
        yield new


def same_request(folder: Path, request: Mapping[str, Any], anew: bool) -> bool:
    """Return whether a finished run of the same request is there; refuse one of another request, unless `anew`.

    Raises:
        ValueError: If another run is there.
    """
    if anew or not (folder / FILE).is_file():
        return False
    there, request = read_run(folder).request, json.loads(json.dumps(request))
    differing = sorted(key for key in there.keys() | request.keys() if there.get(key) != request.get(key))
    if not differing:
        return True
    shown = "; ".join(_difference(key, there.get(key), request.get(key)) for key in differing[:3])
    raise ValueError(f"{folder} holds another run ({shown}). Give another folder, or --anew to replace it.")


def _difference(key: str, there: Any, now: Any) -> str:
    """Return how a part of a request differs; of the digests of data only that they do."""
    if key in ("data", "ahead"):
        return f"{key}: other rows"
    if isinstance(there, dict) and isinstance(now, dict):
        names = sorted(name for name in there.keys() | now.keys() if there.get(name) != now.get(name))
        parts = [f"{name} {there.get(name)!r} there, {now.get(name)!r} now" for name in names[:3]]
        return f"{key}: {', '.join(parts)}"
    return f"{key}: {there!r} there, {now!r} now"


def training_folder(folder: Path, request: Mapping[str, Any]) -> Path:
    """Return where the training of a request keeps its state, so that only the same request goes on from it."""
    text = json.dumps(request, sort_keys=True).encode()
    return folder / TRAINING / hashlib.blake2b(text, digest_size=6).hexdigest()


def _command(kind: str) -> str:
    return "lm train" if kind == "lm" else kind
