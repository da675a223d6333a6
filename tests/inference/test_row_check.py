"""Models that use rows jointly are refused with the module's name; models that do not never are."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import bayesrnn as br
from bayesrnn import likelihoods
from bayesrnn.inference import point, row_check


class Between(nn.Module):
    """A masked layer, something on its output (rows, steps, H), and a readout of the last step."""

    def __init__(self, between=None, before=None, batch_first=True):
        super().__init__()
        torch.manual_seed(0)
        self.before = before or nn.Identity()
        self.recurrent = br.nn.GRU(3, 8, batch_first=batch_first, dropout=0.3)
        self.between = between or nn.Identity()
        self.readout = nn.Linear(8, 2)
        self.last = (slice(None), -1) if batch_first else -1

    def forward(self, x, lengths=None):
        h, _ = self.recurrent(self.before(x), lengths=lengths)
        return likelihoods.gaussian(self.readout(self.between(h)[self.last]))


class Applied(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Inline(Between):
    """Centres the rows in its own forward."""

    def forward(self, x):
        h = self.recurrent(x)[0]
        return likelihoods.gaussian(self.readout((h - h.mean(0))[:, -1]))


class Nested(nn.Module):
    def __init__(self, between):
        super().__init__()
        self.inner = Between(between)

    def forward(self, inputs):
        return {"d": self.inner(inputs["x"][0]), "nothing": None}


class Normed(nn.BatchNorm1d):
    def forward(self, x):
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class Attending(nn.MultiheadAttention):
    """Attends over rows: they are its first dimension, which is that of steps without batch_first."""

    def forward(self, h):
        return super().forward(h, h, h)[0]


def transformer(batch_first):
    torch.manual_seed(1)
    return nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=batch_first)


JOINT = {
    "centring": (Applied(lambda h: h - h.mean(0)), r"first in between \(Applied\)"),
    "batch statistics": (Normed(8, track_running_stats=False), r"first in between \(Normed\)"),
    "attention over rows": (Attending(8, 2), r"first in between"),
    "the wrong layout": (transformer(False), r"first in between.*batch_first=True"),
    "the largest of all": (Applied(lambda h: h / h.abs().max()), r"first in between \(Applied\)"),
    "softmax over rows": (Applied(lambda h: h.softmax(0)), r"first in between \(Applied\)"),
}


@pytest.mark.filterwarnings("ignore:.*running statistics:bayesrnn.inference.AuditWarning")
@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("name", JOINT)
def test_rows_used_jointly_are_refused_with_the_module(name, rows):
    between, message = JOINT[name]
    with pytest.raises(ValueError, match=message):
        br.predict(Between(between), torch.randn(rows, 4, 3), draws=16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_in_every_type(dtype):
    model = Between(JOINT["centring"][0]).to(dtype)
    with pytest.raises(ValueError, match=r"first in between"):
        br.predict(model, torch.randn(5, 4, 3, dtype=dtype), draws=16)
    assert br.predict(Between().to(dtype), torch.randn(5, 4, 3, dtype=dtype), draws=16).mean.shape == (5,)


def test_before_a_mask_in_line_in_the_likelihood_time_first_and_nested():
    x = torch.randn(5, 4, 3)
    with pytest.raises(ValueError, match=r"first in before \(Applied\)"):
        br.predict(Between(before=Applied(lambda x: x + x.sum(0))), x, draws=16)
    with pytest.raises(ValueError, match=r"the forward of the model itself \(Inline\), before it calls readout"):
        br.predict(Inline(), x, draws=16)
    with pytest.raises(ValueError, match="or in the likelihood"):
        br.predict(Between(), x, draws=16, likelihood=lambda d: point(d.mean - d.mean.mean()))
    late = Between(Applied(lambda h: h - h.mean(1, keepdim=True)), batch_first=False)
    with pytest.raises(ValueError, match="first in between"):
        br.predict(late, x.transpose(0, 1), draws=16, batch_dim=1, lengths=[4, 1, 2, 3, 4])
    wrapped = Nested(JOINT["centring"][0])
    with pytest.raises(ValueError, match=r"first in inner.between"):
        br.predict(wrapped, {"x": (x, None)}, draws=16)
    with pytest.raises(ValueError, match="first in between"):
        br.predict(Between(JOINT["centring"][0]), x, draws=4, sharing="pass")


def test_allowed_each_draw_is_a_pass_of_its_own():
    model, x = Between(JOINT["centring"][0]).double(), torch.randn(5, 4, 3, dtype=torch.float64)
    p = br.predict(model, x, draws=32, rows_interact="allow")
    small = br.predict(model, x, draws=32, rows_interact="allow", max_memory=1)
    torch.testing.assert_close(p.draws, small.draws)
    plain = Between().double().eval()
    for draw in (0, 7, 31):  # the same masks, one draw, without `predict` between the rows
        masks = plain.recurrent.sample_masks(5, seed=0, draw=draw)
        h = plain.recurrent(x, masks=masks)[0]
        assert h.shape == (5, 4, 8)
    hidden = br.predict(Between().recurrent.double(), x, draws=32, likelihood=lambda out: point(out[0])).draws
    centred = hidden - hidden.mean(1, keepdim=True)
    exact = (centred[:, :, -1] @ model.readout.weight.T + model.readout.bias)[..., 0]
    assert exact.shape == p.draws.shape
    with pytest.raises(ValueError, match="rows_interact must be one of"):
        br.predict(model, x, rows_interact="ask")


def test_the_deterministic_pass_is_the_models_own():
    model, x = Between(JOINT["centring"][0]).eval(), torch.randn(5, 4, 3)
    torch.testing.assert_close(br.predict(model, x, draws=0).mean, model(x).mean)
    with pytest.raises(ValueError, match="first in between"):
        br.predict(model, x, draws=0, max_memory=1)  # rows would be cut


@pytest.mark.parametrize("max_memory", [1, 20_000])
def test_in_whatever_chunks(max_memory):
    with pytest.raises(ValueError, match="first in between"):
        br.predict(Between(JOINT["centring"][0]), torch.randn(5, 4, 3), draws=16, max_memory=max_memory)


def test_a_model_is_looked_at_again_when_it_changes():
    model, x = Between(Applied(lambda h: h)), torch.randn(5, 4, 3)
    gain = nn.Parameter(torch.zeros(()))
    model.between.gain = gain
    model.between.function = lambda h: h - gain * h.mean(0)
    br.predict(model, x, draws=16)
    with torch.no_grad():
        gain.fill_(1.0)
    with pytest.raises(ValueError, match="first in between"):
        br.predict(model, x, draws=16)


def test_a_model_is_looked_at_once(monkeypatch):
    looked = []
    original = row_check.differ
    monkeypatch.setattr(row_check, "differ", lambda *a, **k: looked.append(1) or original(*a, **k))
    model, x = Between(), torch.randn(5, 4, 3)
    for steps in (4, 3, 2):
        br.predict(model, x[:, :steps], draws=16)
    assert len(looked) == 1


@pytest.mark.filterwarnings("ignore:.*torch.randn_like:bayesrnn.inference.AuditWarning")
def test_what_pads_to_the_longest_row_and_random_numbers_are_no_alarm():
    class Trimmed(nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent, self.readout = br.nn.GRU(3, 8, batch_first=True, dropout=0.3), nn.Linear(8, 2)

        def forward(self, x, lengths):
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            h, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)
            return likelihoods.gaussian(self.readout(h.mean(1)))

    p = br.predict(Trimmed(), torch.randn(5, 6, 3), [2, 6, 1, 3, 4], draws=16)
    assert p.mean.shape == (5,)
    noisy = Between(Applied(lambda h: h + 0.1 * torch.randn_like(h)))
    assert br.predict(noisy, torch.randn(5, 4, 3), draws=16).mean.shape == (5,)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 9),
    steps=st.integers(1, 12),
    hidden=st.integers(1, 40),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    time_first=st.booleans(),
    with_lengths=st.booleans(),
    scheme=st.sampled_from([br.schemes.gal(0.4), br.schemes.zaremba(0.3), br.schemes.weight_drop(0.3)]),
    scale=st.sampled_from([0.01, 1.0, 30.0]),
    seed=st.integers(0, 99),
)
def test_no_false_alarm(rows, steps, hidden, dtype, time_first, with_lengths, scheme, scale, seed):
    torch.manual_seed(seed)
    model = br.nn.LSTM(3, hidden, 2, dropout=scheme, batch_first=not time_first).to(dtype)
    x = scale * torch.randn(rows, steps, 3)
    options = {"lengths": torch.randint(1, steps + 1, (rows,))} if with_lengths else {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p = br.predict(
            model, (x.transpose(0, 1) if time_first else x).to(dtype), draws=16, batch_dim=int(time_first),
            likelihood=lambda out: point(out[1][0][-1]), **options,
        )  # fmt: skip
    assert p.mean.shape == (rows, hidden)
