"""What the tests of cells share."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bayesrnn as br

CELLS: dict[str, tuple[Any, Any, Any]] = {
    "LSTM": (nn.LSTMCell, br.nn.LSTMCell, br.nn.LSTM),
    "GRU": (nn.GRUCell, br.nn.GRUCell, br.nn.GRU),
    "RNN": (nn.RNNCell, br.nn.RNNCell, br.nn.RNN),
}


def unrolled(cell: nn.Module, x: Tensor, state: Any = None) -> Tensor:
    outputs = []
    for step in x:
        state = cell(step, state)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.stack(outputs)


class Seq2Seq(nn.Module):
    """An encoder, and a decoder with attention that reads the true last token (teacher forcing)."""

    def __init__(self, cell: str = "GRU") -> None:
        super().__init__()
        self.words = nn.Embedding(7, 3)
        self.encoder = CELLS[cell][0](3, 4)
        self.decoder = CELLS[cell][0](3 + 4, 4)
        self.drop = nn.Dropout(0.4)
        self.out = nn.Linear(4, 7)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, state = [], None
        for t in range(source.shape[1]):
            state = self.encoder(self.words(source[:, t]), state)
            memory.append(state[0] if isinstance(state, tuple) else state)
        keys, scores = torch.stack(memory, 1), []
        for t in range(target.shape[1]):
            h = state[0] if isinstance(state, tuple) else state
            weights = torch.einsum("bth,bh->bt", keys, h).softmax(1)
            context = torch.einsum("bt,bth->bh", weights, keys)
            state = self.decoder(torch.cat([self.words(target[:, t]), context], 1), state)
            scores.append(self.out(self.drop(state[0] if isinstance(state, tuple) else state)))
        return torch.stack(scores, 1)


class Recorded:
    """The masks that a cell's products saw, taken from what reaches `masked_product`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from bayesrnn.nn import steps

        self.seen: list[Tensor] = []
        product = steps.masked_product

        def noting(x: Tensor, w: Tensor, b: Tensor | None, mask: Tensor | None, gates: int) -> Tensor:
            self.seen.append(mask)
            return product(x, w, b, mask, gates)

        monkeypatch.setattr(steps, "masked_product", noting)

    def take(self) -> list[Tensor]:
        seen, self.seen = self.seen[1::2], []  # the hidden ones
        return seen


def same(masks: list[Tensor]) -> bool:
    return all(torch.equal(mask, masks[0]) for mask in masks)
