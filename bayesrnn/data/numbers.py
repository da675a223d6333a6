"""Numbers as people write them: decimal commas, thousands, percent signs, words and marks for missing values."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesrnn.data.files import Notes

_EMPTY = {"", "na", "nan", "n/a", "#n/a", "null", "<na>", "none", "nat", "-nan", "#na"}
_MARKS = re.compile(r"[-–—.?*]+|n\.a\.|n/d|nd|missing|no ?data")
_SENTINELS = (-9999, -999, -99, -200, -99999, -999.9, -99.9, -99.99, -999.99, -9999.9, -8888, -7777)
_SENTINELS_ABOVE = (9999, 99999, 999.9, 9999.9, 99.99, 999.99, 999999)
_SURE = 9999  # one such value is enough; of smaller ones at least two
_SIGNS = re.compile(r"[\s$€£¥%'’_]")


def read_numbers(
    cells: Any,
    name: str,
    path: object,
    notes: Notes,
    decimal: str | None = None,
    missing: Sequence[float] | None = None,
) -> Any:
    """Return a column of text, indexed by the line of the file, as float64, NaN where a value is missing.

    `decimal` and `missing` are as in `read_series`.

    Raises:
        ValueError: If a value is no number, or could be read in two ways.
    """
    if decimal not in (None, ".", ","):
        raise ValueError(f"decimal must be '.' or ',', but {decimal!r} was given.")
    plain = pd.to_numeric(cells, errors="coerce") if notes.decimal is None and decimal != "," else cells
    if plain.notna().all() and not cells.map(type).eq(bool).any():
        cells = plain
    if pd.api.types.is_numeric_dtype(cells.dtype) and not pd.api.types.is_bool_dtype(cells.dtype):
        values = cells.to_numpy(dtype=np.float64, na_value=np.nan)
    else:
        values = _parsed(cells.map(lambda cell: "" if cell is None else str(cell)), name, path, notes, decimal)
    return _without_sentinels(values, name, notes, missing)


def _parsed(texts: Any, name: str, path: object, notes: Notes, decimal: str | None) -> Any:
    low = texts.str.strip().str.lower()
    marks = low.str.fullmatch(_MARKS)
    if marks.any():
        notes.say(f"{texts[marks].iloc[0]!r} in {name!r} read as missing")
    given = ~(marks | low.isin(_EMPTY))
    words = low[given]
    percent = words.str.endswith("%")
    if percent.any():
        if not percent.all():
            raise ValueError(
                f"some values of {name!r} in {path} have a percent sign and some, such as {words[~percent].iloc[0]!r} "
                f"in line {words[~percent].index[0]}, have none. Write all of them in one unit."
            )
        notes.say(f"percent signs of {name!r} left out: 5 % is read as 5")
    words = words.str.replace("−", "-").str.replace(r"^\((.*)\)$", r"-\1", regex=True)
    words = words.str.replace(_SIGNS, "", regex=True)
    if words.str.contains(",", regex=False).any() or decimal == "," or notes.decimal == ",":
        words = _with_points(words, name, path, notes, decimal)
    numbers = pd.to_numeric(words, errors="coerce")
    bad = numbers.isna()
    if bad.any():
        line = bad.index[int(np.argmax(bad.to_numpy()))]
        raise ValueError(
            f"the column {name!r} of {path} must hold numbers, but line {line} holds {texts[line]!r}. Remove or "
            "replace what is no number."
        )
    values = np.full(len(texts), np.nan)
    values[given.to_numpy()] = numbers.to_numpy(dtype=np.float64)
    return values


def _with_points(words: Any, name: str, path: object, notes: Notes, decimal: str | None) -> Any:
    """Return numbers with decimal points and without thousands, or refuse what could be either."""
    sign = decimal or _decimal_sign(list(words), notes.decimal)
    if sign is None:
        example = next(word for word in words if "," in word or "." in word)
        raise ValueError(
            f"the numbers of {name!r} in {path}, such as {example!r}, can be read with thousands or with decimals. Say "
            "which sign is the decimal one with decimal='.' or decimal=',' (--decimal . or --decimal ,)."
        )
    thousands = "." if sign == "," else ","
    if sign == "," and words.str.contains(",", regex=False).any():
        notes.say(f"{name!r} read with decimal commas")
    grouped = words.str.contains(thousands, regex=False)
    if grouped.any():
        wrong = grouped & ~words.str.fullmatch(rf"[-+]?\d{{1,3}}(\{thousands}\d{{2,3}})*(\{sign}\d*)?(e[-+]?\d+)?")
        if wrong.any():
            line = wrong.index[int(np.argmax(wrong.to_numpy()))]
            raise ValueError(
                f"the column {name!r} of {path} is read with {sign!r} before decimals, but line {line} holds "
                f"{words[line]!r}. Write all numbers alike."
            )
        notes.say(f"{thousands!r} in {name!r} read as the sign of thousands")
    return words.str.replace(thousands, "", regex=False).str.replace(sign, ".", regex=False)


def _decimal_sign(words: list[str], suggested: str | None) -> str | None:
    """Return which of "," and "." comes before decimals in all of the words, or None if nothing decides."""
    for word in words:
        comma, point = word.rfind(","), word.rfind(".")
        if comma >= 0 and point >= 0:
            return "," if comma > point else "."
        for sign, other in ((",", "."), (".", ",")):
            if word.count(sign) > 1:
                return other
            digits = re.fullmatch(rf"[-+]?(\d*)\{sign}(\d*)(e.*)?", word)
            if digits and (len(digits[2]) != 3 or digits[1] in ("", "0") or len(digits[1]) > 3):
                return sign
    commas, points = (any(sign in word for word in words) for sign in ",.")
    if not commas and not points:
        return "."
    whole = [word.lstrip("+-") for word in words if "," not in word and "." not in word]
    if commas and any(whole) and suggested is None:  # 987 and 1,012: thousands, if none from 1000 on lacks the sign
        return "." if all(len(word) <= 3 for word in whole) else None
    if commas and suggested == "," and not any(whole):
        return ","
    return None


def _without_sentinels(values: Any, name: str, notes: Notes, missing: Sequence[float] | None) -> Any:
    """Return the values with NaN in place of numbers that stand for missing values."""
    if missing is None:
        missing = [number for number in (*_SENTINELS, *_SENTINELS_ABOVE) if _stands_out(values, number)]
        for number in missing:
            notes.say(
                f"{int((values == number).sum())} values {number:g} of {name!r}, far from all others, read as missing "
                "(missing=[], --missing none: as numbers)"
            )
    gone = np.isin(values, np.asarray(list(missing), dtype=np.float64))
    return np.where(gone, np.nan, values) if gone.any() else values


def _stands_out(values: Any, number: float) -> bool:
    """Whether a number that is known to mean `missing` lies far from all other values."""
    same = values == number
    count = int(same.sum())
    if count < (1 if abs(number) >= _SURE else 2) or count == len(values):
        return False
    others = values[~same & np.isfinite(values) & ~np.isin(values, (*_SENTINELS, *_SENTINELS_ABOVE))]
    if len(others) < 2:
        return False
    low, high = others.min(), others.max()
    if number < 0 <= low:
        return True
    span = max(high - low, 1e-12)
    return bool(number < low - span or number > high + span)
