"""Weight decay, precision and length scale are one relation, and the relation is that of the KL."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bayesrnn import objective

LOSSES = ("nll", "squared_error", "half_squared_error")
positive = st.floats(1e-4, 1e4)
rates = st.floats(0.0, 0.95)


@given(positive, rates, positive, positive, st.sampled_from(LOSSES), st.booleans(), st.booleans())
def test_the_three_functions_undo_each_other(length, rate, size, tau, loss, inverted, penalty):
    options = {"loss": loss, "inverted": inverted, "penalty": penalty}
    decay = objective.weight_decay(length, rate, size, tau, **options)
    assert objective.prior_length_scale(decay, rate, size, tau, **options) == pytest.approx(length)
    if loss != "nll":
        assert objective.precision(length, rate, size, decay, **options) == pytest.approx(tau)


@pytest.mark.parametrize(
    ("options", "expected"),  # the table of the derivation: l = .1, keep = .8, N = 50, tau = 4
    [
        ({"loss": "half_squared_error", "penalty": True, "inverted": False}, 0.8 * 0.01 / (2 * 50 * 4)),
        ({"loss": "half_squared_error", "penalty": True, "inverted": True}, 0.01 / (2 * 50 * 4 * 0.8)),
        ({"loss": "squared_error", "penalty": True, "inverted": False}, 0.8 * 0.01 / (50 * 4)),
        ({"loss": "squared_error", "penalty": True, "inverted": True}, 0.01 / (50 * 4 * 0.8)),
        ({"loss": "squared_error", "penalty": False, "inverted": False}, 2 * 0.8 * 0.01 / (50 * 4)),
        ({"loss": "squared_error", "penalty": False, "inverted": True}, 2 * 0.01 / (50 * 4 * 0.8)),
        ({"loss": "nll", "penalty": False, "inverted": False}, 0.8 * 0.01 / 50),
        ({"loss": "nll", "penalty": False, "inverted": True}, 0.01 / (50 * 0.8)),
    ],
)
def test_the_published_relation_and_its_variants(options, expected):
    assert objective.weight_decay(0.1, 0.2, 50, 4.0, **options) == pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("inverted", [True, False])
def test_the_decay_makes_the_loss_proportional_to_the_negative_elbo(loss, inverted):
    """d(loss + penalty)/dW = scale * d(nll + KL/N)/dW, with the scale between loss and likelihood found by autograd."""
    torch.manual_seed(0)
    length, rate, size, tau = 0.7, 0.3, 12, 2.5
    x, y = torch.randn(size, 4, dtype=torch.float64), torch.randn(size, dtype=torch.float64)
    weight = torch.randn(1, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64) / ((1 - rate) if inverted else 1.0)
    mean = ((x * mask) @ weight.T).squeeze(-1)
    nll = -torch.distributions.Normal(mean, tau**-0.5).log_prob(y).mean()
    training = {"nll": nll, "squared_error": (y - mean).square().mean()}
    training["half_squared_error"] = 0.5 * training["squared_error"]
    decay = objective.weight_decay(length, rate, size, tau, loss=loss, inverted=inverted)
    elbo = objective.negative_elbo(nll, objective.kl(weight, rate, length, inverted=inverted), size)
    (wanted,) = torch.autograd.grad(elbo, weight, retain_graph=True)
    (data,) = torch.autograd.grad(training[loss], weight)
    got = data + decay * weight.detach()
    torch.testing.assert_close(got / got.norm(), wanted / wanted.norm())


def test_the_two_pitfalls_are_a_factor_two_and_keep_squared():
    right = objective.weight_decay(1e-2, 0.2, 100, 1.0, penalty=True)
    assert right / objective.weight_decay(
        1e-2, 0.2, 100, 1.0, loss="half_squared_error", penalty=True
    ) == pytest.approx(2.0)
    assert objective.weight_decay(1e-2, 0.2, 100, 1.0, inverted=False, penalty=True) / right == pytest.approx(0.8**2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: objective.weight_decay(0.0, 0.1, 10), "prior_length_scale must be positive and finite, but 0.0"),
        (lambda: objective.weight_decay(-1.0, 0.1, 10), "prior standard deviation of a weight is its inverse"),
        (
            lambda: objective.weight_decay(1.0, 0.1, 0),
            "size must be positive and finite, but 0 was given. It is the nu",
        ),
        (lambda: objective.weight_decay(1.0, 0.1, -5), "size must be positive"),
        (lambda: objective.weight_decay(1.0, 0.1, 10, 0.0), "precision must be positive.*1 / noise variance"),
        (lambda: objective.weight_decay(1.0, 0.1, 10, math.nan), "precision must be positive"),
        (lambda: objective.weight_decay(1.0, 1.0, 10), r"DROPPING a unit and must lie in \[0, 1\)"),
        (lambda: objective.weight_decay(1.0, 0.1, 10, loss="mse"), "loss must be one of"),
        (lambda: objective.precision(1.0, 0.1, 10, 0.0), "Without decay there is no prior"),
        (lambda: objective.precision(1.0, 0.1, 10, 1e-4, loss="nll"), "does not depend on a precision"),
        (lambda: objective.prior_length_scale(0.0, 0.1, 10), "weight_decay must be positive"),
        (lambda: objective.negative_elbo(torch.zeros(()), torch.zeros(()), 0), "size must be positive"),
    ],
)
def test_bad_numbers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_text_is_no_number():
    with pytest.raises(TypeError, match="size must be positive and finite, but '10' "):
        objective.weight_decay(1.0, 0.1, "10")
