"""One chunk of a prediction: some draws of some rows through the model in a single pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from bayesrnn.inference.laws import Law, as_laws, bad_rows, laws_of
from bayesrnn.inference.structure import replicate, take_rows
from bayesrnn.inference.trunk import shared_trunks
from bayesrnn.masks import Binding, MaskStream
from bayesrnn.nn.masked import bound

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """All that stays the same over the chunks of a prediction.

    Attributes:
        model: The module.
        inputs: Its positional inputs, rows in `batch_dim`.
        options: Its keyword inputs with rows in dimension 0, such as lengths.
        stream: Where masks come from.
        ids: Sequence ids, (rows,), on the model's device.
        likelihood: From output to law, or None.
        shared: Whether all rows of a draw share a mask.
        batch_dim: Dimension of the rows.
    """

    model: nn.Module
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    stream: MaskStream
    ids: Tensor
    likelihood: Callable[[Any], Any] | None
    shared: bool
    batch_dim: int

    @property
    def rows(self) -> int:
        """How many sequences."""
        return self.ids.numel()

    def run(
        self, draws: Tensor, rows: Tensor, *, carried: tuple[Any, ...] = (), first_step: int = 0
    ) -> tuple[Any, list[Law]]:
        """Return the output's structure and its laws, each with batch shape (S, B, ...).

        Args:
            draws: Numbers of the draws, (S,).
            rows: Positions of the rows, (B,).
            carried: Further inputs that hold draws x rows already: the state of a stream.
            first_step: Where the steps of these inputs begin in the stream.

        Raises:
            ValueError: If an output is NaN or infinite, naming the sequences; or has another number of rows.
        """
        ids = self.ids[rows.to(self.ids.device)]
        binding = Binding(self.stream, draws, ids, self.shared, first_step=first_step)
        single = take_rows(self.inputs, rows, self.batch_dim)
        inputs = replicate(single, draws.numel(), self.batch_dim)
        (options,) = replicate(take_rows((self.options,), rows, 0), draws.numel(), 0)
        with shared_trunks(self.model, single if self.batch_dim == 0 else (), inputs, draws.numel()):
            structure = self._checked(binding, (*inputs, *carried), options)
        laws = laws_of(structure, draws.numel(), ids.numel(), self.batch_dim)
        bad = torch.stack([bad_rows(law) for law in laws]).any(0)
        if bool(bad.any()):
            raise ValueError(_not_finite(ids[bad].tolist()))
        return structure, laws

    def _checked(self, binding: Binding, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Run the model; where a law of torch refuses NaN parameters, let them pass, to be named by sequence."""
        try:
            return self._forward(binding, inputs, options)
        except ValueError as error:
            if "to satisfy the constraint" not in str(error):
                raise
            with _unvalidated():
                structure = self._forward(binding, inputs, options)
            laws = laws_of(structure, binding.draws.numel(), binding.sequences.numel(), self.batch_dim)
            if any(bool(bad_rows(law).any()) for law in laws):
                return structure
            raise

    def _forward(self, binding: Binding, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        with bound(self.model, binding):
            output = self.model(*inputs, **options)
        return as_laws(output, self.likelihood)


@contextmanager
def _unvalidated() -> Iterator[None]:
    """Let torch's distributions take any parameters for the time of the block."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)


def _not_finite(ids: list[int]) -> str:
    shown = ", ".join(str(i) for i in ids[:5]) + (", ..." if len(ids) > 5 else "")
    return (
        f"the model's output holds NaN or infinite values for the sequences {shown}. Look for NaN in their inputs "
        "(drop or impute missing values) or for weights that diverged in training."
    )
