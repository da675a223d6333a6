"""What a calibration report, a comparison and a forecasting study share: pictures, a table, a page, files."""

import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from bayesrnn._folders import atomic_folder
from bayesrnn.plots.style import Axes
from bayesrnn.report.page import Page, picture_bytes

if TYPE_CHECKING:
    from pandas import DataFrame


class Picture(NamedTuple):
    """One picture of an exhibit.

    Attributes:
        draw: Draws on an Axes, or on a new Figure where None is given, and returns the Axes.
        text: What the picture shows, in words.
    """

    draw: Callable[[Axes | None], Axes]
    text: str

    @classmethod
    def of(cls, plot: Callable[..., Axes], text: str, *arguments: Any, **options: Any) -> "Picture":
        """Return the picture that `plot(*arguments, ax=ax, **options)` draws."""
        return cls(lambda ax: plot(*arguments, ax=ax, **options), text)


class Exhibit(ABC):
    """A result that people look at: named pictures, a table, one page, and all of it as files."""

    page_name: ClassVar[str] = "report"
    """Name of the page's file, without its ending."""
    data_name: ClassVar[str] = "metrics"
    """Name of the files of the table and of `to_dict`, without their endings."""

    @abstractmethod
    def pictures(self) -> dict[str, Picture]:
        """Return every picture by its name; nothing is drawn yet."""

    @property
    @abstractmethod
    def table(self) -> "DataFrame":
        """The figures, one per line."""

    @abstractmethod
    def page(self, images: Mapping[str, bytes]) -> Page:
        """Return the page; `images` holds the PNG bytes of each picture by its name."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return what is worth keeping as JSON values."""

    @property
    def picture_names(self) -> list[str]:
        """Names of the pictures that `picture` draws."""
        return list(self.pictures())

    def picture(self, name: str, ax: Axes | None = None) -> Axes:
        """Draw one of `picture_names`.

        Raises:
            ValueError: If there is no picture of that name.
        """
        known = self.pictures()
        if name not in known:
            raise ValueError(f"there is no picture {name!r}: legal are {', '.join(known)}.")
        return known[name].draw(ax)

    def files(self) -> dict[str, str | bytes]:
        """Return the contents of the files beside page and pictures, by their names."""
        return {
            f"{self.data_name}.csv": self.table.to_csv(index=False),
            f"{self.data_name}.json": json.dumps(plain(self.to_dict()), indent=2, ensure_ascii=False),
        }

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the page (self-contained HTML), the table, the figures as JSON, and the pictures as PNG and SVG.

        Everything is computed before the first file is written; the files appear together, in one step, and what else
        the folder holds stays there. Returns the page's path.

        Raises:
            ValueError: If the folder cannot be written to or has no room: then what was there is untouched.
        """
        contents, images = self.files(), {}
        for name, picture in self.pictures().items():
            axes = picture.draw(None)
            images[name] = contents[f"{name}.png"] = picture_bytes(axes)
            contents[f"{name}.svg"] = picture_bytes(axes, "svg")
        contents[f"{self.page_name}.html"] = self.page(images).html()
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder) as staged:
            for name, content in contents.items():
                (staged / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return folder / f"{self.page_name}.html"

    def __repr__(self) -> str:
        return str(self)


def plain(value: Any) -> Any:
    """Return nested values as JSON values: NaN as null, infinite numbers as text, numpy numbers as numbers."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
