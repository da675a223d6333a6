"""How exact matrix products are."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bayesrnn._checks import check_choice

__all__ = ["matrix_products"]


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
