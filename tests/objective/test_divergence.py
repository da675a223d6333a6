"""The KL against quadrature and Monte Carlo of the mixture of narrow Gaussians itself."""

import math
from functools import partial

import numpy as np
import pytest
import torch

import bayesrnn.nn as bnn
from bayesrnn import objective, schemes
from tests.problems import WordNet


def quadrature_kl(mean: float, rate: float, length: float, sigma: float) -> float:
    """KL( (1-p) N(mean, sigma) + p N(0, sigma) || N(0, 1/length) ) by the trapezium rule around both bumps."""
    grids = [center + sigma * np.linspace(-12, 12, 20001) for center in (0.0, mean)]
    w = np.unique(np.concatenate(grids))
    bump = lambda m: np.exp(-0.5 * ((w - m) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))  # noqa: E731
    q = (1 - rate) * bump(mean) + rate * bump(0.0)
    log_prior = -0.5 * (length * w) ** 2 + math.log(length) - 0.5 * math.log(2 * math.pi)
    inner = np.where(q > 0, q * (np.log(np.maximum(q, 1e-300)) - log_prior), 0.0)
    return float(np.trapezoid(inner, w))


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.8])
@pytest.mark.parametrize("inverted", [True, False])
def test_one_entry_against_quadrature(rate, inverted):
    stored, length, sigma = 0.9, 0.6, 1e-3
    effective = stored / (1 - rate) if inverted else stored
    found = objective.kl(torch.tensor([stored], dtype=torch.float64), rate, length, inverted=inverted, noise_std=sigma)
    assert float(found) == pytest.approx(quadrature_kl(effective, rate, length, sigma), rel=1e-6)


def test_the_formula_of_the_other_mask_convention_is_wrong_by_the_factor_keep_squared():
    stored, rate, length, sigma = 0.9, 0.5, 3.0, 1e-3
    truth = quadrature_kl(stored / (1 - rate), rate, length, sigma)  # the network saw W z / keep
    weight = torch.tensor([stored], dtype=torch.float64)
    right = float(objective.kl(weight, rate, length, noise_std=sigma))
    wrong = float(objective.kl(weight, rate, length, noise_std=sigma, inverted=False))
    assert right == pytest.approx(truth, rel=1e-6)
    square = 0.5 * length**2 * stored**2
    assert truth - wrong == pytest.approx(square * (1 / (1 - rate) - (1 - rate)), rel=1e-5)


def test_units_share_one_bernoulli_against_monte_carlo():
    """Two units of three entries each: the entries of a unit fall together, so there are two entropies, not six."""
    torch.manual_seed(1)
    rate, length, sigma = 0.3, 1.3, 1e-2
    weight = torch.randn(3, 2, dtype=torch.float64)  # (out, in): a unit is a column
    effective = weight / (1 - rate)
    z = torch.empty(400_000, 1, 2, dtype=torch.float64).bernoulli_(1 - rate)
    w = effective * z + sigma * torch.randn(400_000, 3, 2, dtype=torch.float64)
    bump = lambda m: torch.distributions.Normal(m, sigma).log_prob(w).sum(1)  # noqa: E731
    log_q = torch.logaddexp(bump(effective) + math.log(1 - rate), bump(torch.zeros_like(weight)) + math.log(rate)).sum(
        -1
    )
    log_prior = torch.distributions.Normal(0.0, 1 / length).log_prob(w).sum((1, 2))
    values = log_q - log_prior
    error = float(values.std() / math.sqrt(len(values)))
    found = float(objective.kl(weight, rate, length, noise_std=sigma))
    assert found == pytest.approx(float(values.mean()), abs=4 * error)


def test_the_entropy_is_that_of_torch():
    p = torch.tensor([0.0, 0.2, 0.5])
    expected = torch.distributions.Bernoulli(p).entropy()
    torch.testing.assert_close(objective.entropy(p), expected, atol=2e-6, rtol=1e-5)


Net = partial(WordNet, layers=2, outputs=7)
SCHEME = schemes.gal(word=0.1, input=0.2, hidden=0.3, output=0.4)


def test_every_parameter_has_one_term_with_its_own_mask():
    net = Net(SCHEME)
    terms = {t.name: t for t in objective.weight_terms(net)}
    assert set(terms) == set(dict(net.named_parameters()))
    found = {n: (t.mask, t.rate, t.units) for n, t in terms.items() if t.mask}
    assert found == {
        "words.weight": ("words.word", 0.1, 7),
        "lstm.weight_ih_l0": ("lstm.input_l0", 0.2, 12),
        "lstm.weight_hh_l0": ("lstm.hidden_l0", 0.3, 12),
        "lstm.weight_ih_l1": ("lstm.input_l1", 0.2, 12),
        "lstm.weight_hh_l1": ("lstm.hidden_l1", 0.3, 12),
        "head.weight": ("dropout.output", 0.4, 3),
    }
    assert terms["lstm.bias_ih_l0"].rate == 0.0


def test_tied_gates_have_fewer_units_and_dropped_weights_one_each():
    tied = {t.name: t.units for t in objective.weight_terms(bnn.GRU(4, 3, dropout=schemes.gal(0.5, gates="tied")))}
    assert (tied["weight_ih_l0"], tied["weight_hh_l0"]) == (4, 3)
    dropped = {t.name: t for t in objective.weight_terms(bnn.LSTM(4, 3, dropout=schemes.weight_drop(0.5)))}
    assert dropped["weight_hh_l0"].units == 12 * 3
    assert dropped["weight_hh_l0"].mask == "weight_hh_l0"


def test_a_shared_embedding_has_a_term_for_the_mask_of_each_role_and_is_in_one_group():
    net = Net(SCHEME, shared=True)
    terms = [t for t in objective.weight_terms(net) if t.name in ("words.weight", "head.weight")]
    assert [(t.name, t.mask, t.rate, t.units) for t in terms] == [
        ("words.weight", "words.word", 0.1, 7),
        ("words.weight", "dropout.output", 0.4, 3),
    ]
    groups = objective.parameter_groups(net, prior_length_scale=0.1, size=50, loss="nll")
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(dict(net.named_parameters()))


def test_the_terms_of_a_shared_matrix_are_the_kl_of_the_two_matrices_of_a_pass():
    """Untie the two roles and give both the same values: the KL of lookup and decoder, each with its own mask."""
    shared, untied = Net(SCHEME, shared=True), Net(SCHEME)
    untied.load_state_dict(shared.state_dict())
    torch.testing.assert_close(objective.model_kl(shared, 0.5), objective.model_kl(untied, 0.5))


@pytest.mark.parametrize("rates", [{"word": 0.1}, {"output": 0.1}, {"hidden": 0.1}])
def test_a_role_without_a_mask_is_the_limit_of_a_small_rate(rates):
    net = Net(schemes.gal(**rates), shared=True)
    terms = [(t.mask, t.rate) for t in objective.weight_terms(net) if t.name == "words.weight"]
    assert sorted(rate for _, rate in terms) == ([0.0] if "hidden" in rates else [0.0, 0.1])
    if "hidden" in rates:  # neither role has a mask: one matrix
        return
    other = "output" if "word" in rates else "word"
    nearly = Net(schemes.gal(**rates | {other: 1e-6}), shared=True)
    nearly.load_state_dict(net.state_dict())
    torch.testing.assert_close(objective.model_kl(net, 0.5), objective.model_kl(nearly, 0.5), rtol=1e-4, atol=1e-3)


def test_the_kl_of_a_model_is_the_sum_of_its_parts():
    net = Net(SCHEME)
    parts = [objective.kl(t.parameter, t.rate, 0.5, units=t.units) for t in objective.weight_terms(net)]
    torch.testing.assert_close(objective.model_kl(net, 0.5), torch.stack(parts).sum())


def test_learned_rates_take_the_place_of_the_layers_and_get_a_gradient():
    net = Net(SCHEME)
    rate = torch.tensor(0.3, requires_grad=True)
    objective.model_kl(net, 0.5, rates={"lstm.hidden_l0": rate}).backward()
    keep, square = 0.7, net.lstm.weight_hh_l0.square().sum().item()
    expected = 0.5 * 0.25 * square / keep**2 - 12 * math.log(keep / 0.3)
    assert rate.grad.item() == pytest.approx(expected, rel=1e-4)


def test_groups_carry_the_decay_of_their_rate():
    net = Net(SCHEME)
    groups = objective.parameter_groups(net, prior_length_scale=0.1, size=50, precision=4.0)
    decays = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert decays["words.weight"] == pytest.approx(2 * 0.01 / (50 * 4 * 0.9))
    assert decays["head.weight"] == pytest.approx(2 * 0.01 / (50 * 4 * 0.6))
    assert decays["lstm.bias_hh_l1"] == pytest.approx(2 * 0.01 / (50 * 4))
    assert sum(len(g["params"]) for g in groups) == len(list(net.parameters()))
    torch.optim.SGD(groups, lr=0.1)


def test_groups_step_down_the_negative_elbo():
    """One SGD step with the groups is one step down the ELBO written out, scaled by the loss's 2 / tau."""
    torch.manual_seed(0)
    layer = bnn.GRU(2, 3, dropout=0.25)
    twin = bnn.GRU(2, 3, dropout=0.25)
    twin.load_state_dict(layer.state_dict())
    x, y, tau, length, size = torch.randn(4, 5, 2), torch.randn(5, 3), 3.0, 0.4, 5 * 3
    masks = layer.sample_masks(5, seed=0)
    groups = objective.parameter_groups(layer, prior_length_scale=length, size=size, precision=tau)
    optimizer = torch.optim.SGD(groups, lr=0.1)
    (layer(x, masks=masks)[0][-1] - y).square().mean().backward()
    optimizer.step()
    nll = -torch.distributions.Normal(twin(x, masks=masks)[0][-1], tau**-0.5).log_prob(y).mean()
    elbo = objective.negative_elbo(nll, objective.model_kl(twin, length), size)
    elbo.backward()
    for name, parameter in twin.named_parameters():
        expected = parameter.detach() - 0.1 * (2 / tau) * parameter.grad
        torch.testing.assert_close(layer.get_parameter(name).detach(), expected)


def test_behind_overrides_what_was_guessed():
    terms = {t.name: t for t in objective.weight_terms(Net(SCHEME), {"head.weight": None})}
    assert terms["head.weight"].rate == 0.0
