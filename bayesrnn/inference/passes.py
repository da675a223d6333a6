"""One chunk of a prediction: some draws of some rows through the model in a single pass."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from bayesrnn.inference.accumulators import statistics_of
from bayesrnn.inference.context import same_random_state
from bayesrnn.inference.nested import replicate, take_rows, turned, values
from bayesrnn.inference.outputs import (
    OutputDistribution,
    as_distributions,
    bad_rows,
    distributions_of,
    join,
    map_distribution,
)
from bayesrnn.inference.row_check import check_rows_apart
from bayesrnn.masks import Binding, MaskStream
from bayesrnn.nn.masked import bound

__all__ = ["Job", "Part", "Plan", "collect_as_it_runs"]


@dataclass(frozen=True)
class Job:
    """All that stays the same over the chunks of a prediction.

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

    @property
    def rows(self) -> int:
        """How many sequences."""
        return self.ids.numel()

    def run(
        self,
        draws: Tensor,
        rows: Tensor,
        *,
        carried: tuple[Any, ...] = (),
        first_step: int = 0,
        in_stream: bool = False,
    ) -> tuple[Any, list[OutputDistribution]]:
        """Return the output's structure and its distributions, each with batch shape (S, B, ...).

        Args:
            draws: Numbers of the draws, (S,).
            rows: Positions of the rows, (B,).
            carried: Further inputs that hold draws x rows already: the state of a stream.
            first_step: Where the steps of these inputs begin in the stream.
            in_stream: Whether the pass cannot be repeated, as the model's state moves on.

        Raises:
            ValueError: If an output is NaN or infinite, naming the sequences; or has another number of rows.
        """
        ids = self.ids[rows.to(self.ids.device)]
        binding = None
        if self.stream is not None:
            binding = Binding(self.stream, draws, ids, self.shared, first_step=first_step)
        inputs, options = values(replicate(take_rows((self.inputs, self.options), rows), draws.numel()))
        self.fresh()
        structure = self._checked(binding, draws.numel(), ids.numel(), (*inputs, *carried), options)
        small = None if in_stream else lambda: self._smaller(draws, rows)
        distributions = distributions_of(structure, draws.numel(), ids.numel(), self.batch_dim, small)
        bad = torch.stack([bad_rows(distribution) for distribution in distributions]).any(0)
        if bool(bad.any()):
            raise ValueError(_not_finite(ids[bad].tolist()))
        return structure, distributions

    def _smaller(self, draws: Tensor, rows: Tensor) -> tuple[Any, int]:
        """Return the output of fewer rows, and how many: what it shows is which dimension follows them."""
        draws, rows = (draws[:1], rows) if draws.numel() > 1 else (draws, rows[:1])
        binding = None if self.stream is None else Binding(self.stream, draws, self.ids[rows], self.shared)
        inputs, options = values(replicate(take_rows((self.inputs, self.options), rows), draws.numel()))
        self.fresh()
        with same_random_state():
            return self._forward(binding, inputs, options), draws.numel() * rows.numel()

    def _checked(
        self, binding: Binding | None, draws: int, rows: int, inputs: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        """Run the model; let NaN parameters pass that torch would refuse, to be named by sequence."""
        try:
            return self._forward(binding, inputs, options)
        except ValueError as error:
            if "to satisfy the constraint" not in str(error):
                raise
            with _unvalidated():
                structure = self._forward(binding, inputs, options)
            distributions = distributions_of(structure, draws, rows, self.batch_dim)
            if any(bool(bad_rows(distribution).any()) for distribution in distributions):
                return structure
            raise

    def _forward(self, binding: Binding | None, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        with nullcontext() if binding is None else bound(self.model, binding):
            output = self.model(*inputs, **options)
        return as_distributions(output, self.likelihood)


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


@dataclass(frozen=True, eq=False)
class Part:
    """What some draws of some rows gave, for each output of the model.

    Attributes:
        rows: Positions of the rows, (B,), on the CPU.
        draws: How many draws.
        distributions: For each chunk of draws the distributions of all outputs, where they are kept.
        statistics: What accumulates, `ContinuousStatistics` or `ClassStatistics` for each output.
    """

    rows: Tensor
    draws: int
    distributions: tuple[list[OutputDistribution], ...]
    statistics: list[Any]

    def merge(self, other: "Part") -> "Part":
        """Return both: later draws of the same rows."""
        merged = [a.merge(b) for a, b in zip(self.statistics, other.statistics, strict=True)]
        return Part(self.rows, self.draws + other.draws, self.distributions + other.distributions, merged)

    @property
    def distribution(self) -> list[OutputDistribution]:
        """The distributions of all draws together, one for each output."""
        return [join(chunks, 0) for chunks in zip(*self.distributions, strict=True)]

    def after(self, offset: int) -> "Part":
        """Return the part with its rows counted from `offset`."""
        return replace(self, rows=self.rows + offset)

    def error(self) -> Tensor:
        """Return the largest error over all outputs by which each row may stop, (B,)."""
        return torch.stack([s.row_error() for s in self.statistics]).amax(0)

    def select(self, index: Tensor) -> "Part":
        """Return what was collected of some of the rows."""
        distributions = tuple(
            [map_distribution(distribution, lambda t: t[:, index]) for distribution in chunk]
            for chunk in self.distributions
        )
        statistics = [s.rows(index) for s in self.statistics]
        return replace(self, rows=self.rows[index.cpu()], distributions=distributions, statistics=statistics)


@dataclass(frozen=True)
class Plan:
    """How the work is cut.

    Attributes:
        at_once: Draws x rows of one pass.
        block: Draws that depend on one another; chunks end where blocks do, if they can.
        single: Whether draws go one at a time.
        keep: Whether the distribution of every draw is kept.
        tolerance: Standard error at which a row is done, or None.
        apart: Whether to check that the model does not use rows jointly.
    """

    at_once: int
    block: int
    single: bool
    keep: bool
    tolerance: float | None
    apart: bool = False

    def row_chunks(self, rows: Tensor, draws: int) -> list[Tensor]:
        """Split rows so that one block of draws of a chunk fits into a pass."""
        together = 1 if self.single else min(self.block, draws)
        most = max(self.at_once // together, 1)
        return list(rows.chunk(-(-rows.numel() // most)))

    def draw_chunks(self, start: int, stop: int, rows: int) -> Iterator[tuple[int, int]]:
        """Split draws start..stop-1 so that each chunk fits, at the ends of blocks where possible."""
        step = 1 if self.single else max(self.at_once // rows, 1)
        if step > self.block:
            step -= step % self.block
        while start < stop:
            end = min(start + step - (start % self.block if step >= self.block else 0), stop)
            yield start, end
            start = end

    def checkpoints(self, stop: int) -> Iterator[tuple[int, int]]:
        """The stretches of draws after which rows may stop: one block each, later growing by half."""
        if self.tolerance is None:
            yield 0, stop
            return
        start, block = 0, max(self.block, 16)
        while start < stop:
            end = min(max(start + block, start * 3 // 2 // block * block), stop)
            yield start, end
            start = end


def collect(job: Job, rows: Tensor, draws: int, plan: Plan, done: Callable[[int], None]) -> tuple[Any, list[Part]]:
    """Run the draws of the rows and return the structure of the output with the parts, disjoint in rows.

    Args:
        job: What to run.
        rows: Positions of the rows in the job, int64 on the CPU.
        draws: How many draws.
        plan: How to cut.
        done: Told how many draws x rows are done.
    """
    structure: Any = None
    parts: list[Part] = []
    for chunk in plan.row_chunks(rows, draws):
        active: Part | None = None
        left = chunk
        for begin, end in plan.checkpoints(draws):
            for first, last in plan.draw_chunks(begin, end, left.numel()):
                structure, part = _pass(job, left, first, last, plan)
                active = part if active is None else active.merge(part)
                done((last - first) * left.numel())
            if active is None or plan.tolerance is None or end == draws:
                continue
            still = ~(active.error() <= plan.tolerance)
            if bool(still.all()):
                continue
            parts.append(active.select((~still).nonzero().flatten()))
            done(int((~still).sum()) * (draws - end))
            active, left = active.select(still.nonzero().flatten()), left[still.cpu()]
            if not left.numel():
                active = None
                break
        if active is not None:
            parts.append(active)
    return structure, parts


def collect_as_it_runs(
    job: Job, rows: Tensor, draws: int, plan: Plan, done: Callable[[int], None]
) -> tuple[Any, list[Part]]:
    """Run `collect`, in another way where the model refuses its inputs.

    One draw at a time if it packs rows that come sorted by length: `pack_padded_sequence` with its defaults takes no
    others, and several draws beside one another are never sorted. With rows in the other dimension of an input where
    two fit, such as a state of one layer and one row.
    """
    try:
        return collect(job, rows, draws, plan, done)
    except (RuntimeError, ValueError) as error:
        if "enforce_sorted" in str(error) and not plan.single:
            return collect(job, rows, draws, replace(plan, single=True), done)
        inputs = turned(job.inputs)
        if inputs is None or isinstance(error, torch.OutOfMemoryError):
            raise
        try:
            return collect(replace(job, inputs=inputs), rows, draws, plan, done)
        except (RuntimeError, ValueError):
            raise error from None


def _pass(job: Job, rows: Tensor, first: int, last: int, plan: Plan) -> tuple[Any, Part]:
    numbers = torch.arange(first, last, device=job.ids.device)
    structure, distributions = job.run(numbers, rows)
    if plan.apart:
        check_rows_apart(job, rows, numbers, distributions, lambda job, draws, rows: job.run(draws, rows)[1])
    statistics = [statistics_of(distribution, numbers, plan.block) for distribution in distributions]
    return structure, Part(rows, last - first, (distributions,) if plan.keep else (), statistics)
