"""Whether a model uses the rows of a batch jointly: then draws, which ride in the batch, would mix."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from bayesrnn.inference.attributes import Attributes
from bayesrnn.inference.batch_part import BatchPart, differ, largest_gap
from bayesrnn.inference.context import same_random_state, without_lower_products
from bayesrnn.inference.job import Job
from bayesrnn.inference.nested import Rows, leaves, map_leaves
from bayesrnn.inference.outputs import OutputDistribution

_FEW = 4  # draws and rows of the passes that look for the module
_known: "WeakKeyDictionary[nn.Module, set[int]]" = WeakKeyDictionary()


def check_rows_apart(job: Job, rows: Tensor, draws: Tensor, outputs: list[OutputDistribution]) -> None:
    """Refuse a model that gives a row other results in a batch than with a second row only.

    One draw of two rows is run by itself and compared with what the batch gave for it. What differs by more than
    rounding is run again in float64, module by module, by a copy of the model. A model that passed is not looked at
    again until its weights, attributes or hooks change.

    Args:
        job: What is predicted.
        rows: Positions of the rows in the batch, (B,).
        draws: Numbers of its draws, (S,).
        outputs: What the batch gave, with batch shape (S, B, ...).

    Raises:
        ValueError: If rows are used jointly, with the module in which they are first.
    """
    key = hash(_fingerprint(job))
    if key in _known.get(job.model, ()):
        return
    with same_random_state():
        _check(job, rows, draws, outputs)
    _known.setdefault(job.model, set()).add(key)


def _check(job: Job, rows: Tensor, draws: Tensor, outputs: list[OutputDistribution]) -> None:
    whole: list[OutputDistribution] | None = outputs
    few: list[OutputDistribution] | None = outputs
    if rows.numel() * draws.numel() > 1:
        some = _part(job, rows, draws)
        few = _tried(lambda: job.run(draws[some.draws], rows[some.rows])[1])
    else:  # a pass of a single row: run it with another one
        some = BatchPart(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))
        rows, draws = _with_another(job, rows, draws)
        whole = _tried(lambda: job.run(draws, rows)[1])
    if whole is not None and few is not None and differ(whole, few, some, rough=True):
        _confirm(job, rows, draws, far=differ(whole, few, some, rough=True, times=50.0))


def _part(job: Job, rows: Tensor, draws: Tensor) -> BatchPart:
    """Return a part to run by itself: two rows of the last draw, one of them the longest."""
    count, last = rows.numel(), draws.numel() - 1
    if count == 1:
        return BatchPart(torch.arange(max(last - 1, 1), last + 1), torch.arange(1))
    longest = _longest(job, rows)
    both = [longest, (longest + 1) % count] if count > 2 or last else [longest]
    return BatchPart(torch.tensor([last]), torch.tensor(sorted(both)))


def _with_another(job: Job, rows: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Return a single row with another one, or with another draw of itself."""
    others = torch.arange(min(job.rows, 2))
    others = others[others != rows]
    return (torch.cat([rows, others[:1]]), draws) if job.rows > 1 else (rows, torch.cat([draws, draws + 1]))


def _longest(job: Job, rows: Tensor) -> int:
    """Return the place of the longest row, if lengths are known: padding to it equals padding in the batch."""
    for _, leaf in leaves((job.options, job.inputs)):
        value = getattr(leaf, "value", None)
        if isinstance(value, nn.utils.rnn.PackedSequence):
            return int(nn.utils.rnn.pad_packed_sequence(value)[1][rows].argmax())
        flat = torch.as_tensor(value) if isinstance(value, list) and all(isinstance(v, int) for v in value) else value
        if isinstance(flat, Tensor) and flat.dim() == 1 and not flat.is_floating_point():
            return int(flat[rows.to(flat.device)].argmax())
    return rows.numel() - 1


def _confirm(job: Job, rows: Tensor, draws: Tensor, *, far: bool) -> None:
    """Run a small batch and two parts of it in float64; refuse if they differ, and name the module."""
    wide = _tried(lambda: _wide(job))
    if wide is None:
        if far:
            raise ValueError(_message("a module that could not be found: the model cannot be copied to float64"))
        return
    few_rows, few_draws = rows[:_FEW], draws[: _FEW if rows.numel() > 1 else 2 * _FEW]
    beside = min(2, max(len(few_rows) // 2, 1))
    together = 1 if rows.numel() > 1 else min(2, max(len(few_draws) // 2, 1))
    batch = _tried(lambda: _traced(wide, few_draws, few_rows))
    parts = [
        BatchPart(torch.arange(len(few_draws))[-together:], torch.arange(len(few_rows))[:beside]),
        BatchPart(torch.arange(len(few_draws))[:together], torch.arange(len(few_rows))[-beside:]),
    ]
    for some in parts:
        chosen = few_draws[some.draws], few_rows[some.rows]
        result = _tried(partial(_twice, wide, *chosen))
        if batch is None or result is None:
            if far:
                raise ValueError(_message("a module that could not be found: the model does not run in float64"))
            return
        whole, events = batch
        (alone, seen), (again, _) = result
        every = BatchPart(torch.arange(len(some.draws)), torch.arange(len(some.rows)))
        if differ(again, alone, every, rough=False):
            return  # the model has random numbers of its own: nothing can be compared
        if differ(whole, alone, some, rough=False):
            size = len(few_draws), len(few_rows)
            raise ValueError(_message(_first(events, seen, some, size)))


def _twice(job: Job, draws: Tensor, rows: Tensor) -> Any:
    return _traced(job, draws, rows), _traced(job, draws, rows)


def _wide(job: Job) -> Job:
    """Return the job with a copy of the model, and its inputs, in float64."""

    def double(leaf: Any) -> Any:
        value = leaf.value if isinstance(leaf, Rows) else leaf
        if isinstance(value, np.ndarray):
            value = value.astype(np.float64) if value.dtype.kind == "f" else value
        elif isinstance(value, nn.utils.rnn.PackedSequence):
            value = value.double() if value.data.is_floating_point() else value
        elif isinstance(value, Tensor) and value.is_floating_point():
            value = value.double()
        return Rows(value, leaf.dim) if isinstance(leaf, Rows) else value

    model = without_lower_products(copy.deepcopy(job.model).double())
    inputs, options = map_leaves(double, (job.inputs, job.options))
    return replace(job, model=model, inputs=inputs, options=options, fresh=Attributes(model).put_back)


Event = tuple[str, Tensor]


def _traced(job: Job, draws: Tensor, rows: Tensor) -> tuple[list[OutputDistribution], list[Event]]:
    """Run a job and note what goes into and comes out of every module, with words for the place."""
    events: list[Event] = []
    hooks = []
    for name, module in job.model.named_modules():
        what = f"{name or 'the model itself'} ({type(module).__name__})"
        parent = name.rpartition(".")[0]
        owner = job.model.get_submodule(parent)
        before = f"the forward of {parent or 'the model itself'} ({type(owner).__name__}), before it calls {what}"

        def note(words: str, tensors: Any) -> None:
            events.extend((words, leaf.detach().clone()) for _, leaf in leaves(tensors) if isinstance(leaf, Tensor))

        hooks.append(module.register_forward_pre_hook(lambda m, x, w=before: note(w, x)))
        hooks.append(module.register_forward_hook(lambda m, x, y, w=what: note(w, y)))
    try:
        return job.run(draws, rows)[1], events
    finally:
        for hook in hooks:
            hook.remove()


def _first(whole: list[Event], alone: list[Event], some: BatchPart, size: tuple[int, int]) -> str:
    """Return the place of the first event that differs."""
    total, few = size[0] * size[1], some.draws.numel() * some.rows.numel()
    flat = (some.draws[:, None] * size[1] + some.rows).flatten()
    for (words, a), (other, b) in zip(whole, alone):
        fits = [dim for dim in range(min(a.dim(), 2)) if (a.shape[dim], b.shape[dim]) == (total, few)]
        if words != other or not fits or not a.is_floating_point():
            continue
        part, scale = a.movedim(fits[0], 0)[flat], float(a.abs().amax())
        if largest_gap(part, b.movedim(fits[0], 0)) > 1e-6 * scale:
            return words
    return "the forward of the model itself, after its last module, or in the likelihood"


def _fingerprint(job: Job) -> tuple[Any, ...]:
    """Return everything that can change how rows are used: code, attributes, hooks, weights, kinds of input."""
    inputs = tuple(
        (path, getattr(leaf.value, "dtype", None), getattr(leaf.value, "ndim", 0), leaf.dim)
        for path, leaf in leaves((job.inputs, job.options))
        if isinstance(leaf, Rows)
    )
    modules = tuple(
        (
            id(module),
            type(module),
            tuple((k, v) for k, v in vars(module).items() if isinstance(v, int | float | str | None)),
            len(module._forward_hooks),
            len(module._forward_pre_hooks),
            tuple((p.data_ptr(), p._version) for p in module._parameters.values() if p is not None),
        )
        for module in job.model.modules()
    )  # fmt: skip
    code = getattr(job.likelihood, "__code__", job.likelihood)
    return inputs, modules, code, job.batch_dim, job.shared


def _tried(call: Callable[[], Any]) -> Any:
    """Return the result of a call, or None if it fails, as some models do in float64."""
    try:
        return call()
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError, NotImplementedError):
        return None


def _message(where: str) -> str:
    return (
        "the model uses the rows of a batch jointly, so the result of a sequence depends on the other sequences and "
        f"draws beside it, first in {where}. Draws ride in the batch and would mix. Let every module act on each row "
        "by itself: batch_first=True for attention over (rows, steps, features), running statistics for BatchNorm, no "
        'mean, sum or maximum over dimension 0. If it is meant, pass rows_interact="allow": then each draw is a pass '
        "of all rows by itself."
    )
