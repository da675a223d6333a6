"""Sequences with a label or a number each, from the files that people have."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesrnn.data.archives import read_array_archive, read_text_folder, read_ts
from bayesrnn.data.files import Notes, column_names
from bayesrnn.data.numbers import read_numbers
from bayesrnn.data.rows import check_columns, read_rows
from bayesrnn.data.times import read_times, time_cells


@dataclass(frozen=True, eq=False)
class Labelled:
    """Sequences, with a class or a number each where it is known.

    Attributes:
        rows: One per sequence: a text, or numbers (steps, features).
        names: What to call each sequence: its id, or the line of the file.
        target: What each sequence is, (n,): texts or numbers; None if unknown.
        groups: Group of each sequence, (n,), such as its speaker; None if there are none.
        features: Names of the features; empty for texts.
    """

    rows: list[Any]
    names: NDArray[Any]
    target: NDArray[Any] | None = None
    groups: NDArray[Any] | None = None
    features: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, places: NDArray[Any]) -> "Labelled":
        """Return the sequences at some places."""
        target, groups = (None if part is None else part[places] for part in (self.target, self.groups))
        return Labelled([self.rows[k] for k in places], self.names[places], target, groups, self.features)

    @property
    def are_texts(self) -> bool:
        """Whether the sequences are texts."""
        return not self.features


@dataclass(frozen=True)
class Columns:
    """Which columns (or arrays) of a file hold what; `read_labelled` explains them."""

    target: str | None = None
    text: str | None = None
    sequence: tuple[str, ...] = ()
    id: str | None = None
    time: str | None = None
    features: tuple[str, ...] = ()
    group: str | None = None

    def named(self) -> list[str]:
        """Return the columns that must be in the file; those with a * are patterns."""
        single = [name for name in (self.target, self.text, self.id, self.time, self.group) if name is not None]
        return [*single, *(name for name in (*self.sequence, *self.features) if "*" not in name)]


def read_labelled(
    path: str | os.PathLike[str],
    *,
    target: str | None = None,
    text: str | None = None,
    sequence: Sequence[str] = (),
    id: str | None = None,
    time: str | None = None,
    features: Sequence[str] = (),
    group: str | None = None,
) -> Labelled:
    r"""Read sequences, each with its target, and warn of what was assumed.

    Args:
        path: A table (csv, JSON lines, Parquet); a `.ts` file of the UCR and UEA archives; a `.npz` archive without
            pickles; or a folder with one text file per class (a text per line), or one folder of text files per class.
        target: Column of what is to be predicted; None to read sequences only. `.ts` files and folders have their own.
        text: Column of texts: one row per sequence.
        sequence: Columns of the steps of one feature, in order: one row per sequence. `t*` stands for every column of
            such a name. Of a `.npz` archive the name of the array.
        id: Column that says to which sequence a row belongs: one row per step.
        time: Column by which the rows of a sequence are ordered; their order in the file by default.
        features: Columns of the features of a step; by default all that hold numbers and serve for nothing else.
        group: Column of groups, such as a speaker's, that must not be torn apart.

    Raises:
        ValueError: If the file cannot be read so, or a value is missing.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/reviews.csv"
        >>> with open(path, "w") as file:
        ...     _ = file.write('review,verdict\n"Good, and short.",good\nDull,bad\n')
        >>> data = read_labelled(path, text="review", target="verdict")
        >>> data.rows[0], data.target.tolist()
        ('Good, and short.', ['good', 'bad'])
    """
    path, notes = Path(path), Notes()
    columns = Columns(target, text, tuple(sequence), id, time, tuple(features), group)
    if path.is_dir():
        data = Labelled(*read_text_folder(path))
    elif path.suffix.lower() == ".ts":
        data = Labelled(*read_ts(path))
    elif path.suffix.lower() == ".npz":
        data = Labelled(*read_array_archive(path, target, columns.sequence, group))
    else:
        data = _from_table(path, columns, notes)
    if notes.lines:
        warnings.warn(f"{path.name} was read so: {'; '.join(notes.lines)}.", stacklevel=2)
    return data


def _from_table(path: Path, columns: Columns, notes: Notes) -> Labelled:
    kinds = [name for name in ("text", "sequence", "id") if getattr(columns, name)]
    if len(kinds) != 1:
        raise ValueError(
            f"how does {path} hold sequences? Name one of: text= (--text), a column of texts; sequence= (--sequence), "
            "the columns of the steps; id= (--id), the column that says which rows are steps of one sequence"
            + (f"; but {' and '.join(kinds)} were given." if kinds else ".")
        )
    table = read_rows(path, columns.named(), notes)
    if columns.id is not None:
        return _long(path, table, columns, notes)
    target = None if columns.target is None else _cells(path, table, columns.target)
    groups = None if columns.group is None else _cells(path, table, columns.group)
    names = table.index.to_numpy()
    if columns.text is not None:
        texts = [cell if isinstance(cell, str) else "" for cell in table[columns.text]]
        return Labelled(texts, names, target, groups)
    steps = [name for pattern in columns.sequence for name in _matching(path, table, pattern)]
    values = np.stack([_step_numbers(table, name, path, notes) for name in steps], 1)
    sizes = values.shape[1] - np.cumprod(np.isnan(values[:, ::-1]), 1).sum(1)
    rows = [_complete(row[:size, None], path, name) for row, size, name in zip(values, sizes, names)]
    return Labelled(rows, names, target, groups, ("value",))


def _long(path: Path, table: Any, columns: Columns, notes: Notes) -> Labelled:
    """Return the sequences of a table with one row per step."""
    served = {name for name in (columns.id, columns.time, columns.target, columns.group) if name is not None}
    if columns.features:
        features = [name for pattern in columns.features for name in _matching(path, table, pattern)]
        numbers = {name: _step_numbers(table, name, path, notes) for name in features}
    else:
        numbers = {}
        for name in (name for name in table.columns if name not in served):
            try:
                numbers[name] = read_numbers(table[name], name, path, notes)
            except ValueError:
                notes.say(f"column {name!r} left out, since it holds no numbers")
        if not numbers:
            raise ValueError(
                f"{path} has no column of numbers beside {column_names(sorted(served))}. Name those that make a step "
                "with features= (--features)."
            )
    codes, names = pd.factorize(_cells(path, table, str(columns.id)))
    times = np.arange(len(table)) if columns.time is None else _times(path, table, columns.time, notes)
    order = np.lexsort((times, codes))
    _check_once(path, columns, names, codes[order], np.asarray(times)[order])
    places = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    values = np.stack(list(numbers.values()), 1)
    rows = [_complete(values[place], path, name) for place, name in zip(places, names)]
    target, groups = (
        None if name is None else _constant(path, _cells(path, table, name), places, names, name)
        for name in (columns.target, columns.group)
    )
    return Labelled(rows, np.asarray(names), target, groups, tuple(numbers))


def _step_numbers(table: Any, name: str, path: Path, notes: Notes) -> Any:
    """Return a column of steps as numbers; texts are refused with what to do about them."""
    try:
        return read_numbers(table[name], name, path, notes)
    except ValueError as error:
        raise ValueError(
            f"{error} Steps are read as numbers: of a text with few values (dry, wet) make a column of 0 and 1 each."
        ) from None


def _cells(path: Path, table: Any, name: str) -> NDArray[Any]:
    """Return a column without empty cells."""
    cells = table[name]
    empty = cells.isna() | (cells.map(str).str.strip() == "")
    if empty.any():
        raise ValueError(
            f"{int(empty.sum())} of {len(cells)} rows of {path} have no {name!r} (first: line {cells.index[empty][0]})."
            " Fill it in, or remove those rows."
        )
    return np.asarray([cell.strip() if isinstance(cell, str) else cell for cell in cells], dtype=object)


def _times(path: Path, table: Any, name: str, notes: Notes) -> NDArray[Any]:
    return np.asarray(read_times(time_cells(table[[name]], path), name, path, notes))


def _check_once(path: Path, columns: Columns, names: Any, codes: NDArray[Any], times: NDArray[Any]) -> None:
    twice = np.flatnonzero((np.diff(codes) == 0) & (times[1:] == times[:-1]))
    if len(twice):
        raise ValueError(
            f"the time {times[twice[0]]} comes more than once in the sequence {names[codes[twice[0]]]!r} of {path}. "
            f"Is {columns.id!r} the column of the sequences? Each of their steps has one row."
        )


def _matching(path: Path, table: Any, pattern: str) -> list[str]:
    """Return the columns that a name, or a pattern with a *, stands for, in the order of the file."""
    names = [name for name in table.columns if name == pattern or ("*" in pattern and fnmatchcase(name, pattern))]
    check_columns(path, list(table.columns), names or [pattern])
    return names


def _complete(values: NDArray[Any], path: Path, name: Any) -> NDArray[Any]:
    """Return the values of a sequence, or refuse missing and infinite ones."""
    bad = ~np.isfinite(values)
    if bad.any() or not len(values):
        what = f"{int(bad.sum())} missing or infinite values" if len(values) else "no values"
        raise ValueError(f"the sequence {name!r} of {path} has {what}. Fill them in, or leave the sequence out.")
    return values


def _constant(path: Path, cells: NDArray[Any], places: list[Any], names: Any, column: str) -> NDArray[Any]:
    """Return the one value of a column in each sequence."""
    for place, name in zip(places, names):
        if len(set(cells[place])) > 1:
            raise ValueError(
                f"the sequence {name!r} of {path} has several values of {column!r}: {column_names(set(cells[place]))}. "
                "A sequence has one; for one per step forecast it, or cut the sequence."
            )
    return cells[[place[0] for place in places]]
