"""The audit names every stochastic site, and everything that only looks like one."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import bayesrnn as br
from bayesrnn.inference import AuditWarning, point
from bayesrnn.nn.concrete import ConcreteDropout


class Mixed(nn.Module):
    """Ours, torch's, and dropout that is called as a function."""

    def __init__(self):
        super().__init__()
        self.ours = br.nn.LSTM(3, 4, dropout=br.schemes.gal(input=0.2, hidden=0.3), batch_first=True)
        self.off = br.nn.GRU(4, 4, batch_first=True)
        self.torch = nn.LSTM(4, 4, 2, dropout=0.5, batch_first=True)
        self.single = nn.Dropout(0.4)
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.1, batch_first=True)
        self.zero = nn.Dropout(0.0)
        self.norm = nn.BatchNorm1d(4)
        self.dropout = br.nn.Dropout(0.5, "step")

    def forward(self, x):
        h = self.torch(self.off(self.ours(x)[0])[0])[0]
        h = F.dropout(h, 0.3, self.training)
        return self.dropout(self.single(h))[:, -1]


def test_sites_and_what_only_looks_so():
    model = Mixed()
    model.norm.eval()
    found = br.audit(model)
    sites = {(s.module, s.site): s for s in found.sites}
    assert set(sites) == {("ours", "input_l0"), ("ours", "hidden_l0"), ("dropout", "output")}
    assert sites["ours", "hidden_l0"].rate == 0.3
    assert sites["ours", "hidden_l0"].gates == "untied"
    assert sites["dropout", "output"].span == "step"
    serious = {i.module: i.reason for i in found.warnings}
    assert set(serious) == {"", "off", "torch", "single", "attention"}
    assert "F.dropout()" in serious[""]
    assert "between layers only" in serious["torch"]
    assert "its rate is 0" in serious["off"]
    assert "rate 0.4" in serious["single"]
    assert "dropout=0.1" in serious["attention"]
    modes = {i.module for i in found.inactive if not i.serious}
    assert {"ours", "torch", "single", "dropout"} <= modes
    assert "norm" not in modes
    assert not any(not i.serious for i in br.audit(model.eval()).inactive)


def test_it_prints_and_makes_a_table():
    found = br.audit(Mixed().eval())
    text = str(found)
    assert "ours (LSTM): hidden_l0 at rate 0.3, one mask per sequence, gates untied" in text
    assert "not sampled from the mask stream:" in text
    assert "the model (Mixed): its forward calls F.dropout()" in text
    table = found.to_frame()
    assert len(table) == 8
    assert table["stochastic"].sum() == 3
    assert table.loc[table["site"] == "output", "rate"].item() == 0.5
    assert str(br.audit(nn.Linear(2, 2))) == "stochastic sites: none"


def test_learned_rates_are_those_of_the_moment():
    wrapped = ConcreteDropout(br.nn.GRU(3, 4, 2, dropout=0.2)).train()
    optimizer = torch.optim.SGD(wrapped.logits.parameters(), lr=1.0)
    sum(rate * k for k, rate in enumerate(wrapped.rates().values())).backward()
    optimizer.step()
    for model, prefix in ((wrapped, ""), (nn.Sequential(wrapped), "0.")):
        shown = {f"{s.module}.{s.site}": s.rate for s in br.audit(model).sites}
        assert shown == {f"{prefix}model.{key}": rate.item() for key, rate in wrapped.rates().items()}
        assert len(set(shown.values())) == 4
    assert "input_l0 at rate 0.2," in str(br.audit(wrapped))
    assert br.audit(wrapped).to_frame()["rate"].min() < 0.15


def test_prediction_warns_of_each_by_name():
    with pytest.warns(AuditWarning) as caught:
        br.predict(Mixed(), torch.zeros(2, 5, 3), draws=4, likelihood=point)
    text = "\n".join(str(w.message) for w in caught)
    for name in (
        "off (GRU)",
        "torch (LSTM)",
        "single (Dropout)",
        "attention (MultiheadAttention)",
        "the model (Mixed)",
    ):
        assert name in text


def test_no_stochastic_layer_is_an_error_that_names_the_inactive_ones():
    model = nn.Sequential(nn.LSTM(3, 4, 2, dropout=0.5), nn.Dropout(0.3))
    with pytest.raises(ValueError, match=r"nothing in this model is stochastic(?s:.)*0 \(LSTM\)(?s:.)*1 \(Dropout\)"):
        br.predict(model, torch.zeros(5, 2, 3))
    with pytest.raises(ValueError, match="It has no dropout of any kind"):
        br.predict(nn.Linear(3, 4), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="its rate is 0"):
        br.predict(br.nn.LSTM(3, 4), torch.zeros(5, 2, 3))
    with pytest.raises(TypeError, match="audit takes a torch module"):
        br.audit("lstm")
    with pytest.raises(TypeError, match="predict takes a torch module"):
        br.predict(lambda x: x, torch.zeros(5, 2, 3))


def test_a_converted_model_is_clean():
    model = br.convert(nn.Sequential(nn.LSTM(3, 4, 2, dropout=0.5)), 0.25).eval()
    found = br.audit(model)
    assert found.active
    assert not found.inactive


class AlwaysOn(nn.Dropout):
    def forward(self, x):
        return F.dropout(x, self.p, training=True)


class ByDefault(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5)


class ByPosition(nn.Module):
    def forward(self, x):
        return torch.dropout(x, 0.5, True)


class Locked(nn.Module):
    """Off in eval mode."""

    def forward(self, x):
        if not self.training:
            return x
        return x * x.new_empty(x.shape[0], 1, x.shape[2]).bernoulli_(0.5).div_(0.5)


class LockedAlways(nn.Module):
    def forward(self, x):
        return x * self._mask(x)

    def _mask(self, x):
        return torch.bernoulli(torch.full_like(x[:, :1], 0.5)) * 2


def _noise(x):
    return (torch.rand(x.shape[0], 1, x.shape[2]) > 0.5).float()


class ByFunction(nn.Module):
    def forward(self, x):
        return x * _noise(x)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.0)

    def forward(self, x):
        return self.dropout(x)


@pytest.mark.parametrize(
    ("make", "call", "on"),
    [
        (lambda: AlwaysOn(0.5), "F.dropout()", True),
        (ByDefault, "F.dropout()", True),
        (ByPosition, "torch.dropout()", True),
        (Locked, "bernoulli_()", False),
        (LockedAlways, "torch.bernoulli()", True),
        (ByFunction, "torch.rand()", True),
    ],
)
def test_dropout_written_by_hand_is_seen_and_judged_as_it_acts(make, call, on):
    part, x = make(), torch.ones(2, 4, 50)
    (item,) = br.audit(nn.Sequential(part)).warnings
    assert call in item.reason
    assert ("is on in eval mode too" in item.reason) == on
    assert bool((part.eval()(x) != x).any()) == on, "the judgement is what the layer does"


def test_a_module_without_random_numbers_is_not_suspected():
    assert br.audit(nn.Sequential(Plain(), nn.Linear(2, 2), nn.BatchNorm1d(2).eval()).eval()).inactive == ()


def test_batch_norm_without_running_statistics_is_named():
    (item,) = br.audit(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)).eval()).warnings
    assert "mixed" in item.reason


def test_always_on_dropout_follows_from_the_seed():
    torch.manual_seed(0)
    model = nn.Sequential(br.nn.GRU(2, 4, dropout=0.2, batch_first=True), Last(), AlwaysOn(0.5))
    x = torch.randn(3, 5, 2)

    def mean(seed, state):
        torch.manual_seed(state)
        with pytest.warns(AuditWarning, match="on in eval mode"):
            return br.predict(model, x, draws=16, seed=seed, likelihood=point).mean

    assert torch.equal(mean(0, 1), mean(0, 2))
    assert not torch.equal(mean(0, 1), mean(1, 1))


class Last(nn.Module):
    def forward(self, output):
        return output[0][:, -1]
