"""Labelled sequences in `.ts` files of the UCR and UEA archives, `.npz` archives, and folders of texts."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrnn.data.files import Notes, column_names, file_text

Parts = tuple[list[Any], NDArray[Any], NDArray[Any] | None, NDArray[Any] | None, tuple[str, ...]]
"""Rows, names, target, groups, features: the arguments of `Labelled`."""


def read_ts(path: Path) -> Parts:
    """Return the sequences of a `.ts` file: `@` lines, then one case per line, dimensions and label joined by colons.

    Raises:
        ValueError: If it is no such file, holds time stamps or missing values, or its dimensions differ in length.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}.")
    facts: dict[str, str] = {}
    rows: list[Any] = []
    labels, at = [], []
    started = False
    for number, line in enumerate(file_text(path, Notes()).splitlines(), 1):
        line = line.strip()
        if not line or line.startswith(("#", "%")):
            continue
        if not started and line.startswith("@"):
            key, _, value = line[1:].partition(" ")
            facts[key.lower()] = value.strip().lower()
            started = key.lower() == "data"
            if facts.get("timestamps") == "true":
                raise ValueError(f"{path} holds time stamps beside its values, which are not read. Write values only.")
            continue
        if not started:
            raise ValueError(f"{path} is not a .ts file that can be read: line {number} comes before @data.")
        labelled = facts.get("classlabel", facts.get("targetlabel", "false")).startswith("true")
        *parts, label = line.split(":") if labelled else [*line.split(":"), ""]
        rows.append(_dimensions(parts, path, number, rows))
        labels.append(label.strip())
        at.append(number)
    if not started or not rows:
        raise ValueError(f"{path} is not a .ts file that can be read: it has no @data line followed by cases.")
    names = tuple(f"dimension {k + 1}" for k in range(rows[0].shape[1]))
    target = np.asarray(labels, dtype=object) if any(labels) else None
    return rows, np.asarray(at), target, None, names


def _dimensions(parts: list[str], path: Path, number: int, before: list[Any]) -> NDArray[Any]:
    try:
        columns = [np.array(part.split(","), dtype=np.float64) for part in parts]
    except ValueError:
        raise ValueError(
            f"line {number} of {path} holds what is no number ('?' is a missing one). Fill it in, or leave it out."
        ) from None
    if len({len(column) for column in columns}) != 1 or (before and len(columns) != before[0].shape[1]):
        raise ValueError(f"line {number} of {path}: its dimensions differ in number or length from those expected.")
    values = np.stack(columns, 1)
    if not np.isfinite(values).all():
        raise ValueError(f"line {number} of {path} holds missing or infinite values. Fill them in, or leave it out.")
    return values


def read_array_archive(path: Path, target: str | None, sequence: Sequence[str], group: str | None) -> Parts:
    """Return the sequences of a `.npz` archive without pickles.

    The array of sequences is (rows, steps), (rows, steps, features), with an array `lengths` where some are padded; or
    (all steps, features) with an array `offsets` (rows + 1,) that says where each row begins and the last one ends.

    Raises:
        ValueError: If it is no archive, holds pickles, lacks an array, or shapes do not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is not a .npz archive that can be read without running code ({error}). Write plain arrays with "
            "numpy.savez(path, x=..., y=...)."
        ) from None
    name = sequence[0] if sequence else "x" if "x" in arrays else "X"
    for asked in (name, target, group):
        if asked is not None and asked not in arrays:
            raise ValueError(
                f"{path} has no array {asked!r}; its arrays are {column_names(arrays)}. Name the sequences with "
                "sequence= (--sequence), the labels with target= (--target)."
            )
    rows = _cut(arrays[name], arrays, path, name)
    for asked in (target, group):
        if asked is not None and arrays[asked].shape != (len(rows),):
            raise ValueError(
                f"the array {asked!r} of {path} has the shape {arrays[asked].shape}, but there are {len(rows)} "
                "sequences. It holds one value per sequence."
            )
    features = tuple(f"feature {k + 1}" for k in range(rows[0].shape[1]))
    parts = [None if asked is None else arrays[asked].astype(object) for asked in (target, group)]
    return rows, np.arange(len(rows)), parts[0], parts[1], features


def _cut(values: NDArray[Any], arrays: dict[str, Any], path: Path, name: str) -> list[NDArray[Any]]:
    offsets, lengths = arrays.get("offsets"), arrays.get("lengths")
    if values.dtype.kind not in "biuf" or not values.size or not np.isfinite(values).all():
        raise ValueError(
            f"the array {name!r} of {path} must hold finite numbers, but it is {values.dtype}, or does not."
        )
    values = values.astype(np.float64)
    if offsets is not None and values.ndim in (1, 2):
        steps = np.diff(offsets)
        if offsets.ndim != 1 or offsets[0] != 0 or offsets[-1] != len(values) or (steps < 1).any():
            raise ValueError(f"the array 'offsets' of {path} must rise from 0 to the {len(values)} steps of {name!r}.")
        return np.split(values.reshape(len(values), -1), offsets[1:-1])
    if values.ndim not in (2, 3):
        raise ValueError(f"the array {name!r} of {path} must be (rows, steps) or (rows, steps, features).")
    values = values.reshape(*values.shape[:2], -1)
    sizes = np.full(len(values), values.shape[1]) if lengths is None else lengths
    if sizes.shape != (len(values),) or (sizes < 1).any() or (sizes > values.shape[1]).any():
        raise ValueError(f"the array 'lengths' of {path} must hold 1 to {values.shape[1]} steps for each row.")
    return [row[:size] for row, size in zip(values, sizes)]


def read_text_folder(path: Path) -> Parts:
    """Return the texts of a folder: per class one file with a text per line, or one folder of files.

    Classes are called after the files, by what tells these apart: `good.txt` is good, `reviews.pos` is pos.

    Raises:
        ValueError: If there are fewer than two classes, or one has no text.
    """
    places = sorted(place for place in path.iterdir() if not place.name.startswith("."))
    folders = [place for place in places if place.is_dir()]
    files = [place for place in places if place.is_file() and not place.stem.lower().startswith(("readme", "license"))]
    if len(folders or files) < 2:
        raise ValueError(
            f"{path} holds {len(folders)} folders and {len(files)} files: give one text file per class (a text per "
            "line), or one folder of text files per class."
        )
    texts, names, labels = [], [], []
    for place, label in zip(folders or files, _labels(folders or files)):
        for name, text in _texts(place):
            texts.append(text)
            names.append(name)
            labels.append(label)
        if not labels or labels[-1] != label:
            raise ValueError(f"{place} holds no text, so there is nothing to learn of the class {label!r}.")
    return texts, np.asarray(names), np.asarray(labels, dtype=object), None, ()


def _labels(places: list[Path]) -> list[str]:
    for labels in ([place.stem for place in places], [place.suffix.removeprefix(".") for place in places]):
        if len(set(labels)) == len(places) and all(labels):
            return labels
    return [place.name for place in places]


def _texts(place: Path) -> list[tuple[str, str]]:
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if file.is_file() and not file.name.startswith("."))
        return [(f"{place.name}/{file.name}", file_text(file, Notes())) for file in files]
    lines = file_text(place, Notes()).splitlines()
    return [(f"{place.name}:{number}", line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
