"""Predictions at learned rates."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import bayesrnn.nn as bnn
from bayesrnn import objective, schemes
from bayesrnn.inference import point, predict
from bayesrnn.masks import Binding, stream
from bayesrnn.nn.concrete import ConcreteDropout
from tests.nn.word_net import _unit_gaussian, word_net

TOKENS = torch.randint(0, 6, (4, 7), generator=torch.Generator().manual_seed(0))


def test_eval_without_prediction_is_the_deterministic_pass():
    net = word_net()
    wrapped = ConcreteDropout(net).eval()
    expected = net.eval()(TOKENS)
    torch.testing.assert_close(wrapped(TOKENS), expected)


def test_prediction_uses_the_learned_rates():
    torch.manual_seed(0)
    learned = {"words.word": 0.4, "gru.input_l0": 0.15, "gru.hidden_l0": 0.35, "dropout.output": 0.25}
    wrapped = ConcreteDropout(word_net(scheme=0.1))
    with torch.no_grad():
        for key, rate in learned.items():
            wrapped.logits[key.replace(".", "/")].copy_(torch.logit(torch.tensor(rate)))
    direct = word_net(scheme=schemes.gal(word=0.4, input=0.15, hidden=0.35, output=0.25))
    direct.load_state_dict(wrapped.model.state_dict())
    shell = nn.Module()
    shell.add_module("model", direct)
    shell.forward = lambda tokens: shell.model(tokens)
    options = {"draws": 8, "seed": 3, "likelihood": _unit_gaussian}
    found, expected = predict(wrapped, TOKENS, **options), predict(shell, TOKENS, **options)
    torch.testing.assert_close(found.draws, expected.draws, atol=1e-5, rtol=1e-4)


def _learned_rates(size: int) -> list[float]:
    """Train on `size` sequences of a noisy linear filter; return the rates at the end."""
    torch.manual_seed(0)
    x = torch.randn(size, 4, 2)
    y = x.mean((1, 2)) * 2 + 0.1 * torch.randn(size)
    net = nn.Module()
    net.gru = bnn.GRU(2, 12, batch_first=True, dropout=schemes.gal(input=0.2, hidden=0.2, output=0.2, gates="tied"))
    net.dropout, net.head = bnn.Dropout(0.2), nn.Linear(12, 1)
    net.forward = lambda inputs: net.head(net.dropout(net.gru(inputs)[0][:, -1])).squeeze(-1)
    wrapped = ConcreteDropout(net).train()
    optimizer = torch.optim.Adam(
        [{"params": net.parameters(), "lr": 1e-2}, {"params": wrapped.logits.parameters(), "lr": 3e-2}]
    )
    for _ in range(120):
        rows = torch.randint(0, size, (64,))
        nll = -torch.distributions.Normal(wrapped(x[rows]), 0.3).log_prob(y[rows]).mean()
        loss = objective.negative_elbo(nll, objective.model_kl(net, 1.0, rates=wrapped.rates()), size)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [rate.item() for rate in wrapped.rates().values()]


def test_rates_fall_as_data_grow():
    few, some, many = (_learned_rates(size) for size in (30, 300, 30_000))
    assert sum(few) > sum(some) > sum(many)
    assert all(a > b for a, b in zip(few, many, strict=True))


def test_layers_have_the_rates_of_the_moment_in_either_mode() -> None:
    from bayesrnn.inference import audit

    wrapped = ConcreteDropout(word_net()).train()
    with torch.no_grad():
        for logit in wrapped.logits.values():
            logit.fill_(0.0)
    assert {site.rate for site in audit(wrapped.model).sites} == {0.5}
    assert {p.rate for p in wrapped.eval().model.gru.placements().values()} == {0.5}


def test_each_layer_of_a_stack_is_drawn_at_its_own_learned_rate() -> None:
    torch.manual_seed(0)
    learned = {"input_l0": 0.1, "hidden_l0": 0.6, "input_l1": 0.3, "hidden_l1": 0.15}
    scheme = schemes.gal(input=0.4, hidden=0.4, gates="tied")
    wrapped = ConcreteDropout(bnn.GRU(3, 5, 2, batch_first=True, dropout=scheme))
    with torch.no_grad():
        for key, rate in learned.items():
            wrapped.logits[key].copy_(torch.logit(torch.tensor(rate)))
    x = torch.randn(4, 6, 3)
    binding = Binding(stream("stratified", 3), torch.arange(8), torch.arange(4), name="model")
    masks = {
        key: site.public(binding.mask(key, replace(site, rate=wrapped.rates()[key].item())))
        for key, site in bnn.GRU(3, 5, 2, dropout=scheme).sites(32, 6).items()
    }
    expected = wrapped.model(x.repeat(8, 1, 1), masks=masks)[0][:, -1].view(8, 4, 5)
    found = predict(wrapped, x, draws=8, seed=3, likelihood=lambda output: point(output[0][:, -1]))
    torch.testing.assert_close(found.draws, expected.detach())


def test_a_prediction_writes_no_rate_into_the_layers() -> None:
    wrapped = ConcreteDropout(word_net(2))
    with torch.no_grad():
        wrapped.logits["gru/hidden_l0"].copy_(torch.logit(torch.tensor(0.1)))
    before = {name: dict(vars(m)) for name, m in wrapped.named_modules()}
    predict(wrapped, TOKENS, draws=4, likelihood=_unit_gaussian)
    wrapped(TOKENS)
    assert {name: dict(vars(m)) for name, m in wrapped.named_modules()} == before | {
        name: before[name] | {"source": None, "calls": 1} for name in ("model.words", "model.gru", "model.dropout")
    }
    assert wrapped.model.gru.placements()["hidden_l0"].rate == pytest.approx(0.1)
    assert wrapped.model.gru.placements()["hidden_l1"].rate == pytest.approx(0.2)


@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_a_rate_at_the_edge_is_still_a_rate(logit: float) -> None:
    wrapped = ConcreteDropout(word_net())
    with torch.no_grad():
        wrapped.logits["gru/hidden_l0"].fill_(logit)
    rate = wrapped.rates()["gru.hidden_l0"].item()
    assert 0.0 < rate < 1.0
    assert rate == pytest.approx(float(logit > 0), abs=1e-5)
    assert bool(torch.isfinite(predict(wrapped, TOKENS, draws=4, likelihood=_unit_gaussian).mean).all())
    assert bool(torch.isfinite(wrapped.train()(TOKENS)).all())
