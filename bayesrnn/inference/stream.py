"""A stream that is read window by window: every draw carries its own state, under one mask for the whole stream."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn._checks import check_whole
from bayesrnn.inference._predict import check_arguments, check_model, masks_weights
from bayesrnn.inference.accumulators import statistics_of
from bayesrnn.inference.assemble import assemble
from bayesrnn.inference.context import lower_products, undisturbed
from bayesrnn.inference.inputs import rows_at_once
from bayesrnn.inference.job import checked_output
from bayesrnn.inference.nested import Rows, map_leaves
from bayesrnn.inference.outputs import as_distributions, point
from bayesrnn.inference.passes import Part, Plan
from bayesrnn.inference.stream_reader import StreamReader
from bayesrnn.masks import BLOCK, Binding, stream
from bayesrnn.nn.precision import usable_precision

__all__ = ["Stream"]


class Stream:
    """A posterior predictive that reads on: `step` takes the next window and returns its predictive.

    The model is called as ``model(x)`` on the first window and ``model(x, state)`` afterwards, and must return
    ``(output, state)``. Each draw keeps its state and its masks from window to window (lifetime `stream`), so reading a
    sequence in windows equals reading it at once.

    Args:
        model: A torch module that holds layers of `bayesrnn.nn`.
        draws: How many draws, at least 2.
        seed: Seed of the masks.
        sampling: "stratified" or "independent".
        sharing: "sequence" for masks of its own for each row, or "pass".
        likelihood: From the model's output to a torch Distribution; needless if the model returns one.
        batch_dim: Dimension of the rows in the windows: 0, or 1 for time-first tensors.
        precision: "bf16" for bfloat16 products with float32 state, where the processor has units for them.
        sequence_ids: Whole numbers that name the rows; 0, 1, 2, ... if not given.
        max_memory: Bytes that one pass may use.

    Raises:
        ValueError: As `predict` does; in `step`, if the windows change their rows.
        TypeError: In `step`, if the model does not return (output, state).

    Source: Gal & Ghahramani (2016), arXiv:1512.05287: the Monte Carlo test of the language models.

    Example:
        >>> from bayesrnn.inference import point
        >>> from bayesrnn.nn import LSTM
        >>> reading = Stream(LSTM(3, 8, dropout=0.25, batch_first=True), draws=16, likelihood=point)
        >>> reading.step(torch.zeros(2, 5, 3)).mean.shape, reading.step(torch.zeros(2, 4, 3)).mean.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 4, 8]))
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        draws: int = 100,
        seed: int = 0,
        sampling: str = "stratified",
        sharing: str = "sequence",
        likelihood: Callable[[Any], Any] | None = None,
        batch_dim: int = 0,
        precision: str | None = None,
        sequence_ids: Iterable[int] | Tensor | None = None,
        max_memory: int | None = None,
    ) -> None:
        check_whole(draws, "draws", 2)
        check_arguments(draws, seed, sharing, None, batch_dim)
        if not isinstance(model, nn.Module):
            raise TypeError(f"Stream reads by one torch module, but a {type(model).__name__} was given.")
        check_model(model, draws)
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        self.precision = usable_precision(precision, device)  # here, to warn once and not at every window
        self.model, self.draws, self.seed, self.sampling = model, draws, seed, sampling
        self.masks, self.shared, self.likelihood = stream(sampling, seed), sharing == "pass", likelihood or _points
        self.batch_dim, self.max_memory = batch_dim, max_memory
        if max_memory is not None:
            check_whole(max_memory, "max_memory")
        self.ids = None if sequence_ids is None else torch.as_tensor(sequence_ids).long()
        self.steps = 0
        self._reader: StreamReader | None = None

    def step(self, x: Tensor) -> Any:
        """Read the next window, (rows, steps, ...), or (steps, rows, ...) with `batch_dim=1`; return its predictive."""
        if not isinstance(x, Tensor) or x.dim() < 2:
            raise ValueError("a window must be a tensor of rows and steps, such as (rows, steps, features).")
        rows, steps = x.shape[self.batch_dim], x.shape[1 - self.batch_dim]
        reader = self._begun(x, rows)
        block = BLOCK if self.sampling == "stratified" else 1
        part: Part | None = None
        structure: Any = None
        with undisturbed(self.model), lower_products(self.model, self.precision):
            for place, binding in enumerate(reader.chunks):
                forward = partial(self._distributions, reader, place, x)
                draws, ids = binding.draws.numel(), binding.sequences
                structure, distributions = checked_output(forward, draws, ids, self.batch_dim)
                statistics = [statistics_of(distribution, binding.draws, block) for distribution in distributions]
                here = Part(torch.arange(rows), draws, (distributions,), statistics)
                part = here if part is None else part.merge(here)
        reader.go_on()
        self.steps += steps
        origin = {"seed": self.seed, "sampling": self.sampling, "sequence_ids": self.ids}
        made = iter(assemble([part] if part else [], True, block, origin))
        return map_leaves(lambda leaf: None if leaf is None else next(made), structure)

    def _distributions(self, reader: StreamReader, place: int, x: Tensor) -> Any:
        return as_distributions(reader.output(place, x, self.steps), self.likelihood)

    def reset(self) -> None:
        """Forget the states: the next window begins the stream anew, under the same masks."""
        self.steps, self._reader = 0, None

    def _begun(self, x: Tensor, rows: int) -> StreamReader:
        """Return the reader, made for the rows of the first window."""
        if self.ids is None:
            self.ids = torch.arange(rows)
        if self.ids.shape != (rows,):
            raise ValueError(
                f"the stream has {self.ids.numel()} rows, but a window of {rows} was given. Every window continues the "
                "same rows; for other sequences make another Stream, and check batch_dim."
            )
        if self._reader is None:
            at_once = rows_at_once(self.model, (Rows(x, self.batch_dim),), self.max_memory)
            plan = Plan(at_once, BLOCK, masks_weights(self.model), True, None)
            chunks = [
                Binding(self.masks, torch.arange(first, last, device=x.device), self.ids.to(x.device), self.shared)
                for first, last in plan.draw_chunks(0, self.draws, rows)
            ]
            self._reader = StreamReader(self.model, chunks, batch_dim=self.batch_dim)
        return self._reader


def _points(output: Any) -> Any:
    """Return the tensors of an output as predictions without noise: what a stream's model returns bare is meant."""
    return map_leaves(lambda leaf: point(leaf) if isinstance(leaf, Tensor) else leaf, output)
