"""A text with something to learn, a small model and two recipes that the tests of language training share."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from bayesrnn import schemes
from bayesrnn.models import LanguageModel
from bayesrnn.training import SGD, AdamW, Cosine, ExponentialAverage, NonMonotoneAverage, Recipe, StepDecay

RULE = Recipe(2, SGD(StepDecay(0.5, 1, 2.0), weight_decay=1e-3), batch_size=3, window=5, clip=1.0)


AVERAGED = replace(RULE, optimizer=AdamW(Cosine(0.01)), averaging=ExponentialAverage(0.9))


PLAIN = replace(RULE, optimizer=AdamW(Cosine(0.01), betas=(0.0, 0.99)), averaging=NonMonotoneAverage(1), epochs=4)
"""As the plain LSTM of the literature is trained: no first moment, an average once validation stalls."""


def stream(count: int = 200) -> Tensor:
    """Mostly 0 1 2 ... 10 0 1 ..., so that there is something to learn."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.randint(11, (count,), generator=generator)
    return torch.where(torch.rand(count, generator=generator) < 0.1, noise, torch.arange(count) % 11)


def language_model(dropout: float | schemes.Scheme = 0.3, cell: str = "lstm") -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(11, 6, 7, 2, cell, dropout=dropout, init_range=0.3)


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
