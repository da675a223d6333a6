"""Where a sequence begins and ends for layers that are called at every step of a loop."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from bayesrnn.masks import Fresh, OneSequence
from bayesrnn.nn.masked import MaskedModule, masked_modules


@contextmanager
def sequence(model: nn.Module) -> Iterator[None]:
    """Within the block, every layer of `model` keeps its masks from call to call: the block is one sequence.

    For loops over steps in your own code, in `forward` as well as outside. Masks of the span `step` are new at each
    call. In train mode a block begins with new masks; in eval mode there are none, and under `predict` they are those
    of the draw. A block inside another belongs to the outer one. Models made by `convert` need no block: each of their
    passes is one.

    Example:
        >>> import torch
        >>> from bayesrnn.nn import GRUCell
        >>> cell, h = GRUCell(3, 8, dropout=0.5), torch.randn(2, 8)
        >>> with sequence(cell):
        ...     for x in torch.zeros(5, 2, 3):
        ...         h = cell(x, h)
    """
    with _one_sequence(masked_modules(model).values()):
        yield


@contextmanager
def _one_sequence(layers: Iterable[MaskedModule]) -> Iterator[None]:
    """Within the block, let layers keep their masks unless they do so already."""
    before = []
    for layer in layers:
        source = layer.source
        if isinstance(source, OneSequence) or (source is None and not layer.training):
            continue
        before.append((layer, source))
        layer.source = OneSequence(Fresh() if source is None else source)
        layer.calls += 1  # a second block within one pass of a prediction begins with the same masks
    try:
        yield
    finally:
        for layer, source in before:
            layer.source = source


class EachPass(threading.local):
    """Hooks that make every pass of a model one sequence, for its layers that are called step by step."""

    def __init__(self) -> None:
        self.open: list[ExitStack] = []

    def __reduce__(self) -> tuple[type["EachPass"], tuple[()]]:
        return EachPass, ()

    def begin(self, model: nn.Module, inputs: Any) -> None:
        """Begin: a forward pre-hook."""
        self.open.append(ExitStack())
        layers = [part for part in model.modules() if isinstance(part, MaskedModule) and part.stepwise]
        self.open[-1].enter_context(_one_sequence(layers))

    def end(self, model: nn.Module, inputs: Any, output: Any) -> None:
        """End: a forward hook, called also when the pass raised."""
        if self.open:
            self.open.pop().close()


def each_pass_is_one_sequence(model: nn.Module) -> None:
    """Let every pass of `model` be one sequence for its layers that are called step by step, through hooks."""
    each = EachPass()
    model.register_forward_pre_hook(each.begin)
    model.register_forward_hook(each.end, always_call=True)
