"""Masks of a recorded pass: noted while they are asked for, then drawn before each playback."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from bayesrnn.masks import MaskSite, MaskSource


@dataclass(frozen=True)
class NotedMasks:
    """A source that notes which masks are asked for, and whether any of them cannot be drawn beforehand."""

    source: MaskSource
    asked: dict[tuple[str, str, tuple[int, ...]], MaskSite]
    others: list[str] = field(default_factory=list)
    name: str = ""

    @property
    def rows(self) -> int | None:
        """Rows that a layer must be given."""
        return self.source.rows

    def at(self, name: str) -> "NotedMasks":
        """Return the same source for the layer of that name."""
        return replace(self, source=self.source.at(name), name=name)

    def later(self, steps: int) -> MaskSource:
        """Return the masks of later steps, which are asked for again and again."""
        self.others.append(self.name)
        return self.source.later(steps)

    def mask(self, key: str, site: MaskSite) -> Tensor | None:
        """Return the mask of one site, and note the site."""
        self.asked[self.name, key, site.shape] = site
        if site.tokens is not None:
            self.others.append(self.name)
        return self.source.mask(key, site)


@dataclass(frozen=True)
class DrawnMasks:
    """Masks that were drawn beforehand."""

    masks: Mapping[tuple[str, str, tuple[int, ...]], Tensor | None]
    rows: int | None
    name: str = ""

    def at(self, name: str) -> "DrawnMasks":
        """Return the same source for the layer of that name."""
        return replace(self, name=name)

    def later(self, steps: int) -> "DrawnMasks":
        """Refuse: masks of later steps are not drawn beforehand."""
        raise UnlikeMasksError

    def mask(self, key: str, site: MaskSite) -> Tensor | None:
        """Return the mask of one site."""
        try:
            return self.masks[self.name, key, site.shape]
        except KeyError:
            raise UnlikeMasksError from None


class UnlikeMasksError(Exception):
    """A pass asks for other masks than the one before."""
