"""Restore a model and the random state after a block, also after an exception."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from bayesrnn._checks import check_choice
from bayesrnn.inference.attributes import Attributes
from bayesrnn.inference.exclusive import exclusive
from bayesrnn.nn.precision import usable_precision
from bayesrnn.nn.recurrent import Recurrent


@contextmanager
def matrix_products(precision: str | None) -> Iterator[None]:
    """Within the block, make float32 matrix products from bfloat16 factors ("bf16"), or leave them as they are (None).

    Factors are rounded to 8 bits inside the product; sums, states and results stay float32. The setting is torch's
    own, for the whole process, and is put back at the end.

    Raises:
        ValueError: If the precision is neither.
    """
    check_choice(str(precision), "precision", ("None", "bf16"))
    before = torch.get_float32_matmul_precision()
    try:
        if precision == "bf16":
            torch.set_float32_matmul_precision("medium")
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def undisturbed(model: nn.Module, seed: int | None = None) -> Iterator[Callable[[], None]]:
    """Evaluate `model` in eval mode without gradients; put modes, attributes, buffers and torch's random state back.

    Modes are set on the modules themselves, not through `eval()`, which a user's class may have changed. In eval mode
    BatchNorm does not move and torch's own dropout layers are identities. With a seed, torch's random state starts from
    it inside the block, so that dropout that a user's code leaves on follows from the seed as well. What is yielded
    puts attributes and buffers back in between: a network that keeps its state for the next call (`self.hidden`)
    begins each pass anew. Other threads wait until the block ends.
    """
    with exclusive(model):
        modes = [(module, module.training) for module in model.modules()]
        attributes = Attributes(model)
        try:
            for module, _ in modes:
                module.training = False
            with same_random_state(), torch.no_grad():
                if seed is not None:
                    torch.manual_seed(seed)
                yield attributes.put_back
        finally:
            attributes.put_back()
            for module, training in modes:
                module.training = training


@contextmanager
def same_random_state() -> Iterator[None]:
    """Put torch's random state back after the block."""
    state = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    try:
        yield
    finally:
        torch.set_rng_state(state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


@contextmanager
def lower_products(model: nn.Module, precision: str | None) -> Iterator[None]:
    """Within the block, make the matrix products of `model` from bfloat16 factors ("bf16"), or leave them (None).

    Recurrent layers run under autocast, which their scan reads as: products in bfloat16, state in float32. Other layers
    keep float32 results; only the factors inside their products are rounded. A float64 model is left as it is. Where
    the processor has no units for bfloat16, a warning says so and every model is left as it is.

    Raises:
        ValueError: If the precision is neither "bf16" nor None.
    """
    precision = usable_precision(precision, next((p.device for p in model.parameters()), torch.device("cpu")))
    with ExitStack() as stack:
        stack.enter_context(matrix_products(precision))
        if precision == "bf16":
            for module in model.modules():
                if isinstance(module, Recurrent) and next(module.parameters()).dtype != torch.float64:
                    region = _Region(next(module.parameters()).device.type)
                    for hook in (
                        module.register_forward_pre_hook(region.enter),
                        module.register_forward_hook(region.leave, always_call=True),
                    ):
                        stack.callback(hook.remove)
        yield


def without_lower_products(model: nn.Module) -> nn.Module:
    """Return a model, made as a copy within `lower_products`, without the hooks of it."""
    for module in model.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if isinstance(getattr(hook, "__self__", None), _Region)]:
                del hooks[key]
    return model


def has_hooks(model: nn.Module) -> bool:
    """Whether anything but `lower_products` looks at what goes into or comes out of the modules of a model."""
    return any(
        not isinstance(getattr(hook, "__self__", None), _Region)
        for module in model.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks)
        for hook in hooks.values()
    )


class _Region:
    """Autocast around one module's forward pass."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.open: list[Any] = []

    def enter(self, module: nn.Module, inputs: Any) -> None:
        """Switch it on."""
        region = torch.autocast(self.device, dtype=torch.bfloat16)
        region.__enter__()
        self.open.append(region)

    def leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Switch it off, also when the pass raised."""
        if self.open:
            self.open.pop().__exit__(None, None, None)
