"""Find which dimension of a tensor holds the rows, for the masks of dropouts and embeddings."""

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from bayesrnn._checks import is_exporting
from bayesrnn.nn.devices import watched
from bayesrnn.nn.one_sequence import EachPass

_CHANNELS_SECOND = (
    nn.modules.conv._ConvNd, nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd, nn.modules.pooling._AdaptiveAvgPoolNd, nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
)  # fmt: skip
_FEATURES_LAST = (nn.Linear, nn.LayerNorm, nn.RNNBase, nn.MultiheadAttention, nn.Embedding)


class Pass(threading.local):
    """What the layers of a converted model know about the pass under way; forgotten when the model returns.

    Attributes:
        rows: Rows of the model's inputs, or None where these disagree or nothing says which dimension has them.
        sizes: The other sizes of its inputs.
        channels: Channels of the last output of a convolution, a pooling or a batch norm, if no layer with features
            last came after it.
    """

    def __init__(self, batch_first: bool | None) -> None:
        self.batch_first = batch_first
        self.rows: int | None = None
        self.sizes: frozenset[int] = frozenset()
        self.channels: int | None = None

    def __reduce__(self) -> tuple[type["Pass"], tuple[bool | None]]:
        return Pass, (self.batch_first,)

    def begin(self, module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        """Note the inputs: a forward pre-hook of the whole model."""
        if torch.compiler.is_compiling():
            self.channels = None if is_exporting() else self.channels
            return
        rows: set[int] = set()
        sizes: set[int] = set()
        for leaf in _tensors((inputs, options)):
            if isinstance(leaf, PackedSequence):
                rows.add(int(leaf.batch_sizes[0]))
            elif leaf.dim():
                place = 0 if self.batch_first or leaf.dim() == 1 else 1
                rows.add(leaf.shape[place])
                sizes.update(size for k, size in enumerate(leaf.shape) if k != place)
        known = len(rows) == 1 and self.batch_first is not None
        self.rows, self.sizes, self.channels = (rows.pop() if known else None), frozenset(sizes), None

    def end(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Forget: a forward hook of the whole model."""
        self.rows, self.sizes, self.channels = None, frozenset(), None

    def note(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Note what a layer returned: a forward hook of the layers that decide where the features are."""
        if not torch.compiler.is_compiling() or is_exporting():
            second = isinstance(module, _CHANNELS_SECOND) and isinstance(output, Tensor) and output.dim() > 2
            self.channels = output.shape[1] if second else None

    def channels_second(self, x: Tensor) -> bool:
        """Whether x (rows, channels, steps) comes from a convolution or the like and was not transposed since."""
        if self.channels is None or x.dim() != 3 or not isinstance(x.shape[1], int) or x.shape[1] != self.channels:
            return False  # no int: in a graph that is being written, a number of steps
        return not isinstance(x.shape[2], int) or x.shape[2] != self.channels or x.stride(1) >= x.stride(2)


def watch(model: nn.Module, layers: list[Any], batch_first: bool | None) -> None:
    """Let `layers` of `model`, if there are any, know about each pass of the model, through hooks."""
    if not layers:
        return
    current = Pass(batch_first)
    for layer in layers:
        layer.current = current
    model.register_forward_pre_hook(current.begin, with_kwargs=True)
    model.register_forward_hook(current.end)
    parts = [part for part in model.modules() if isinstance(part, _CHANNELS_SECOND + _FEATURES_LAST)]
    if any(isinstance(part, _CHANNELS_SECOND) for part in parts):
        for part in [*parts, *(part for part in model.modules() if hasattr(part, "cell"))]:
            part.register_forward_hook(current.note)


def unwatched(model: nn.Module) -> nn.Module:
    """Take the hooks of `convert` off a model."""
    for part in model.modules():
        for hooks in (part._forward_pre_hooks, part._forward_hooks):
            ours = [key for key, hook in hooks.items() if isinstance(getattr(hook, "__self__", None), Pass | EachPass)]
            for key in ours:
                del hooks[key]
    return model


def _tensors(structure: Any) -> Iterator[Tensor | PackedSequence]:
    if isinstance(structure, Tensor | PackedSequence):
        yield structure
    elif isinstance(structure, tuple | list):
        for value in structure:
            yield from _tensors(value)
    elif isinstance(structure, Mapping):
        yield from _tensors(list(structure.values()))


def consecutive(tokens: Tensor) -> bool:
    """Whether tokens run 0, 1, 2, ... (at least three): positions, the same for all rows, rather than words."""
    flat = tokens.reshape(-1)
    return flat.numel() > 2 and not watched() and bool((flat == torch.arange(len(flat), device=flat.device)).all())


class _Output(threading.local):
    """Sizes of the last output of a recurrent layer."""

    sizes: tuple[int, int, int, int, int] | None = None


_OUTPUT = _Output()


def note_output(layers: int, rows: int, steps: int, units: int, directions: int) -> None:
    """Remember what a recurrent layer returned: (rows, steps, directions * units) and a state (layers, rows, units)."""
    if not torch.compiler.is_compiling():
        _OUTPUT.sizes = (layers, rows, steps, units, directions)


def is_state(x: Tensor, expected: int | None = None) -> bool:
    """Whether x is shaped as the last state (layers, rows, units) of a recurrent layer, not as its outputs.

    Args:
        x: Any tensor.
        expected: Rows that the model's inputs have, where they are known.
    """
    if torch.compiler.is_compiling() or _OUTPUT.sizes is None or x.dim() != 3:
        return False
    layers, rows, steps, units, directions = _OUTPUT.sizes
    if expected is not None and rows % expected:
        return False  # that was an earlier pass
    if x.shape[:2] in ((rows, steps), (steps, rows)) and x.shape[2] == units * directions:
        return False
    if x.shape[0] > layers or x.shape[1] != rows or x.shape[2] != units:
        return False
    return x.shape[0] != rows or x.stride(0) >= x.stride(1)  # as many rows as layers: a transposed state has them first
