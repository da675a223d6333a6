"""A small network of words."""

import torch
from torch import nn

from bayesrnn import schemes
from tests.problems import WordNet


def word_net(layers: int = 1, scheme: schemes.Scheme | float = 0.2) -> nn.Module:
    return WordNet(scheme, "gru", (6, 3, 5), layers)


def _unit_gaussian(output: torch.Tensor) -> torch.distributions.Normal:
    return torch.distributions.Normal(output.squeeze(-1), 1.0)
