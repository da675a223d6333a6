"""Dropout whose mask lives for a whole sequence."""

from collections.abc import Mapping
from typing import get_args

from torch import Tensor

from bayesrnn._checks import check_choice, check_rate
from bayesrnn.nn.masked import MaskedModule
from bayesrnn.nn.torch_names import torch_names
from bayesrnn.schemes import Placement, Span

__all__ = ["Dropout"]


class Dropout(MaskedModule):
    r"""Multiply features by a mask $z \in \{0, 1/(1-p)\}$ that is the same at every step (span `sequence`) or not.

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
        steps_first = x.unsqueeze(0) if x.dim() == 2 else (x.transpose(0, 1) if self.batch_first else x)
        steps, rows, features = steps_first.shape
        placement = Placement("output", self.p, self.span)
        site = self.site("output", placement, (steps if self.span == "step" else 1, 1, rows, features), x)
        given = None if masks is None else {"output": masks}
        mask = self.masks({"output": site}, rows, given).get("output")
        if mask is None:
            return x
        masked = steps_first * mask[:, 0]
        return masked.squeeze(0) if x.dim() == 2 else (masked.transpose(0, 1) if self.batch_first else masked)

    def extra_repr(self) -> str:
        """Describe rate and span."""
        return f"p={self.p:g}, span={self.span!r}"
