"""Parts before the first mask see each row once, and nothing changes by it."""

from contextlib import nullcontext

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


class Changed(nn.Module):
    """Two deterministic layers with something between them, a mask, a readout."""

    def __init__(self, between):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second, self.readout = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 1)
        self.dropout, self.between = br.nn.Dropout(0.3), between

    def forward(self, x):
        return point(self.readout(self.dropout(self.second(self.between(self.first(x)))))[:, 0])


def shifted_in_place(h):
    h += 5.0
    return h


@pytest.mark.parametrize(
    ("in_place", "plain"),
    [
        (nn.ReLU(inplace=True), nn.ReLU()),
        (shifted_in_place, lambda h: h + 5.0),
        (lambda h: h[:, :2].zero_() is not None and h, lambda h: torch.cat([torch.zeros_like(h[:, :2]), h[:, 2:]], 1)),
    ],
)
def test_changes_in_place_are_seen(in_place, plain):
    x = torch.randn(4, 3)
    found, wanted = (br.predict(Changed(between), x, draws=32, seed=0) for between in (in_place, plain))
    assert torch.equal(found.draws, wanted.draws)


def test_a_part_that_writes_into_its_input_leaves_the_callers_alone():
    class Writing(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x):
            return self.linear(x.mul_(2.0))

    class Reading(Changed):
        def __init__(self):
            super().__init__(nn.ReLU())
            self.writing = Writing()

        def forward(self, x):
            doubled = self.writing(x)  # x is twice as large from here on, in every draw
            return super().forward(doubled + x)

    x, net = torch.randn(4, 3), Reading()
    kept = x.clone()
    p = br.predict(net, x, draws=32, seed=0)
    assert torch.equal(x, kept)
    net.writing.forward = net.writing.linear.forward  # the same without writing: doubled beforehand
    wanted = br.predict(net, 2 * x, draws=32, seed=0)
    torch.testing.assert_close(p.draws, wanted.draws)


def test_hooks_of_the_user_count_and_noise_differs_from_draw_to_draw():
    class Tuple(nn.Linear):
        def forward(self, x):
            return super().forward(x), None

    class Noisy(nn.Linear):
        def forward(self, x):
            return super().forward(x) + torch.randn(len(x), 8)

    hooked = Changed(lambda h: h[0])
    hooked.first = Tuple(3, 8)
    x = torch.randn(4, 3)
    before = br.predict(hooked, x, draws=32, seed=0).mean
    hooked.first.register_forward_hook(lambda module, inputs, output: (100 * output[0], None))
    after = br.predict(hooked, x, draws=32, seed=0).mean
    assert (after - before).abs().max() > 1.0
    noisy = Changed(nn.Identity())
    noisy.first = Noisy(3, 8)
    noisy.dropout.p = 1e-9  # masks that drop nothing: what varies is the noise
    with pytest.warns(br.AuditWarning) if hasattr(br, "AuditWarning") else nullcontext():
        assert (br.predict(noisy, x, draws=32, seed=0).variance > 0.01).all()


@pytest.mark.parametrize("options", [{"sharing": "pass"}, {"sampling": "independent", "max_memory": 1}, {}])
def test_dropout_inside_a_transformer_acts_in_every_pass(options):
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
            layer.self_attn.dropout = 0.0
            self.encoder = nn.TransformerEncoder(layer, 2)

        def forward(self, x, padding=None):
            return point(self.encoder(x, src_key_padding_mask=padding)[:, -1])

    model = br.convert(Attending().eval(), 0.3)
    x = torch.randn(5, 3, 8)
    deterministic = model(x).value.detach()
    p = br.predict(model, x, draws=17, **options)
    assert ((p.draws - deterministic).abs().amax((1, 2)) > 0.01).all()
    padded = br.predict(model, x, torch.zeros(5, 3, dtype=torch.bool), draws=17, **options)
    torch.testing.assert_close(padded.draws, p.draws, rtol=1e-4, atol=1e-4)
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_layer_called_step_by_step_is_warned_of():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent = br.nn.GRU(2, 4, batch_first=True, dropout=0.4)

        def forward(self, x):
            state = None
            for t in range(x.shape[1]):
                h, state = self.recurrent(x[:, t : t + 1], state)
            return point(h[:, 0])

    with pytest.warns(UserWarning, match=r"more than once in one pass: recurrent \(6 times\)"):
        br.predict(Loop(), torch.randn(2, 6, 2), draws=16)
