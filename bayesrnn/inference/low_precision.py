"""bfloat16 products in a model whose state, and whose results, stay float32."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from bayesrnn.inference.products import matrix_products
from bayesrnn.nn.precision import usable_precision
from bayesrnn.nn.recurrent import Recurrent

__all__ = ["lower_products"]


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
