"""A model with its inputs, and one pass of it: some draws of some rows, checked."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn._checks import some
from bayesrnn.inference.accumulators import statistics_of
from bayesrnn.inference.context import same_random_state
from bayesrnn.inference.copies import Copies
from bayesrnn.inference.misfit import explained
from bayesrnn.inference.nested import replicate, take_rows, values
from bayesrnn.inference.outputs import OutputDistribution, as_distributions, bad_rows, distributions_of
from bayesrnn.inference.recording import played
from bayesrnn.likelihoods.validation import unvalidated
from bayesrnn.masks import Binding, MaskSource, MaskStream
from bayesrnn.nn.masked import bound


@dataclass(frozen=True)
class Job:
    """The model, inputs and options that all chunks of a prediction share.

    Attributes:
        model: The module.
        inputs: Its positional inputs, marked by `with_rows`.
        options: Its keyword inputs, such as lengths, marked too.
        stream: Where masks come from; None for the deterministic pass.
        ids: Sequence ids, (rows,), on the model's device.
        likelihood: From output to distribution, or None.
        shared: Whether all rows of a draw share a mask.
        batch_dim: Dimension of the rows, in the output if it fits there.
        fresh: Called before each pass: puts back what the model keeps between calls.
        copies: The inputs of the last pass, for the next one of the same rows.
    """

    model: nn.Module
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    stream: MaskStream | None
    ids: Tensor
    likelihood: Callable[[Any], Any] | None
    shared: bool
    batch_dim: int
    fresh: Callable[[], None] = lambda: None
    copies: Copies = field(default_factory=Copies, compare=False)

    @property
    def rows(self) -> int:
        """How many sequences."""
        return self.ids.numel()

    def collect(self, draws: Tensor, rows: Tensor, block: int) -> tuple[Any, list[OutputDistribution], list[Any]]:
        """Return what `run` returns, and of each distribution what accumulates; `block`: draws that depend."""
        structure, distributions = self.run(draws, rows)
        return structure, distributions, [statistics_of(d, draws, block) for d in distributions]

    def run(
        self, draws: Tensor, rows: Tensor, through: Callable[[Binding], MaskSource] = lambda binding: binding
    ) -> tuple[Any, list[OutputDistribution]]:
        """Return the output's structure and its distributions, each with batch shape (S, B, ...).

        Args:
            draws: Numbers of the draws, (S,).
            rows: Positions of the rows, (B,).
            through: From the binding of masks to the source that the model is bound to: itself, or one around it.

        Raises:
            ValueError: If an output is NaN or infinite, naming the sequences; or has another number of rows.
        """
        ids = self.ids[rows.to(self.ids.device)]
        source = None if self.stream is None else through(Binding(self.stream, draws, ids, self.shared))
        inputs, options = self.copies.of(self.inputs, self.options, rows, draws.numel())
        self.fresh()
        return checked_output(
            lambda: played(self._forward, self.model, self.likelihood, source, inputs, options),
            draws.numel(),
            ids,
            self.batch_dim,
            lambda: self._smaller(draws, rows),
        )

    def _smaller(self, draws: Tensor, rows: Tensor) -> tuple[Any, int]:
        """Return the output of fewer rows, and how many: what it shows is which dimension follows them."""
        draws, rows = (draws[:1], rows) if draws.numel() > 1 else (draws, rows[:1])
        binding = None if self.stream is None else Binding(self.stream, draws, self.ids[rows], self.shared)
        inputs, options = values(replicate(take_rows((self.inputs, self.options), rows), draws.numel()))
        self.fresh()
        with same_random_state():
            return self._forward(binding, inputs, options), draws.numel() * rows.numel()

    def _forward(self, source: MaskSource | None, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        with nullcontext() if source is None else bound(self.model, source), explained(self.model, inputs):
            output = self.model(*inputs, **options)
        return as_distributions(output, self.likelihood)


def checked_output(
    forward: Callable[[], Any],
    draws: int,
    ids: Tensor,
    batch_dim: int,
    smaller: Callable[[], tuple[Any, int]] | None = None,
) -> tuple[Any, list[OutputDistribution]]:
    """Return the structure that `forward` returns and its distributions, each with batch shape (S, B, ...).

    Args:
        forward: Runs the model for draws x rows; run again if torch refuses the parameters of its distributions.
        draws: How many draws S.
        ids: Ids of the sequences, (B,).
        batch_dim: Dimension of the rows in the input.
        smaller: As in `distributions_of`; None where the pass cannot be repeated, as in a stream.

    Raises:
        ValueError: If an output is NaN or infinite, naming the sequences; or has another number of rows.
    """
    structure = _checked(forward, draws, ids.numel(), batch_dim)
    distributions = distributions_of(structure, draws, ids.numel(), batch_dim, smaller)
    bad = torch.stack([bad_rows(distribution) for distribution in distributions]).any(0)
    if bool(bad.any()):
        raise ValueError(_not_finite(ids[bad].tolist()))
    return structure, distributions


def _checked(forward: Callable[[], Any], draws: int, rows: int, batch_dim: int) -> Any:
    """Run the model; let NaN parameters pass that torch would refuse, to be named by sequence."""
    try:
        return forward()
    except ValueError as error:
        if "to satisfy the constraint" not in str(error):
            raise
        with unvalidated():
            structure = forward()
        distributions = distributions_of(structure, draws, rows, batch_dim)
        if any(bool(bad_rows(distribution).any()) for distribution in distributions):
            return structure
        raise


def _not_finite(ids: list[int]) -> str:
    return (
        f"the model's output holds NaN or infinite values for the sequences {some(ids)}. Look for NaN in their inputs "
        "(drop or impute missing values) or for weights that diverged in training."
    )
