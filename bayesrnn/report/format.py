"""Numbers and lists written for people: significant digits, percent, intervals, durations."""

import math
from collections.abc import Sequence


def number(value: float, digits: int = 3, *, sign: bool = False) -> str:
    """Return a number with so many significant digits and a true minus sign."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "−∞" if value < 0 else "undefined"
    text = f"{value:{'+' if sign and value else ''}.{digits}g}"
    if "e" in text and 1e-4 <= abs(value) < 1e6:
        text = f"{value:{'+' if sign else ''}.0f}"
    return text.replace("-", "−")


def percent(share: float) -> str:
    """Return a share as whole percent, with a decimal near 0 and 100."""
    value = 100 * share
    return f"{min(value, 99.9):.1f} %" if 0 < value < 2 or 98 < value < 100 else f"{value:.0f} %"


def points(share: float) -> str:
    """Return a difference of shares as percentage points with its sign."""
    return f"{100 * share:+.1f} points".replace("-", "−")


def span(low: float, high: float, *, scale: float = 1.0, digits: int = 3, sign: bool = False) -> str:
    """Return an interval: "[78, 84]"."""
    return f"[{number(scale * low, digits, sign=sign)}, {number(scale * high, digits, sign=sign)}]"


def seconds(value: float) -> str:
    """Return a duration."""
    if value < 1:
        return f"{1000 * value:.0f} ms" if value >= 0.0095 else f"{1000 * value:.1f} ms"
    return f"{value:.1f} s" if value < 60 else f"{value / 60:.1f} min"


def listed(words: list[str]) -> str:
    """Return words as a list in a sentence: "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def fixed(value: float, interval: tuple[float, float] | None, *, sign: bool = False) -> tuple[str, str]:
    """Return a value and its interval with the same decimals, two digits of the interval's width."""
    if interval is None or not all(map(math.isfinite, (value, *interval))) or interval[1] <= interval[0]:
        return number(value, 4, sign=sign), "" if interval is None else span(*interval, sign=sign)
    decimals = max(1 - math.floor(math.log10(interval[1] - interval[0])), 0)
    if decimals > 8 or max(map(abs, interval)) >= 1e6:
        return number(value, 2, sign=sign), span(*interval, digits=2)
    low, high = (f"{end:.{decimals}f}".replace("-", "−") for end in interval)
    return f"{value:{'+' if sign else ''}.{decimals}f}".replace("-", "−"), f"[{low}, {high}]"


def text_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, header first: the first column left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])] for cells in rows)
    return [" ".join(line).rstrip() for line in lines]


def capital(text: str) -> str:
    """Return a sentence with its first letter large; the rest stays as it is."""
    return text[:1].upper() + text[1:]
