"""Columns of a file by their names, as text: csv of all forms, JSON lines, Parquet."""

import csv
import difflib
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bayesrnn.data.files import PACKED, Notes, column_names, file_text, json_table, parquet_table

_COMMENTS = ("#", "%", "//")
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "'|'", " ": "blanks"}
_AROUND = " '\"\ufeff\u00a0"
_LOOKED_AT = 60
_IS_DATA = re.compile(r"[-+]?[\d.,]*\d[\d.,]*%?|\d{1,4}[-/.]\d{1,2}([-/.]\d{1,4})?([T ].*)?|\d{4}-?Q\d", re.IGNORECASE)


def read_columns(path: Path, asked: Sequence[str], notes: Notes) -> Any:
    """Return the columns `asked` of a file as a pandas table, indexed by the line of the file.

    Raises:
        ValueError: If the file cannot be read or lacks a column.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}. Give the path of a csv file with a header line.")
    name = path.name.lower()
    if name.endswith((".parquet", ".pq")):
        return _selected(parquet_table(path), asked, path, notes)
    text = file_text(path, notes)
    if name.removesuffix(path.suffix if path.suffix in PACKED else "").endswith((".json", ".jsonl", ".ndjson")):
        return _selected(json_table(path, text), asked, path, notes)
    return _csv_columns(path, text, asked, notes)


def _csv_columns(path: Path, text: str, asked: Sequence[str], notes: Notes) -> Any:
    lines, numbers, comments = _content(text)
    if not lines:
        raise ValueError(f"{path} is not a csv file that can be read: it is empty. Give a file with a header line.")
    separator, start, header = _header(lines, comments, asked)
    counted = start is None
    places = _places(header, asked, path, notes, lines[0] if counted else None)
    if start is not None and start > 1:
        notes.say(f"the header is line {numbers[start - 1]}")
    if separator != ",":
        notes.say(f"columns separated by {_SEPARATORS[separator]}")
    notes.decimal = "," if separator == ";" else None
    lines, numbers = lines[start or 0 :], numbers[start or 0 :]
    if not lines:
        raise ValueError(f"{path} holds a header but no rows. Give a file with one row per time.")
    shift = len(_fields(lines[:1], separator)[0]) == len(header) + 1 and _are_counted(_fields(lines[:3], separator))
    names = [header[place] for place in places]
    width, read, at = len(header) + shift, list[list[str]](), list[int]()
    reader = _reader(lines, separator)
    for row in _rows(reader, path):
        if len(row) > width and any(cell.strip() for cell in row[width:]):
            raise ValueError(
                f"{path} has more fields than names: line {numbers[reader.line_num - 1]} has {len(row)} fields where "
                f"the header has {width}. If numbers have decimal commas, separate columns by semicolons; put numbers "
                "and texts that hold the separator in quotes; else name every column."
            )
        cells = [row[place + shift].strip(_AROUND) if place + shift < len(row) else "" for place in places]
        if cells == names:
            notes.say(f"the header comes again in line {numbers[reader.line_num - 1]}, which is left out")
            continue
        read.append(cells)
        at.append(numbers[reader.line_num - 1])
    table = pd.DataFrame(read, columns=list(asked), index=at, dtype=object)
    if width == 1:  # an empty line is a missing value
        table = table.reindex(range(at[0], at[-1] + 1), fill_value="")
    return table


def _rows(reader: Any, path: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise ValueError(
            f"{path} is not a csv file that can be read: {error}. Look for a quotation mark that is never closed."
        ) from None


def _content(text: str) -> tuple[list[str], list[int], list[str]]:
    """Return the lines that are neither empty nor comments, their numbers, and the comments without their sign."""
    lines, numbers, comments = [], [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip(' \t,;"\x1a'):
            continue
        if line.lstrip().startswith(_COMMENTS):
            comments += [line.strip(), line.strip().lstrip("#%/ ")]
            continue
        lines.append(line)
        numbers.append(number)
    if lines and (mark := re.fullmatch(r'"?sep=(.)"?', lines[0].strip())) and mark[1] in _SEPARATORS:
        return lines[1:], numbers[1:], comments  # as Excel names the separator
    return lines, numbers, comments


def _header(lines: list[str], comments: list[str], asked: Sequence[str]) -> tuple[str, int | None, list[str]]:
    """Return the separator, how many lines come before the data (None: there is no header), and the columns' names."""
    wanted = {_key(name) for name in asked}
    places = [*enumerate(lines[:_LOOKED_AT], 1), *((0, comment) for comment in comments[::-1])]
    if all(name.isdigit() for name in wanted):
        places = places[:1]
    for separator, (place, line) in itertools.product(_SEPARATORS, places):
        names = _fields([line], separator)[0]
        while names and not names[-1]:
            names.pop()
        if wanted <= {_key(name) for name in names} and (len(names) > 1 or not any(s in line for s in ",;\t|")):
            return separator, place, names
    separator = _likely_separator(lines)
    first = _fields(lines[:1], separator)[0]
    if any(_IS_DATA.fullmatch(cell) for cell in first):
        return separator, None, [str(k) for k in range(1, len(first) + 1)]
    return separator, 1, first


def _likely_separator(lines: list[str]) -> str:
    """Return the separator that cuts the first lines into as many fields each, more than one."""

    def steady(separator: str) -> tuple[float, int]:
        counts = [len(row) for row in _fields(lines[:_LOOKED_AT], separator)]
        usual = max(set(counts), key=counts.count)
        return (counts.count(usual) / len(counts) if usual > 1 else 0.0), separator != " "

    return max(_SEPARATORS, key=steady)


def _reader(lines: list[str], separator: str) -> Any:
    if separator == " ":
        lines = [" ".join(line.split()) for line in lines]
    return csv.reader(lines, delimiter=separator, skipinitialspace=True)


def _fields(lines: list[str], separator: str) -> list[list[str]]:
    return [[cell.strip(_AROUND) for cell in row] for row in _reader(lines, separator)]


def _are_counted(rows: list[list[str]]) -> bool:
    """Whether the first fields count the rows, as where a table was written with its row names."""
    firsts = [row[0] for row in rows if row]
    return all(cell.isdigit() for cell in firsts) and [int(c) - int(firsts[0]) for c in firsts] == [*range(len(firsts))]


def _selected(table: Any, asked: Sequence[str], path: Path, notes: Notes) -> Any:
    table = table.iloc[:, _places([str(name) for name in table.columns], asked, path, notes, None)]
    table.columns = list(asked)
    table.index = range(1, len(table) + 1)
    return table.apply(lambda column: column.str.strip() if column.map(type).eq(str).all() else column)


def _places(header: list[str], asked: Sequence[str], path: Path, notes: Notes, first: str | None) -> list[int]:
    """Return where the columns stand; `first` is the first line of a file without a header."""
    places = []
    for name in asked:
        same = [k for k, other in enumerate(header) if other.strip() == name.strip()]
        alike = [k for k, other in enumerate(header) if _key(other) == _key(name)]
        if not same and len(alike) == 1:
            same = alike
            notes.say(f"column {header[alike[0]]!r} taken for {name!r}")
        if len(same) > 1:
            raise ValueError(f"{path} has {len(same)} columns {name!r}. Give each its own name in the header.")
        if not same:
            raise ValueError(_lacking(header, name, path, first))
        places.append(same[0])
    if first is not None:
        notes.say("no header line; columns are numbered from 1")
    return places


def _lacking(header: list[str], name: str, path: Path, first: str | None) -> str:
    if first is not None:
        return (
            f"{path} has no header line (it begins with {first[:60]!r}), so no column {name!r}. Write one, or name "
            f"columns by their number, 1 to {len(header)}."
        )
    near = difflib.get_close_matches(name, header, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{path} has no column {name!r}; its columns are {column_names(header)}.{hint}"


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()
