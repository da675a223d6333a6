"""Parts before the first mask see each row once, and nothing changes by it."""

import pytest
import torch
from torch import nn

import bayesrnn as br
from bayesrnn import likelihoods
from bayesrnn.inference import point


class Counting(nn.Module):
    """Wraps a layer and notes how many rows it sees."""

    def __init__(self, layer, seen):
        super().__init__()
        self.layer = layer
        self.seen = seen

    def forward(self, *inputs):
        self.seen.append(inputs[0].shape[0])
        return self.layer(*inputs)


class Net(nn.Module):
    """A deterministic trunk of two parts, a part between that cannot be shared, masks, a readout."""

    def __init__(self):
        super().__init__()
        self.seen = {name: [] for name in ("first", "second", "state", "other", "after")}
        self.first = Counting(nn.Linear(3, 4), self.seen["first"])
        self.second = Counting(nn.Conv1d(4, 4, 1), self.seen["second"])
        self.state = Counting(nn.GRU(4, 4, batch_first=True), self.seen["state"])
        self.other = Counting(nn.Linear(4, 4), self.seen["other"])
        self.recurrent = br.nn.GRU(4, 5, dropout=0.4, batch_first=True)
        self.readout = Counting(nn.Linear(5, 2), self.seen["after"])

    def forward(self, x):
        h = self.first(x)
        h = h + self.other(h).tanh() + self.state(h)[0]
        h = h + self.second(self.first(x).transpose(1, 2)).transpose(1, 2)
        return likelihoods.gaussian(self.readout(self.recurrent(h)[0][:, -1]))


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_trunk_runs_once_for_all_draws(rows):
    net, x = Net().double(), torch.randn(rows, 5, 3, dtype=torch.float64)
    p = br.predict(net, x, draws=32, max_memory=10**9)
    assert net.seen["first"] == [rows, rows]
    assert net.seen["other"] == [rows]
    assert net.seen["second"] == [32 * rows]
    assert net.seen["state"] == [rows, 32 * rows]
    assert net.seen["after"] == [32 * rows]
    one_by_one = br.predict(net, x, draws=32, max_memory=1)
    torch.testing.assert_close(p.mean, one_by_one.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(p.draws, one_by_one.draws, rtol=1e-12, atol=1e-12)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_what_looks_like_rows_but_is_steps_is_left_alone():
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.trunk = nn.GRU(3, 4)
            self.turn = Turned()
            self.recurrent = br.nn.GRU(4, 5, dropout=0.4)

        def forward(self, x):
            return self.recurrent(self.turn(x))[0][-1]

    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 4)

        def forward(self, x):
            return self.layer(x).transpose(0, 1)

    net, x = TimeFirst().double(), torch.randn(4, 4, 3, dtype=torch.float64)
    p = br.predict(net, x, draws=20, likelihood=point)
    torch.testing.assert_close(p.draws, br.predict(net, x, draws=20, likelihood=point, max_memory=1).draws)
