"""A page complete in itself: one HTML file with its style and pictures inside, no scripts, no network."""

import base64
import html
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bayesrnn._files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Tone = Literal["plain", "good", "warn", "bad"]


class Page:
    """Sections, sentences, tables and pictures, written as one self-contained HTML file.

    Every method returns the page, so that calls can be chained. Text is escaped; nothing is loaded from anywhere.

    Args:
        title: Title of the page.
        lead: What the reader should know first.

    Example:
        >>> page = Page("Forecast of July", "The intervals hold what they promise.").section("Scores")
        >>> "<h2>Scores</h2>" in page.table([{"score": "crps", "value": 0.31}]).html()
        True
    """

    def __init__(self, title: str, lead: str = "") -> None:
        self.title = title
        self._parts: list[str] = []
        self._gallery = False
        if lead:
            self._parts.append(f'<p class="lead">{_text(lead)}</p>')

    def section(self, title: str, text: str = "") -> "Page":
        """Start a section with a heading, and perhaps a paragraph."""
        self._add(f"<h2>{_text(title)}</h2>")
        return self.text(text) if text else self

    def text(self, text: str) -> "Page":
        """Add a paragraph."""
        return self._add(f"<p>{_text(text)}</p>")

    def facts(self, text: str) -> "Page":
        """Add a line of small print: numbers of draws and sequences, seeds."""
        return self._add(f'<p class="facts">{_text(text)}</p>')

    def say(self, text: str, tone: Tone = "plain") -> "Page":
        """Add a sentence that stands out: a finding or a warning."""
        return self._add(f'<p class="say {tone}">{_text(text)}</p>')

    def table(self, rows: Any, caption: str = "", *, folded: str = "") -> "Page":
        """Add a table: a pandas DataFrame, or a list of dicts with one key per column.

        Args:
            rows: The data; floats are shown with four digits.
            caption: What the table is.
            folded: If given, the table hides behind this text until it is opened.
        """
        records = rows if isinstance(rows, list) else rows.to_dict("records")
        columns = list(dict.fromkeys(key for record in records for key in record))
        words = [any(isinstance(record.get(c), str) and not _numeric(record[c]) for record in records) for c in columns]
        head = "".join(f'<th scope="col"{_class(w)}>{_text(str(c))}</th>' for c, w in zip(columns, words))
        body = "".join(
            "<tr>"
            + "".join(
                f'<td data-label="{_text(str(c))}"{_class(w)}>{_text(_cell(record.get(c)))}</td>'
                for c, w in zip(columns, words)
            )
            + "</tr>"
            for record in records
        )
        title = f"<caption>{_text(caption)}</caption>" if caption else ""
        table = f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        if folded:
            table = f"<details><summary>{_text(folded)}</summary>{table}</details>"
        return self._add(table)

    def picture(self, picture: "Axes | bytes", alternative: str, caption: str = "") -> "Page":
        """Add a picture: Axes, or the bytes of a PNG. Pictures in a row stand side by side where there is room.

        Args:
            picture: What to show.
            alternative: What a reader who cannot see it should know.
            caption: Shown below.

        Raises:
            ValueError: If there is no alternative text.
        """
        if not alternative.strip():
            raise ValueError("alternative is empty: say in words what the picture shows.")
        data = picture if isinstance(picture, bytes) else picture_bytes(picture)
        source = f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"
        below = f"<figcaption>{_text(caption)}</figcaption>" if caption else ""
        figure = f'<figure><img src="{source}" alt="{_text(alternative)}">{below}</figure>'
        if self._gallery:
            self._parts.append(figure)
        else:
            self._add(f'<div class="gallery">{figure}')
            self._gallery = True
        return self

    def html(self) -> str:
        """Return the page as text."""
        body = "\n".join(self._parts) + ("</div>" if self._gallery else "")
        policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{_text(self.title)}</title><style>{_style()}</style></head>\n"
            f"<body><main><h1>{_text(self.title)}</h1>\n{body}</main>"
            "<footer>Written by bayesrnn. This file needs no network and runs no scripts.</footer></body></html>\n"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page in one step and return its path."""
        atomic_write(path, self.html())
        return Path(path)

    def _add(self, part: str) -> "Page":
        if self._gallery:
            self._parts.append("</div>")
            self._gallery = False
        self._parts.append(part)
        return self


def picture_bytes(ax: "Axes", format: str = "png", dpi: int = 160) -> bytes:
    """Return the Figure of an Axes as the bytes of a PNG or SVG file, without a date."""
    buffer = io.BytesIO()
    metadata = {"Date": None} if format == "svg" else {"Software": "bayesrnn"}
    ax.figure.savefig(buffer, format=format, dpi=dpi, metadata=metadata)  # type: ignore[union-attr]
    return buffer.getvalue()


def _style() -> str:
    return Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def _text(text: str) -> str:
    return html.escape(text, quote=True)


def _class(words: bool) -> str:
    return ' class="text"' if words else ""


def _numeric(text: str) -> bool:
    return text[:1] in "-+−[0123456789" if text else True


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return f"{value:.4g}".replace("-", "−")
