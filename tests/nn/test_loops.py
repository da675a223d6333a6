"""Loops of cells that a user writes: predictions, streams and states are those of a layer."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn import schemes
from bayesrnn.inference import point
from tests.nn.cell_loops import CELLS, Recorded, Seq2Seq, same, unrolled
from tests.nn.kernels.test_dispatch import SCHEMES

SOURCE, TARGET = torch.tensor([[1, 2, 3, 1], [0, 1, 2, 3]]), torch.tensor([[4, 5, 4], [6, 6, 1]])
TIED = schemes.gal(0.4, gates="tied")


def test_a_cell_by_itself_goes_on_with_the_state_it_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    cell, recorded, x = br.nn.LSTMCell(3, 4, dropout=TIED).train(), Recorded(monkeypatch), torch.randn(5, 2, 3)
    firsts = []
    for start in (None, (torch.zeros(2, 4), torch.zeros(2, 4)), (nn.Parameter(torch.zeros(2, 4)), torch.zeros(2, 4))):
        unrolled(cell, x, start)
        seen = recorded.take()
        assert same(seen)
        firsts.append(seen[0])
    assert not torch.equal(firsts[0], firsts[1])
    assert not torch.equal(firsts[1], firsts[2])
    h, c = cell(x[0])
    first = recorded.take()[0]
    cell(x[1], (h.detach(), c.detach()))  # a new window of a longer stream
    assert not torch.equal(recorded.take()[0], first)


def test_a_state_that_does_not_tell_is_refused_and_a_block_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, x, recorded = br.nn.GRUCell(3, 4, dropout=TIED).train(), torch.randn(2, 3), Recorded(monkeypatch)
    h = cell(x)
    with pytest.raises(ValueError, match=r"cannot tell whether this call begins a sequence.*bayesrnn.nn.sequence"):
        cell(x, 2.0 * h)
    with torch.no_grad(), pytest.raises(ValueError, match="cannot tell"):
        cell(x, torch.zeros(2, 4))
    recorded.take()
    with br.nn.sequence(cell):
        for _ in range(3):
            h = cell(x, 2.0 * h)
    assert same(recorded.take())
    cell.eval()
    with br.nn.sequence(cell):
        torch.testing.assert_close(cell(x), br.revert(cell)(x))


class Twice(nn.Module):
    """A cell that sees its batch, and then each row of it twice."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x[:, 0]) + self.cell(x[:, 1].repeat(2, 1))[: len(x)]


def test_two_batches_in_one_loop_are_refused() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(3, 4)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            a = b = None
            for t in range(3):
                a, b = self.cell(x[:, t], a), self.cell(y[:, t], b)
            return a

    model = br.convert(Two(), TIED)
    x, y = torch.randn(4, 3, 3), torch.randn(2, 3, 3)
    with pytest.raises(ValueError, match="called with 4 rows and then, in the same sequence, with 2"):
        model.train()(x, y)
    with pytest.raises(ValueError, match="called with 4 rows and then, in the same sequence, with 8"):
        model.train()(x, y.repeat(4, 1, 1))
    doubled = br.convert(Twice(), TIED)
    with pytest.raises(ValueError, match="called with 16 rows and then, in the same sequence, with 32"):
        br.predict(doubled, x, draws=4, likelihood=point)
    bare = br.nn.GRUCell(3, 4, dropout=TIED).train()
    a = bare(x[:, 0])
    bare(y[:, 0])
    with pytest.raises(ValueError, match="cannot tell"):
        bare(x[:, 1], a)


class Loop(nn.Module):
    """A regressor whose loop is the user's, with a block where the sequence begins."""

    def __init__(self, kind: str, scheme: schemes.Scheme, whole: bool) -> None:
        super().__init__()
        self.whole, self.rnn = whole, CELLS[kind][2 if whole else 1](3, 4, dropout=scheme)

    def forward(self, x: Tensor) -> Tensor:
        if self.whole:
            return self.rnn(x.transpose(0, 1))[0].transpose(0, 1)
        with br.nn.sequence(self):
            return unrolled(self.rnn, x.transpose(0, 1)).transpose(0, 1)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("name", ["untied", "naive", "weight_drop"])
def test_predict_over_a_loop_is_predict_over_the_layer(kind: str, name: str) -> None:
    scheme = SCHEMES[name]
    loop, whole = Loop(kind, scheme, False), Loop(kind, scheme, True)
    whole.load_state_dict({f"{key}_l0": value for key, value in loop.state_dict().items()})
    x = torch.randn(3, 5, 3)
    for sampling in ("stratified", "independent"):
        options: dict[str, Any] = {"draws": 20, "seed": 1, "likelihood": point, "sampling": sampling}
        torch.testing.assert_close(br.predict(loop, x, **options).draws, br.predict(whole, x, **options).draws)
    torch.testing.assert_close(
        br.predict(loop, x, draws=0, likelihood=point).mean, br.predict(whole, x, draws=0, likelihood=point).mean
    )


def test_learned_rates_of_a_cell_hold_their_masks() -> None:
    wrapped = br.nn.ConcreteDropout(br.convert(Seq2Seq(), schemes.gal(input=0.2, hidden=0.2))).train()
    wrapped(SOURCE, TARGET).sum().backward()
    assert all(logit.grad is not None and logit.grad.abs() > 0 for logit in wrapped.logits.values())
    assert "model.encoder.hidden_l0" in str(br.audit(wrapped)) or "encoder" in str(br.audit(wrapped))


class Language(nn.Module):
    """A language model whose loop is the user's, or the layer's; its state is a pair (rows, H)."""

    def __init__(self, scheme: schemes.Scheme, whole: bool) -> None:
        super().__init__()
        self.words, self.out = br.nn.Embedding(9, 4, dropout=scheme), nn.Linear(5, 9)
        self.whole, self.rnn = whole, CELLS["LSTM"][2 if whole else 1](4, 5, dropout=scheme)

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        x, outputs = self.words(tokens).transpose(0, 1), []
        if self.whole:
            y, (h, c) = self.rnn(x, None if state is None else tuple(s.unsqueeze(0) for s in state))
            return self.out(y.transpose(0, 1)), (h[0], c[0])
        for step in x:
            state = self.rnn(step, state)
            outputs.append(state[0])
        return self.out(torch.stack(outputs, 1)), state


@pytest.mark.parametrize("lifetime", ["stream", "window"])
@pytest.mark.parametrize("scheme", [schemes.gal(0.3), schemes.naive(0.3), schemes.zoneout(0.2, 0.2)], ids=str)
def test_a_stream_read_by_a_loop_is_the_stream_read_by_a_layer(scheme: schemes.Scheme, lifetime: str) -> None:
    torch.manual_seed(0)
    loop, whole = Language(scheme, False), Language(scheme, True)
    whole.load_state_dict({k + "_l0" if k.startswith("rnn") else k: v for k, v in loop.state_dict().items()})
    tokens = torch.randint(0, 9, (60,))
    options: dict[str, Any] = {"draws": 4, "batch_size": 2, "window": 7, "lifetime": lifetime}
    torch.testing.assert_close(
        br.perplexity(loop, tokens, **options).log_prob, br.perplexity(whole, tokens, **options).log_prob
    )
