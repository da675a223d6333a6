"""A prediction in chunks: how draws and rows are cut into passes, and what is collected of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from bayesrnn.inference.accumulators import statistics_of
from bayesrnn.inference.job import Job
from bayesrnn.inference.nested import turned
from bayesrnn.inference.outputs import OutputDistribution, join, map_distribution, side_by_side
from bayesrnn.inference.row_check import check_rows_apart


@dataclass(frozen=True, eq=False)
class Part:
    """Results of some draws of some rows, for each output of the model.

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
    """How draws and rows are cut into passes.

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


Jobs = Sequence[Job]  # of the networks of an ensemble, or of one model


def collect(jobs: Jobs, rows: Tensor, draws: int, plan: Plan, done: Callable[[int], None]) -> tuple[Any, list[Part]]:
    """Run the draws of the rows and return the structure of the output with the parts, disjoint in rows.

    Args:
        jobs: What to run: the same inputs through each network.
        rows: Positions of the rows in the jobs, int64 on the CPU.
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
                structure, part = _pass(jobs, left, first, last, plan)
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
    jobs: Jobs, rows: Tensor, draws: int, plan: Plan, done: Callable[[int], None]
) -> tuple[Any, list[Part]]:
    """Run `collect`, in another way where the model refuses its inputs.

    One draw at a time if it packs rows that come sorted by length: `pack_padded_sequence` with its defaults takes no
    others, and several draws beside one another are never sorted. With rows in the other dimension of an input where
    two fit, such as a state of one layer and one row.
    """
    try:
        return collect(jobs, rows, draws, plan, done)
    except (RuntimeError, ValueError) as error:
        if "enforce_sorted" in str(error) and not plan.single:
            return collect(jobs, rows, draws, replace(plan, single=True), done)
        inputs = turned(jobs[0].inputs)
        if inputs is None or isinstance(error, torch.OutOfMemoryError):
            raise
        try:
            return collect([replace(job, inputs=inputs) for job in jobs], rows, draws, plan, done)
        except (RuntimeError, ValueError):
            raise error from None


def _pass(jobs: Jobs, rows: Tensor, first: int, last: int, plan: Plan) -> tuple[Any, Part]:
    numbers = torch.arange(first, last, device=jobs[0].ids.device)
    if len(jobs) == 1:
        one, distributions, statistics = jobs[0].collect(numbers, rows, plan.block)
        results = [(one, distributions)]
    else:
        results = [job.run(numbers, rows) for job in jobs]
        distributions = side_by_side([outputs for _, outputs in results])
        statistics = [statistics_of(distribution, numbers, plan.block, len(jobs)) for distribution in distributions]
    if plan.apart:
        for job, (_, outputs) in zip(jobs, results):
            check_rows_apart(job, rows, numbers, outputs)
    return results[0][0], Part(rows, last - first, (distributions,) if plan.keep else (), statistics)
