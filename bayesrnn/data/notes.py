"""What was assumed while a file was read, and names of columns, in words."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Notes", "column_names"]

_SHOWN = 10


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
    """Return at most ten names as text, and how many more there are.

    Example:
        >>> column_names(["date", "sales"])
        'date, sales'
    """
    texts = [str(name) for name in names]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(text if text == text.strip() else repr(text) for text in texts[:_SHOWN]) + more
