"""Numbers and lists written for people: significant digits, percent, intervals, durations."""

import math

__all__ = ["capital", "listed", "number", "percent", "points", "seconds", "span"]


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
    return f"{value:.1f} %" if value < 2 or 98 < value < 100 else f"{value:.0f} %"


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


def capital(text: str) -> str:
    """Return a sentence with its first letter large; the rest stays as it is."""
    return text[:1].upper() + text[1:]
