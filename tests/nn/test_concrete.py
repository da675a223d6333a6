"""Learned rates: the relaxed mask's distribution, gradients, prediction, and rates that fall with data."""

import copy

import pytest
import torch
from torch import nn

import bayesrnn.nn as bnn
from bayesrnn import schemes
from bayesrnn.inference import predict
from bayesrnn.masks import MaskSite
from bayesrnn.nn.concrete import ConcreteDropout, Relaxed, learned_rates
from bayesrnn.schemes import Placement
from tests.nn.word_net import _unit_gaussian, word_net
from tests.problems import WordNet

TOKENS = torch.randint(0, 6, (4, 7), generator=torch.Generator().manual_seed(0))
KEYS = {"words.word", "gru.input_l0", "gru.hidden_l0", "dropout.output"}


def test_a_relaxed_mask_has_the_distribution_of_the_concrete_distribution():
    """P(fallen < 1/2) is the keep probability at any temperature; at a low one the mask is a Bernoulli mask."""
    torch.manual_seed(0)
    rate = torch.tensor(0.3, dtype=torch.float64)
    site = MaskSite(Placement("hidden", 0.3), (1, 1, 200, 500), torch.float64, torch.device("cpu"), rate)
    for temperature in (0.01, 0.1, 0.5):
        mask = Relaxed(temperature).mask("x", site)
        assert float((mask > 0.5 / 0.7).double().mean()) == pytest.approx(0.7, abs=4 * (0.21 / 1e5) ** 0.5)
        assert float(mask.min()) >= 0.0
        assert float(mask.max()) <= 1 / 0.7 + 1e-12
    sharp = Relaxed(1e-3).mask("x", site)
    assert float(((sharp < 1e-6) | (sharp > 1 / 0.7 - 1e-6)).double().mean()) > 0.99


def test_the_gradient_in_the_rate_is_that_of_the_formula():
    rate = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    placement, device = Placement("hidden", 0.3), torch.device("cpu")

    def total(p: torch.Tensor) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(5)
            return Relaxed(0.4).mask("x", MaskSite(placement, (1, 1, 3, 4), torch.float64, device, p))

    assert torch.autograd.gradcheck(total, (rate,))


@pytest.mark.parametrize("layers", [1, 2])
def test_every_rate_gets_a_gradient_through_the_layers(layers):
    torch.manual_seed(0)
    wrapped = ConcreteDropout(word_net(layers)).train()
    wrapped(TOKENS).square().sum().backward()
    for name, logit in wrapped.logits.items():
        assert logit.grad is not None, name
        assert float(logit.grad.abs()) > 0.0, name


def test_the_gradient_of_the_layers_is_that_of_finite_differences():
    torch.manual_seed(0)
    wrapped = ConcreteDropout(word_net(), temperature=0.5).double().train()

    def loss() -> torch.Tensor:
        torch.manual_seed(3)
        return wrapped(TOKENS).square().sum()

    loss().backward()
    for name in ("gru/hidden_l0", "gru/input_l0", "words/word"):
        logit, step = wrapped.logits[name], 1e-5
        with torch.no_grad():
            logit += step
            above = loss()
            logit -= 2 * step
            below = loss()
            logit += step
        assert float(logit.grad) == pytest.approx(float((above - below) / (2 * step)), rel=1e-4, abs=1e-9)


def test_learned_rates_are_told_without_a_pass_of_the_model():
    wrapped = ConcreteDropout(word_net(2))
    with torch.no_grad():
        wrapped.logits["gru/hidden_l1"].copy_(torch.logit(torch.tensor(0.7)))
    found = learned_rates(nn.ModuleDict({"a": wrapped, "b": word_net()}))
    assert found["a.model.gru.hidden_l1"].item() == pytest.approx(0.7)
    assert found == {f"a.model.{key}": rate for key, rate in wrapped.rates().items()}
    assert learned_rates(word_net()) == {}


def test_rates_of_a_site_are_shared_or_not():
    assert set(ConcreteDropout(word_net()).rates()) == KEYS
    by_site = ConcreteDropout(word_net(2), share="site")
    assert sorted(by_site.logits) == ["hidden", "input", "output", "word"]
    assert set(by_site.rates()) == KEYS | {"gru.input_l1", "gru.hidden_l1"}
    assert len(ConcreteDropout(word_net(2)).logits) == 6


def test_settling_writes_the_rates_into_an_ordinary_model():
    wrapped = ConcreteDropout(word_net(), share="site")
    with torch.no_grad():
        wrapped.logits["hidden"].copy_(torch.logit(torch.tensor(0.45)))
    net = wrapped.settle()
    assert isinstance(net, WordNet)
    assert net.gru.scheme.rate("hidden") == pytest.approx(0.45)
    assert net.dropout.p == pytest.approx(0.2)


def test_settling_keeps_a_rate_per_layer_of_a_stack():
    wrapped = ConcreteDropout(word_net(2))
    with torch.no_grad():
        wrapped.logits["gru/hidden_l1"].copy_(torch.logit(torch.tensor(0.6)))
    before = predict(wrapped, TOKENS, draws=8, likelihood=_unit_gaussian)
    net = wrapped.settle()
    assert {key: round(p.rate, 6) for key, p in net.gru.placements().items()} == {
        "input_l0": 0.2,
        "hidden_l0": 0.2,
        "input_l1": 0.2,
        "hidden_l1": 0.6,
    }
    shell = nn.Sequential()
    shell.model = net  # under the same names
    shell.forward = lambda tokens: shell.model(tokens)
    assert torch.equal(predict(shell, TOKENS, draws=8, likelihood=_unit_gaussian).draws, before.draws)
    assert learned_rates(wrapped) == {}
    wrapped.train()(TOKENS).sum().backward()  # who trains on, learns on
    assert wrapped.logits["gru/hidden_l1"].grad is not None


def test_a_copy_learns_for_itself():
    wrapped = ConcreteDropout(word_net()).train()
    twin = copy.deepcopy(wrapped)
    twin(TOKENS).sum().backward()
    assert all(logit.grad is None for logit in wrapped.logits.values())
    assert set(twin.state_dict()) == set(wrapped.state_dict())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConcreteDropout(word_net(scheme=0.0)), "no mask of this model is active"),
        (lambda: ConcreteDropout(word_net(), temperature=0.0), "temperature must be positive and finite, but 0.0"),
        (
            lambda: ConcreteDropout(word_net(), temperature=float("inf")),
            "temperature must be positive and finite, but inf",
        ),
        (
            lambda: ConcreteDropout(word_net(), temperature=float("nan")),
            "temperature must be positive and finite, but nan",
        ),
        (lambda: ConcreteDropout(word_net(), share="model"), "share must be one of 'layer', 'site'"),
        (
            lambda: ConcreteDropout(bnn.LSTM(2, 2, dropout=schemes.zoneout(0.1, 0.1))),
            "'keep_cell_l0' cannot be learned",
        ),
        (lambda: ConcreteDropout(ConcreteDropout(word_net())), "rates of this model are being learned already"),
        (
            lambda: ConcreteDropout(nn.Sequential(nn.Identity(), ConcreteDropout(word_net()))),
            "the rates of '1' in this model are being learned already",
        ),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_only_a_module_is_wrapped():
    with pytest.raises(TypeError, match=r"ConcreteDropout wraps a torch module .* but 'x' \(str\) was given"):
        ConcreteDropout("x")


@pytest.mark.parametrize("temperature", ["a", None, True, torch.tensor(0.1)])
def test_a_temperature_that_is_no_number_is_refused(temperature):
    with pytest.raises(TypeError, match=r"temperature must be positive and finite, but .* given\..* 0\.1 is the usual"):
        ConcreteDropout(word_net(), temperature=temperature)
