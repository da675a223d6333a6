"""The inputs of a pass, one copy per draw, kept for the next pass of the same rows."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bayesrnn.inference.nested import Rows, leaves, replicate, take_rows, values


@dataclass(eq=False)
class Copies:
    """The copies of the last pass, used again for the same rows and draws.

    Copies that the model wrote into are made anew.

    A write that torch counts is seen by the count, any other by comparing the first draw's copy with the rows.

    Example:
        >>> import torch
        >>> copies, inputs, options, rows = Copies(), (Rows(torch.zeros(2, 3)),), {}, torch.arange(2)
        >>> first, again = (copies.of(inputs, options, rows, 4)[0][0] for _ in range(2))
        >>> first.shape, again is first
        (torch.Size([8, 3]), True)
    """

    key: tuple[int, ...] = ()
    kept: tuple[Any, ...] = ()  # what the key holds the addresses of, and the copies
    versions: list[int] | None = None

    def of(self, inputs: Any, options: Any, rows: Tensor, times: int) -> Any:
        """Return inputs and options of some rows as the model takes them: row s * B + b is row b.

        Args:
            inputs: Positional inputs, marked by `with_rows`.
            options: Keyword inputs, marked too.
            rows: Positions of the rows, (B,).
            times: How many copies.
        """
        key = id(inputs), id(options), id(rows), times
        source = take_rows((inputs, options), rows)
        if key == self.key and self.versions == _versions(self.kept[-1]) and _begin_with(self.kept[-1], source):
            return values(self.kept[-1])
        self.key, self.kept = (), ()  # the old copies go before the new ones come
        copies = replicate(source, times)
        self.versions = _versions(copies)
        if self.versions is not None:
            self.key, self.kept = key, (inputs, options, rows, copies)
        return values(copies)


def _versions(copies: Any) -> list[int] | None:
    """Return how often each copy was written to, or None where one is no tensor that counts this."""
    tensors = [leaf.value for _, leaf in leaves(copies) if isinstance(leaf, Rows)]
    if not all(isinstance(t, Tensor) and not t.is_inference() for t in tensors):
        return None
    return [t._version for t in tensors]


def _begin_with(copies: Any, source: Any) -> bool:
    """Return whether the copies of the first draw equal the rows; NaN never does, and is copied anew."""
    pairs = zip(leaves(copies), leaves(source), strict=True)
    rows = ((copy, row) for (_, copy), (_, row) in pairs if isinstance(row, Rows))
    return all(torch.equal(copy.value.narrow(row.dim, 0, row.count), row.value) for copy, row in rows)
