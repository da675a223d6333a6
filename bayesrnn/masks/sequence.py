"""Masks that hold from call to call: for layers that are called at every step of a loop."""

from dataclasses import dataclass, field

from torch import Tensor

from bayesrnn.masks.sites import MaskSite
from bayesrnn.masks.sources import MaskSource


@dataclass
class OneSequence:
    """The masks of one sequence that is read in several calls, one step (or a few) per call.

    A mask with the span `sequence` is taken from `source` at the first call and holds for the others. One with the span
    `step` is taken anew at each call: the masks of the first call's steps, then of the next, as a layer that is given
    all steps at once has them.

    Attributes:
        source: Where the masks come from.
        masks: Those that hold, by key and shape.
        steps: How many steps were read, by key.
        batch: Rows of the first call of a recurrent cell.
    """

    source: MaskSource
    masks: dict[tuple[str, tuple[int, ...]], Tensor | None] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    batch: int | None = None

    @property
    def rows(self) -> int | None:
        """Rows that a layer must be given, or None if any number will do."""
        return self.source.rows

    def at(self, name: str) -> "OneSequence":
        """Return the same source for another layer, with masks of its own."""
        return OneSequence(self.source.at(name))

    def later(self, steps: int) -> "OneSequence":
        """Return the same source, so many steps later."""
        return OneSequence(self.source.later(steps))

    def check(self, rows: int, layer: str) -> None:
        """Refuse another batch than the first call's.

        Raises:
            ValueError: If it has other rows.
        """
        if self.batch is None:
            self.batch = rows
        if rows != self.batch:
            raise ValueError(
                f"this {layer} was called with {self.batch} rows and then, in the same sequence, with {rows}: its "
                "masks belong to the rows of one batch. Give each batch a pass of the model of its own (or, outside of "
                "one, a block `with bayesrnn.nn.sequence(model):`), or each batch a cell of its own."
            )

    def mask(self, key: str, site: MaskSite) -> Tensor | None:
        """Return the mask of one site; see `MaskSource.mask`."""
        if site.placement.span == "step":
            start = self.steps.get(key, 0)
            self.steps[key] = start + site.shape[0]
            return self.source.later(start).mask(key, site)
        if site.tokens is not None and self.rows is not None:
            return self.source.mask(key, site)  # a word's mask is addressed by the word: no need to draw all of them
        name = key, site.shape
        if name not in self.masks:
            self.masks[name] = self.source.mask(key, site.every_word())
        mask = self.masks[name]
        return None if mask is None else site.of_tokens(mask)


def unclear(layer: str) -> str:
    """Say that a layer that is called step by step does not know where its sequence begins."""
    return (
        f"this {layer} is called step by step in train mode and cannot tell whether this call begins a sequence, which "
        "has new masks, or goes on with one. Put the loop in a block `with bayesrnn.nn.sequence(model):`, or let "
        "bayesrnn.convert make the model, or give masks=."
    )
