"""The input and the network of `predict`'s tests, made anew for each."""

import pytest
import torch

from tests.inference.small_net import Net


@pytest.fixture
def x():
    return torch.randn(7, 6, 3, dtype=torch.float64)


@pytest.fixture
def net():
    return Net().double()
