"""Small language models and texts for the tests of perplexity."""

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from bayesrnn import schemes
from bayesrnn.models import LanguageModel
from bayesrnn.nn import Dropout


def text(count: int = 40, size: int = 9) -> Tensor:
    return torch.randint(size, (count,), generator=torch.Generator().manual_seed(2))


def language_model(dropout: float | schemes.Scheme = 0.4, **options: object) -> LanguageModel:
    torch.manual_seed(5)
    return LanguageModel(9, 6, 7, 2, dropout=dropout, init_range=0.8, **options)  # type: ignore[arg-type]


class Switch(nn.Module):
    """Two words; one unit, kept or dropped for the whole stream, decides between two distributions."""

    def __init__(self) -> None:
        super().__init__()
        self.mask = Dropout(0.5)
        self.distributions = nn.Parameter(torch.tensor([[0.9, 0.1], [0.2, 0.8]]).log())

    def forward(self, tokens: Tensor, state: object = None) -> tuple[Categorical, Tensor]:
        kept = self.mask(torch.ones(*tokens.shape, 1)) > 0
        return Categorical(logits=torch.where(kept, self.distributions[0], self.distributions[1])), torch.zeros(1)
