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
    assert "ours (LSTM): hidden_l0 at rate 0.3, one mask a sequence, gates untied" in text
    assert "looks stochastic, but is not sampled:" in text
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
    with pytest.raises(TypeError, match="audit takes a torch module"):
        br.predict(lambda x: x, torch.zeros(5, 2, 3))


def test_a_converted_model_is_clean():
    model = br.convert(nn.Sequential(nn.LSTM(3, 4, 2, dropout=0.5)), 0.25).eval()
    found = br.audit(model)
    assert found.active
    assert not found.inactive
