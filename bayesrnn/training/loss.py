"""The default loss, the exclusion of padding from any loss, and a warning about unscaled targets."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution
from torch.overrides import TorchFunctionMode
from torch.utils.data import TensorDataset

from bayesrnn._checks import as_values
from bayesrnn.inference.nested import leaves
from bayesrnn.likelihoods import families
from bayesrnn.likelihoods.validation import validate
from bayesrnn.models import SequenceRegressor
from bayesrnn.nn.sequences import before_padding, padding
from bayesrnn.training.batches import split

Loss = Callable[[Any, Tensor], Tensor]
"""(output of the model, target) -> a scalar, or one number per target."""


def negative_log_likelihood(distribution: Distribution, target: Any) -> Tensor:
    r"""Return $-\log p(y)$ of each target in nats, shaped as the distribution's batch.

    The targets are a tensor, an array, a list or a pandas Series. Whole numbers and booleans are taken as numbers,
    except for classes (`Categorical`), whose targets are whole numbers.

    Raises:
        TypeError: If the model's output is no torch Distribution.
        ValueError: If the target's shape is not the distribution's, a target lies outside the distribution's support,
            or a parameter outside its range.

    Example:
        >>> negative_log_likelihood(torch.distributions.Bernoulli(torch.tensor([0.5])), torch.ones(1))
        tensor([0.6931])
    """
    if not isinstance(distribution, Distribution):
        raise TypeError(
            f"the model returned a {type(distribution).__name__}, but the default loss needs a torch Distribution. "
            "Return one from forward (see bayesrnn.likelihoods), or pass loss=, for example "
            "torch.nn.functional.mse_loss."
        )
    validate(distribution)
    target = as_values(target, "target")
    legal = distribution.batch_shape + distribution.event_shape
    if target.shape != legal:
        raise ValueError(
            f"the target has shape {tuple(target.shape)}, but the model's distribution is about {tuple(legal)}. One "
            "target per row is (rows,), one per step is (rows, steps), several are (rows, targets)."
        )
    if not target.is_floating_point() and not isinstance(families.peel(distribution), Categorical):
        target = target.to(families.example_parameter(distribution).dtype)  # binary_cross_entropy takes no other
    _check_support(distribution, target)
    return -distribution.log_prob(target)


def apply_loss(loss: Loss, output: Any, target: Any) -> Tensor:
    """Return `loss(output, target)`; if it fails, the error names shapes, dtypes and the usual fixes.

    Raises:
        TypeError: If the loss does not take this output and this target, or returns no tensor.
        ValueError: If it compares rows with other rows, because the shapes were broadcast.
    """
    try:
        with _watch(loss, output, target):
            values = loss(output, target)
    except (RuntimeError, IndexError) as error:
        if isinstance(error, torch.OutOfMemoryError) or not (isinstance(output, Tensor) and isinstance(target, Tensor)):
            raise
        raise TypeError(
            f"the loss {_name(loss)} fails on an output of shape {tuple(output.shape)} ({output.dtype}) and a target "
            f"of shape {tuple(target.shape)} ({target.dtype}): {str(error).splitlines()[0]}. Losses of numbers and of "
            "two classes by one logit need a target of the output's shape and dtype (target.float()); cross entropy "
            "needs outputs (rows, classes, ...) and whole numbers (rows, ...)."
        ) from error
    if not isinstance(values, Tensor):
        raise TypeError(f"the loss must return a tensor, but it returned a {type(values).__name__}.")
    _check_values(loss, values, output, target)
    return values


def _check_values(loss: Loss, values: Tensor, output: Any, target: Tensor) -> None:
    """Refuse numbers that are neither one, nor one per row, per target or per part of the output."""
    outputs = [
        leaf.shape if isinstance(leaf, Tensor) else leaf.batch_shape + leaf.event_shape
        for _, leaf in leaves(output)
        if isinstance(leaf, Tensor | Distribution)
    ]
    legal = [(*shape, 1)[: values.dim()] for shape in (target.shape, *outputs)]
    if values.numel() != 1 and tuple(values.shape) not in legal:
        raise ValueError(_of_pairs(loss, f"returns numbers of shape {tuple(values.shape)}", outputs, target))


def _of_pairs(loss: Loss, what: str, outputs: Sequence[torch.Size], target: Tensor) -> str:
    return (
        f"the loss {_name(loss)} {what} for an output of shape {', '.join(str(tuple(shape)) for shape in outputs)} and "
        f"a target of shape {tuple(target.shape)}: broadcasting has put each row beside the targets of other rows. "
        "Give both one shape in the loss, by output.squeeze(-1) or target.unsqueeze(-1), and return a scalar or one "
        "number per target."
    )


class _Watch(TorchFunctionMode):
    """Refuses a loss that stretches (N, 1) and (N,) to (N, N), a shape that neither has."""

    def __init__(self, loss: Loss, output: Tensor, target: Tensor, wide: torch.Size) -> None:
        super().__init__()
        self.loss, self.output, self.target, self.wide = loss, output, target, wide

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        shapes = {(a.shape, a.requires_grad) for a in (*args, *(kwargs or {}).values()) if isinstance(a, Tensor)}
        both = {(self.output.shape, True), (self.target.shape, False)} <= shapes
        wide = isinstance(result, Tensor) and result.shape == self.wide
        if both and (wide or getattr(func, "__name__", "").endswith("_loss")):
            raise ValueError(
                _of_pairs(self.loss, f"compares at shape {tuple(self.wide)}", [self.output.shape], self.target)
            )
        return result


def _watch(loss: Loss, output: Any, target: Any) -> AbstractContextManager[Any]:
    """Return a `_Watch` where output and target can be stretched so."""
    if isinstance(output, Tensor) and isinstance(target, Tensor):
        with suppress(RuntimeError):
            wide = torch.broadcast_shapes(output.shape, target.shape)
            if wide not in (output.shape, target.shape):
                return _Watch(loss, output, target, wide)
    return nullcontext()


def _name(loss: Loss) -> str:
    return getattr(loss, "__name__", type(loss).__name__)


def batch_loss(model: nn.Module, loss: Loss, batch: Any, call: nn.Module | None = None) -> tuple[Tensor, int]:
    """Return the mean loss over the targets of a batch that are no padding, and their number.

    `call` stands for the model where something is wrapped around it.
    """
    inputs, keywords, target = split(batch)
    values = apply_loss(loss, (call or model)(*inputs, **keywords), target)
    return masked_mean(values, *padding(model, inputs, keywords, values), rows=target.shape[0])


def check_loss(value: Tensor, epoch: int, batch: int) -> None:
    """Refuse a training loss that is not finite."""
    if not math.isfinite(float(value.detach())):
        raise ValueError(
            f"the training loss became {float(value.detach())} in epoch {epoch}, batch {batch}: the training diverged. "
            "Lower the learning rate, set gradient_clip=1.0, or scale inputs and targets to about unit size."
        )


def masked_mean(values: Tensor, lengths: Tensor | None, steps: int | None, rows: int = 1) -> tuple[Tensor, int]:
    """Return the mean over the targets that are no padding, and their number.

    Values are a scalar, which counts for `rows`, or (rows, ...), or (rows, steps, ...) with padding behind `lengths`;
    `steps` is None where they have no steps.
    """
    if lengths is None or steps is None or values.dim() < 2:
        return values.mean(), values.numel() if values.dim() else rows
    inside = before_padding(lengths, steps, values.dim(), values.device).expand_as(values)
    count = int(inside.sum())
    return values.masked_fill(~inside, 0.0).sum() / max(count, 1), count


def _check_support(distribution: Distribution, target: Tensor) -> None:
    if isinstance(distribution, Categorical):
        classes = distribution._num_events
        if target.is_floating_point() or target.dtype == torch.bool:
            raise ValueError(
                f"class targets must be whole numbers in 0..{classes - 1}, but their type is {target.dtype}. "
                "Use target.long()."
            )
        low, high = int(target.min()), int(target.max())
        if low < 0 or high >= classes:
            raise ValueError(
                f"class targets must lie in 0..{classes - 1}, but they reach from {low} to {high}. Count classes from "
                "0, and check the model's number of classes."
            )
        return
    try:
        support = distribution.support
    except NotImplementedError:
        return
    inside = support.check(target) if support is not None else None
    if inside is not None and not bool(inside.all()):
        raise ValueError(
            f"{int((~inside).sum())} targets lie outside the support of {type(distribution).__name__}, {support}. "
            "Counts are whole numbers from 0; for other values choose another likelihood."
        )


_OFF = 10.0
"""Warn if the targets' mean is more than so many head units away, or their spread differs by more than this factor."""


def warn_of_scale(model: nn.Module, train: Any) -> None:
    """Warn if the targets are far from the mean or the unit that a `SequenceRegressor` starts from.

    The head starts near mean m and standard deviation s (0 and 1 until `standardize` is called); steps of AdamW are
    about as long as the learning rate, so that a target a thousand units away takes thousands of steps to reach.
    """
    target = _target(train)
    if not isinstance(model, SequenceRegressor) or target is None or not model.head.form.real:
        return
    head = model.head
    values = target.detach().to(head.target_mean).reshape(-1, head.outputs)
    if len(values) < 2:
        return
    mean, std = values.mean(0), values.std(0)
    distance = float(((mean - head.target_mean).abs() / head.target_std).max())
    units = std / head.target_std
    far = distance > _OFF or bool((units > _OFF).any()) or bool(((units > 0) & (units < 1 / _OFF)).any())
    if far:
        warnings.warn(
            f"the targets have mean {_listed(mean)} and standard deviation {_listed(std)}, but the untrained model "
            f"predicts about {_listed(head.target_mean)} +- {_listed(head.target_std)}: training may take very long to "
            "get there. Call model.standardize(x, y) with the training rows first; predictions stay in the units of y.",
            stacklevel=3,
        )


def _target(train: Any) -> Tensor | None:
    """Return the targets if they are one tensor of real numbers."""
    if isinstance(train, TensorDataset):
        train = train.tensors
    if isinstance(train, Mapping):
        value = train.get("target")
    else:
        value = train[-1] if isinstance(train, Sequence) and len(train) else None
    values = None if value is None else as_values(value, "target")
    return values if values is not None and values.is_floating_point() else None


def _listed(values: Tensor) -> str:
    shown = ", ".join(f"{value:.3g}" for value in values[:3].tolist())
    return shown if len(values) <= 3 else f"{shown}, ..."
