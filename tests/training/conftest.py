"""Small rows and a small model, made anew for each test."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bayesrnn.models import SequenceRegressor


@pytest.fixture
def rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(48, 5, 1, generator=generator)
    return x, x.sum((1, 2)) + 0.1 * torch.randn(48, generator=generator)


@pytest.fixture
def make() -> Callable[..., SequenceRegressor]:
    def build(dropout: float = 0.2, seed: int = 3) -> SequenceRegressor:
        torch.manual_seed(seed)
        return SequenceRegressor(input_size=1, hidden_size=6, dropout=dropout)

    return build
