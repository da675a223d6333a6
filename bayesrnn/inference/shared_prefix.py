"""What is the same for all draws is computed once: parts of a model that come before its first mask."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn.inference.nested import leaves, map_leaves
from bayesrnn.nn.masked import MaskedModule

__all__ = ["shared_trunks"]


@contextmanager
def shared_trunks(model: nn.Module, single: tuple[Any, ...], repeated: tuple[Any, ...], times: int) -> Iterator[None]:
    """Within the block, run mask-free parts of `model` on single rows where their inputs are the same for all draws.

    A part is a largest submodule without masks. Where every tensor it is called with is an input of the model, or the
    result of such a part, it is given the rows once, and its result is repeated for the draws. Anything else runs as
    it would have: an operation between (a slice, a sum) makes a new tensor, which is no longer known to be the same,
    and one in place is told by the tensor's version. Parts with hooks of their own, parts that change what they are
    given and parts that use random numbers run on all rows.

    Args:
        model: The module.
        single: Its inputs, each row once.
        repeated: The same with all rows repeated `times` times, copy after copy.
        times: How many draws.
    """
    with ExitStack() as stack:
        if times > 1 and single:
            known = _Known(times)
            for (_, once), (_, many) in zip(leaves(single), leaves(repeated), strict=True):
                if isinstance(once, Tensor) and once is not many:
                    known.add(once, many)
            for part in _parts(model):
                trunk = _Trunk(known)
                stack.callback(part.register_forward_pre_hook(trunk.before, with_kwargs=True).remove)
                stack.callback(part.register_forward_hook(trunk.after).remove)
        yield


def _parts(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the largest submodules that hold parameters but no masks."""
    for child in model.children():
        if not any(isinstance(m, MaskedModule) for m in child.modules()):
            hooked = child._forward_hooks or child._forward_pre_hooks  # a hook may change what it sees
            if next(child.parameters(), None) is not None and not hooked:
                yield child
        else:
            yield from _parts(child)


class _Known:
    """Tensors whose rows are repeated for the draws, with the rows themselves."""

    def __init__(self, times: int) -> None:
        self.times = times
        self._pairs: dict[int, tuple[Tensor, Tensor, int]] = {}

    def add(self, once: Tensor, many: Tensor) -> None:
        """Remember a pair, as it is now; tensors without a version (of inference mode) cannot be watched."""
        if not many.is_inference() and not once.is_inference():
            self._pairs[id(many)] = (once, many, many._version)  # keeps `many` alive, so that its id stays its own

    def once(self, value: Any) -> Any:
        """Return the single rows of a tensor, or None if it is not known or was changed in place since."""
        once, many, version = self._pairs.get(id(value), (None, None, 0))
        return once if many is not None and many._version == version else None


class _Trunk:
    """The hooks of one part."""

    def __init__(self, known: _Known) -> None:
        self.known = known
        self.asked: _Call | None = None

    def before(self, part: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Give the part single rows, if all it is called with is known to be repeated."""
        self.asked = None
        found = [leaf for _, leaf in leaves((inputs, options))]
        single = [self.known.once(leaf) for leaf in found if isinstance(leaf, Tensor)]
        plain = all(leaf is None or isinstance(leaf, Tensor | int | float | str) for leaf in found)
        if not single or not plain or any(once is None for once in single):
            return None
        copies = [once.clone() for once in single]  # what the part writes into must not be the caller's
        given = iter(copies)
        self.asked = _Call((inputs, options), copies, [t._version for t in copies], _random(single[0]))
        return map_leaves(lambda leaf: next(given) if isinstance(leaf, Tensor) else leaf, (inputs, options))

    def after(self, part: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """Repeat what the part returned; where that would not be what all rows give, run all rows then."""
        if self.asked is None:
            return None
        call, self.asked = self.asked, None
        if call.left_a_trace() or not isinstance(output, Tensor) or not _rows_first(output, len(call.given[0])):
            inputs, options = call.wanted
            return part.forward(*inputs, **options)
        many = output.unsqueeze(0).expand(self.known.times, *output.shape).flatten(0, 1)
        self.known.add(output, many)
        return many


@dataclass(frozen=True)
class _Call:
    """What a part was called with, what it was given instead, and how that and the random state were before."""

    wanted: tuple[tuple[Any, ...], dict[str, Any]]
    given: list[Tensor]
    versions: list[int]
    random: Tensor

    def left_a_trace(self) -> bool:
        """Whether the part changed its inputs or used random numbers, other ones for each draw if it had all rows."""
        changed = any(t._version != version for t, version in zip(self.given, self.versions, strict=True))
        return changed or not torch.equal(self.random, _random(self.given[0]))


def _random(near: Tensor) -> Tensor:
    """Return the random state of the device that a tensor is on."""
    return torch.cuda.get_rng_state(near.device) if near.is_cuda else torch.get_rng_state()


def _rows_first(output: Tensor, rows: int) -> bool:
    return output.dim() > 0 and output.shape[0] == rows and (output.dim() < 2 or output.shape[1] != rows)
