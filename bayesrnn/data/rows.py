"""Read a whole csv, JSON lines or Parquet file as a table of texts."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bayesrnn.data.files import PACKED, Notes, column_names, file_text, json_table, parquet_table

_SEPARATORS = (",", "\t", ";", "|")


def read_rows(path: Path, asked: Sequence[str], notes: Notes) -> Any:
    """Return a file as a pandas table, indexed by the last line of each row; csv cells are texts.

    Args:
        path: A csv file (commas, tabs, semicolons or '|') with a header line, JSON lines, or Parquet; perhaps packed.
        asked: Columns that must be there; the separator is chosen by them.
        notes: Takes what was assumed.

    Raises:
        ValueError: If the file cannot be read, lacks a column, or has a row of another width.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}. Give the path of a csv file with a header line.")
    name = path.name.lower().removesuffix(path.suffix if path.suffix in PACKED else "")
    if name.endswith((".parquet", ".pq")):
        table = parquet_table(path)
    elif name.endswith((".json", ".jsonl", ".ndjson")):
        table = json_table(path, file_text(path, notes))
    else:
        table = _csv_rows(path, file_text(path, notes), asked)
    table.columns = [str(name) for name in table.columns]
    check_columns(path, list(table.columns), asked)
    if not len(table):
        raise ValueError(f"{path} holds a header but no rows. Give a file with one row per line.")
    return table


def check_columns(path: Path, present: Sequence[str], asked: Sequence[str]) -> None:
    """Refuse a table that lacks a column or has one twice."""
    for name in asked:
        if name not in present:
            raise ValueError(f"{path} has no column {name!r}; its columns are {column_names(present)}.")
        if list(present).count(name) > 1:
            raise ValueError(f"{path} has {list(present).count(name)} columns {name!r}. Give each its own name.")


def _csv_rows(path: Path, text: str, asked: Sequence[str]) -> Any:
    first = re.split("[\r\n]", text, maxsplit=1)[0]
    try:
        names = {separator: next(csv.reader([first], delimiter=separator), []) for separator in _SEPARATORS}
    except csv.Error as error:
        raise ValueError(f"{path} is not a csv file that can be read: {error}. Look at its first line.") from None
    fits = [s for s in _SEPARATORS if set(asked) <= {name.strip() for name in names[s]}]
    separator = fits[0] if fits else max(_SEPARATORS, key=lambda s: len(names[s]))
    header = [name.strip() for name in names[separator]]
    rows, lines, at = [], [], 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            at = reader.line_num
            if row and at > 1:
                rows.append(row)
                lines.append(at)
    except csv.Error as error:
        raise ValueError(
            f"{path} is not a csv file that can be read: {error} after line {at}. Look for a quotation mark that is "
            "never closed, or double those inside quotes."
        ) from None
    for line, row in zip(lines, rows):
        if len(row) != len(header):
            raise ValueError(
                f"line {line} of {path} has {len(row)} fields where the header has {len(header)}. Put texts that hold "
                f"{separator!r} in quotes."
            )
    return pd.DataFrame(rows, columns=header, index=lines, dtype=object)
