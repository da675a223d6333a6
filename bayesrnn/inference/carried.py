"""Read a stream with a model that takes no state: its recurrent layers keep their states between windows."""

import inspect
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from bayesrnn.inference.nested import leaves
from bayesrnn.inference.outputs import OutputDistribution, Point, parameters
from bayesrnn.inference.stream_reader import StreamReader
from bayesrnn.masks import Binding
from bayesrnn.nn.dropout import Dropout
from bayesrnn.nn.recurrent import Recurrent

States = dict[str, Any]  # name of a layer and number of its call -> its last state


class CarriedReader(StreamReader):
    """Reads a model that is called as ``model(window)`` and returns its output only."""

    def call(self, window: Tensor, state: Any) -> Any:
        """Return (output, states of the recurrent layers)."""
        with _carried(self.model, state or {}) as after:
            output = self.model(window)
        return output, after


@contextmanager
def _carried(model: nn.Module, before: States) -> Iterator[States]:
    """Within the block, let recurrent layers begin from the states `before`, and yield those that they end with.

    Raises:
        ValueError: If a layer reads in both directions.
    """
    after: States = {}
    calls: Counter[str] = Counter()
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if not isinstance(module, Recurrent | nn.RNNBase):
                continue
            if module.bidirectional:
                raise ValueError(
                    f"the layer {name or 'of the model'} ({type(module).__name__}) is bidirectional: it reads from "
                    "the end, which a stream does not have yet. Train a model with bidirectional=False."
                )

            def begin(module: nn.Module, args: Any, kwargs: Any, name: str = name) -> Any:
                state = before.get(f"{name}.{calls[name]}")
                if state is None:
                    return None
                kept = {k: v for k, v in kwargs.items() if k not in ("state", "hx")}
                x = args[:1] or (kept.pop("x", None) if "x" in kept else kept.pop("input"),)
                return (*x, state), kept

            def end(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
                after[f"{name}.{calls[name]}"] = output[1]
                calls[name] += 1

            stack.callback(module.register_forward_pre_hook(begin, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(end).remove)
        for module in model.modules():
            if isinstance(module, Dropout):
                stack.callback(module.register_forward_pre_hook(_first_step).remove)
        yield after


def _first_step(module: nn.Module, args: Any) -> None:
    """Give a Dropout that sees no steps, (rows, features), the masks of step 0."""
    if args and args[0].dim() == 2 and isinstance(module.source, Binding):
        module.source = replace(module.source, first_step=0)


def carries_state(model: nn.Module, output: Any) -> bool:
    """Whether `output` of the model is (output, state), a state that it takes as its second argument."""
    if not isinstance(output, tuple) or len(output) != 2:
        return False
    if any(isinstance(leaf, Distribution | Point) for _, leaf in leaves(output[1])):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    given = list(inspect.signature(model.forward).parameters.values())
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in given):
        return True
    names = [p.name for p in given if p.kind in kinds]
    return len(names) > 1 and names[1] != "lengths"


def check_same(whole: list[OutputDistribution], last: list[OutputDistribution]) -> None:
    """Refuse a model whose last steps, (1, B, steps, ...), differ between a window and the whole sequence.

    Raises:
        ValueError: If they differ by more than rounding.
    """
    for a, b in zip(whole, last, strict=True):
        for x, y in zip(parameters(a), parameters(b), strict=True):
            if x.shape != y.shape:  # an output per step: compare the steps of the last window
                x = x[:, :, -y.shape[2] :] if x.dim() > 2 else x
            scale = x.double().abs().amax().clamp(min=1e-30)
            close = 1e-3 if x.dtype in (torch.float16, torch.bfloat16) else 1e-4
            if x.shape != y.shape or not bool(((x.double() - y.double()).abs() <= close * scale).all()):
                raise ValueError(
                    "this model says something else of the first two windows when it reads them at once than when it "
                    "reads them one after the other: something other than its recurrent layers looks at several steps "
                    "(a mean over steps, a convolution, attention, a loop of its own). Let forward take (x, state) and "
                    "return (output, state), or call bayesrnn.predict on what was read so far."
                )
