"""Dropout whose mask lives for a whole sequence."""

from collections.abc import Mapping
from typing import get_args

import torch
from torch import Tensor

from bayesrnn._checks import check_choice, check_rate, is_exporting
from bayesrnn.nn.layouts import Pass, is_state
from bayesrnn.nn.masked import MaskedModule
from bayesrnn.nn.torch_names import torch_names
from bayesrnn.schemes import Placement, Span


class Dropout(MaskedModule):
    r"""Multiply features by a mask $z \in \{0, 1/(1-p)\}$ that is the same at every step (span `sequence`) or not.

    Each row has a mask of its own, also of the last state (layers, rows, features) of a recurrent layer. In a model
    made by `convert`, what a convolution or pooling returned, (rows, channels, steps), has one mask value per row and
    channel.

    Source: site `output` of Gal & Ghahramani (2016), arXiv:1512.05287; with span `step`, of Zaremba et al. (2014).

    Args:
        p: Rate of dropping, in [0, 1).
        span: `sequence` or `step`.
        batch_first: Whether inputs of rank 3 are (rows, steps, features) or (steps, rows, features).

    Raises:
        ValueError: If p is outside [0, 1) or the span unknown.

    Example:
        >>> import torch
        >>> z = Dropout(0.5)(torch.ones(2, 7, 3))
        >>> bool((z == z[:, :1]).all())
        True
    """

    def __init__(self, p: float = 0.5, span: Span = "sequence", *, batch_first: bool = True) -> None:
        super().__init__()
        self.p = check_rate(p, "p")
        check_choice(span, "span", get_args(Span))
        self.span: Span = span
        self.batch_first = batch_first
        self.current: Pass | None = None

    def declared(self) -> dict[str, Placement]:
        """Return the site `output`, if the rate is above 0."""
        return {"output": Placement("output", self.p, self.span)} if self.p > 0.0 else {}

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """Set the rate, by the key `output`; see `MaskedModule.set_rates`."""
        super().set_rates(rates)
        self.p, self.rates = check_rate(rates.get("output", self.p), "p"), {}

    @torch_names(input="x")
    def forward(self, x: Tensor, *, masks: Tensor | None = None) -> Tensor:
        """Mask (rows, features), (rows, steps, features) or (steps, rows, features), as `batch_first` says.

        Args:
            x: The features.
            masks: (rows, features), or (steps, rows, features) for the span `step`; else bound, fresh or none.

        Raises:
            ValueError: If the rank is not 2 or 3, or masks do not fit.
        """
        if self.idle(masks) or (masks is None and self.p == 0.0):
            return x
        if x.dim() not in (2, 3):
            raise ValueError(
                f"x must be (rows, features) or hold steps as well, but its shape is {tuple(x.shape)}. Reshape it so "
                "that the features come last and each row is one sequence. Where it stands in front of the recurrent "
                "part (after a convolution, say), set its p to 0, or keep torch's nn.Dropout there."
            )
        x, axes = self._placed(x) if masks is None else (x, self._axes(x))
        features, rows = x.shape[axes[2]], x.shape[axes[1]]
        steps = x.shape[axes[0]] if x.dim() == 3 else 1
        placement = Placement("output", self.p, self.span)
        site = self.site("output", placement, (steps if self.span == "step" else 1, 1, rows, features), x)
        given = None if masks is None else {"output": masks}
        mask = self.masks({"output": site}, rows, given).get("output")
        if mask is None:
            return x
        if x.dim() == 2:
            return x * mask[0, 0]
        return x * mask[:, 0].permute([axes.index(k) for k in range(3)])

    def _axes(self, x: Tensor) -> tuple[int, int, int]:
        """Return the dimensions of steps (-1: none), rows and features as `batch_first` says."""
        return (-1, 0, 1) if x.dim() == 2 else ((1, 0, 2) if self.batch_first else (0, 1, 2))

    def _placed(self, x: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """Return x with a row of its own for each sequence, and its dimensions of steps, rows and features.

        Raises:
            ValueError: If x does not hold the rows of the model's inputs.
        """
        current = None if torch.compiler.is_compiling() and not is_exporting() else self.current
        axes = self._axes(x)
        if current is not None and current.channels_second(x):
            return x, (2, 0, 1)
        rows = None if current is None else current.rows
        if is_state(x, rows or (self.source.rows if self.source is not None else None)):
            return x, (0, 1, 2)
        if not rows or x.shape[axes[1]] % rows == 0:
            return x, axes
        like_steps = current is not None and rows in current.sizes
        if x.dim() == 3 and x.shape[axes[0]] == rows and not (x.shape[axes[1]] == 1 and like_steps):
            return x, (axes[1], axes[0], 2)
        if x.dim() == 3 and x.shape[axes[1]] == 1:  # positions: one row that all rows add to theirs
            return x.expand(*(rows if k == axes[1] else size for k, size in enumerate(x.shape))), axes
        raise ValueError(
            f"this Dropout was given x of shape {tuple(x.shape)}, but the inputs of the model hold {rows} rows, which "
            "are no dimension of it, so its masks could not belong to rows. Where x is the same for all rows "
            "(positions), put the Dropout behind the sum with the rows, or set its p to 0."
        )

    def extra_repr(self) -> str:
        """Describe rate and span."""
        return f"p={self.p:g}, span={self.span!r}"
