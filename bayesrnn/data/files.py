"""Files opened (unpacked and decoded text, JSON, Parquet), and notes of what was assumed while one was read."""

import bz2
import gzip
import json
import lzma
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

_SHOWN, _LONGEST = 10, 60  # names, characters of a name
PACKED: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


@dataclass
class Notes:
    """What was assumed while a file was read, in words."""

    lines: list[str] = field(default_factory=list)
    decimal: str | None = None
    """The decimal sign that the format of the file suggests."""

    def say(self, text: str) -> None:
        """Note one assumption."""
        if text not in self.lines:
            self.lines.append(text)


def column_names(names: Any) -> str:
    """Return at most ten names as text, and how many more there are."""
    texts = [text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..." for text in map(str, names)]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(text if text == text.strip() else repr(text) for text in texts[:_SHOWN]) + more


def parquet_table(path: Path) -> Any:
    """Return a Parquet file as a pandas table, or say that pyarrow is needed."""
    try:
        table = pd.read_parquet(path)
    except ImportError:
        raise ValueError(
            f"{path} is a Parquet file, which pandas reads with pyarrow, and pyarrow is not installed. Run "
            "`pip install pyarrow`, or save the table as csv."
        ) from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is not a Parquet file that can be read: {error}. Save the table as csv.") from None
    return table if isinstance(table.index, pd.RangeIndex) else table.reset_index()


def json_table(path: Path, text: str) -> Any:
    """Return one JSON object per line, a list of them, or lists by column, as a pandas table."""
    try:
        try:
            read = json.loads(text, parse_int=_whole)
        except ValueError:
            read = [json.loads(line, parse_int=_whole) for line in text.splitlines() if line.strip()]
        one = isinstance(read, dict) and not any(isinstance(value, list | dict) for value in read.values())
        return pd.DataFrame([read] if one else read)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} does not hold one JSON object per line: {error}. Write lines such as "
            '{"date": "2024-01-31", "value": 1.5}, or save the table as csv.'
        ) from None


def _whole(digits: str) -> int | float:
    """Return a whole number; one of more digits than any count has as a float."""
    return int(digits) if len(digits) < 19 else float(digits)


def file_text(path: Path, notes: Notes) -> str:
    """Return what a file holds as text, unpacked and decoded, or refuse what is no text."""
    try:
        with PACKED.get(path.suffix.lower(), open)(path, "rb") as file:
            data = file.read()
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} cannot be unpacked: {error}. Unpack it by hand and give the csv file.") from None
    if data[:4] in (b"PK\x03\x04", b"\xd0\xcf\x11\xe0"):
        raise ValueError(f"{path} is a workbook or an archive, no text. Save the sheet as csv, or unpack the file.")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16")
    if b"\0" in data[:4]:
        return data.decode("utf-16-be" if data[:1] == b"\0" else "utf-16-le", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        notes.say("read as Windows-1252, since it is not UTF-8")
        return data.decode("cp1252", errors="replace")
