"""What a network keeps between passes, and rows that it takes in parts."""

from collections import deque

import numpy as np
import pytest
import torch
from torch import nn

import bayesrnn as br
from bayesrnn import likelihoods
from bayesrnn.inference import point

KEEPS = {
    "an attribute": lambda self, h: setattr(self, "kept", h),
    "a tuple": lambda self, h: setattr(self, "kept", (h, [h])),
    "a new attribute": lambda self, h: setattr(self, "other", h),
    "a list": lambda self, h: self.list.append(h),
    "a dict": lambda self, h: self.dict.update(h=h),
    "a deque": lambda self, h: self.deque.append(h),
    "an array": lambda self, h: self.array.__iadd__(1.0),
    "a buffer in place": lambda self, h: self.memory.add_(h.mean()),
    "a buffer by .data": lambda self, h: self.memory.data.add_(h.mean()),
    "a buffer anew": lambda self, h: setattr(self, "memory", self.memory + h.mean()),
    "a counter": lambda self, h: setattr(self, "count", self.count + 1),
}


class Keeping(nn.Module):
    """Keeps something of every call, and uses what it kept."""

    def __init__(self, keep):
        super().__init__()
        torch.manual_seed(0)
        self.recurrent, self.readout = br.nn.GRU(2, 4, batch_first=True, dropout=0.3), nn.Linear(4, 2)
        self.keep, self.kept, self.count = keep, None, 0
        self.list, self.dict, self.deque, self.array = [], {}, deque(), np.zeros(2)
        self.register_buffer("memory", torch.zeros(()))

    def forward(self, x):
        h = self.recurrent(x)[0][:, -1]
        state = [self.kept is not None, hasattr(self, "other"), *map(len, (self.list, self.dict, self.deque))]
        h = h + float(self.memory) + sum(state) + self.count + float(self.array.sum())
        KEEPS[self.keep](self, h)
        return likelihoods.gaussian(self.readout(h))


@pytest.mark.parametrize("keep", KEEPS)
def test_what_a_network_keeps_is_put_back(keep):
    model, x = Keeping(keep), torch.randn(3, 5, 2)
    before = {name: value for name, value in vars(model).items() if name != "_buffers"}
    memory = model.memory
    first = br.predict(model, x, draws=32)
    assert vars(model).keys() == {*before, "_buffers"}
    assert all(vars(model)[name] is value for name, value in before.items())
    assert model.memory is memory
    assert (float(memory), model.list, model.dict, len(model.deque), model.array.sum()) == (0.0, [], {}, 0, 0.0)
    torch.testing.assert_close(br.predict(model, x, draws=32).draws, first.draws)
    torch.testing.assert_close(br.predict(model, x, draws=32, max_memory=1).draws, first.draws)


@pytest.mark.filterwarnings("ignore:.*torch.randn:bayesrnn.inference.AuditWarning")
def test_parts_before_the_first_mask_see_every_draw():
    class Storing(nn.Linear):
        def forward(self, x):
            self.memory = super().forward(x)
            return self.memory

    class Noisy(nn.Linear):
        def __init__(self, *sizes):
            super().__init__(*sizes)
            self.generator, self.random = torch.Generator().manual_seed(0), np.random.default_rng(0)

        def forward(self, x):
            noise = torch.randn(len(x), 1, 1, generator=self.generator)
            return super().forward(x) + noise + torch.as_tensor(self.random.normal(size=(len(x), 1, 1))).float()

    class Clamping(nn.Linear):
        def forward(self, x):
            x.data.clamp_(-0.1, 0.1)
            x.numpy()[..., 0] = 0.0
            return super().forward(x)

    class Net(nn.Module):
        def __init__(self, first):
            super().__init__()
            torch.manual_seed(0)
            self.first, self.recurrent = first(2, 4), br.nn.GRU(4, 4, batch_first=True, dropout=0.3)

        def forward(self, x):
            h = self.recurrent(self.first(x))[0]
            return point((h + getattr(self.first, "memory", 0.0))[:, -1])

    x = torch.randn(3, 5, 2)
    for first in (Storing, Clamping):
        kept = x.clone()
        p = br.predict(Net(first), kept, draws=16)
        torch.testing.assert_close(p.draws, br.predict(Net(first), x, draws=16, max_memory=1).draws)
    still = br.predict(Net(nn.Linear), x, draws=16).epistemic
    assert (br.predict(Net(Noisy), x, draws=16).epistemic > 1.2 * still).float().mean() > 0.8


class Document(nn.Module):
    """Words below sentences: an LSTM over (rows * sentences, words), another over (rows, sentences)."""

    def __init__(self, scheme, transposed=False):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.low = br.nn.Embedding(20, 6, dropout=0.3), br.nn.GRU(6, 8, batch_first=True, dropout=scheme)
        self.dropout, self.high = br.nn.Dropout(0.3), br.nn.GRU(8, 8, batch_first=True, dropout=scheme)
        self.transposed = transposed

    def forward(self, x):
        rows, sentences, length = x.shape
        if self.transposed:
            x = x.transpose(0, 1)
        low = self.dropout(self.low(self.words(x.reshape(-1, length)))[1][-1])
        low = low.view(sentences, rows, -1).transpose(0, 1) if self.transposed else low.view(rows, sentences, -1)
        return point(self.high(low)[1][-1])


@pytest.mark.parametrize("scheme", [br.schemes.gal(0.3), br.schemes.zaremba(0.3), br.schemes.gal(0.3, gates="tied")])
@pytest.mark.parametrize("sampling", ["stratified", "independent"])
def test_parts_of_a_row_have_masks_of_their_own(scheme, sampling):
    model, x = Document(scheme).double(), torch.randint(20, (4, 3, 5))
    p = br.predict(model, x, draws=20, sampling=sampling)
    cut = br.predict(model, x, draws=20, sampling=sampling, max_memory=1)
    torch.testing.assert_close(cut.draws, p.draws)
    one = br.predict(model, x[2:3], draws=20, sampling=sampling, sequence_ids=[2])
    torch.testing.assert_close(one.draws, p.draws[:, 2:3])
    same = br.predict(Split(model.dropout), torch.ones(3, 1, 8), draws=20, sampling=sampling)
    split = br.predict(Split(model.dropout), torch.ones(3, 4, 8), draws=20, sampling=sampling)
    torch.testing.assert_close(split.draws[:, :, :1], same.draws)  # the first part has the masks of an undivided row
    assert (split.draws[:, :, 0] != split.draws[:, :, 1]).any(-1).float().mean() > 0.8
    shared = br.predict(Split(model.dropout), torch.ones(3, 4, 8), draws=20, sampling=sampling, sharing="pass").draws
    assert torch.equal(shared, shared[:, :1, :1].expand_as(shared))


class Split(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.dropout = dropout

    def forward(self, x):
        return point(self.dropout(x.flatten(0, 1)).view_as(x))


def test_parts_that_come_in_another_order_are_refused():
    with pytest.raises(ValueError, match="uses the rows of a batch jointly"):
        br.predict(Document(br.schemes.gal(0.3), transposed=True), torch.randint(20, (4, 3, 5)), draws=20)
