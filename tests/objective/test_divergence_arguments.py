"""Arguments of the divergence that are refused, and numbers of numpy."""

import math
from functools import partial

import numpy as np
import pytest
import torch

import bayesrnn.nn as bnn
from bayesrnn import objective, schemes
from tests.problems import WordNet

Net = partial(WordNet, layers=2, outputs=7)
SCHEME = schemes.gal(word=0.1, input=0.2, hidden=0.3, output=0.4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: objective.kl(torch.ones(1), 0.1, 0.0), "prior_length_scale must be positive"),
        (lambda: objective.kl(torch.ones(1), 0.1, 1.0, noise_std=0.0), "noise_std must be positive"),
        (lambda: objective.weight_terms(bnn.LSTM(2, 2, dropout=schemes.moon(0.5))), "'cell', which enters no weight"),
        (lambda: objective.weight_terms(bnn.LSTM(2, 2, dropout=schemes.naive(0.5))), "changes each step"),
        (lambda: objective.weight_terms(Net(SCHEME), {"tail.weight": None}), "'tail.weight', which the model lacks"),
        (
            lambda: objective.weight_terms(Net(SCHEME), {"head.weight": "lstm"}),
            r"no Dropout of the model.*\['dropout'\]",
        ),
        (
            lambda: objective.model_kl(Net(SCHEME), 1.0, rates={"lstm.cell_l0": torch.tensor(0.1)}),
            "act on no weight of the model",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


W = torch.ones(2, 3)
NAN = torch.tensor(math.nan)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *[
            (lambda p=p, f=f: f(torch.tensor(p)), r"must lie in \[0, 1\)")
            for p in (1.5, -0.1, math.nan, 1.0)
            for f in (lambda r: objective.kl(W, r, 1.0), objective.entropy)
        ],
        *[
            (lambda p=p: objective.model_kl(Net(SCHEME), 1.0, rates={"lstm.hidden_l0": torch.tensor(p)}), "must lie in")
            for p in (1.5, math.nan, 1.0)
        ],
        (lambda: objective.kl(W, torch.tensor([0.1, 0.2]), 1.0), r"one weight has one rate, but .* shape \(2,\)"),
        (lambda: objective.kl(W, 0.1, 1.0, units=-1), "units must be at least 0, but -1"),
        (lambda: objective.kl(torch.tensor([1.0, math.nan]), 0.1, 1.0), "the weight holds 1 NaN or infinite"),
        (lambda: objective.negative_elbo(torch.zeros(2), NAN, 1), r"nll must be one number.*\(2,\).*nll\.mean\(\)"),
        (lambda: objective.negative_elbo(NAN, torch.tensor(1.0), 1), "nll must be finite, but it is nan"),
        (lambda: objective.negative_elbo(torch.tensor(1.0), NAN, 1), "divergence must be finite"),
    ],
)
def test_values_that_would_give_a_silent_nan_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: objective.kl([1.0], 0.1, 1.0), "the weight must be a tensor, but a list"),
        (lambda: objective.kl(W, 0.1, 1.0, units=1.5), "units must be a whole number"),
        (lambda: objective.entropy(torch.tensor(True)), "a rate must be a real number"),
    ],
)
def test_things_of_another_kind_are_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_a_rate_of_one_entry_is_a_rate():
    torch.testing.assert_close(objective.kl(W, torch.tensor([0.1]), 1.0), objective.kl(W, 0.1, 1.0))


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.array])
def test_numpy_numbers_are_numbers(kind):
    rate, size = kind(0.25), np.int64(50)
    expected = objective.weight_decay(0.5, 0.25, 50, 4.0)
    assert objective.weight_decay(kind(0.5), rate, size, kind(4.0)) == expected
    assert float(objective.kl(W, rate, kind(0.5), units=np.int32(3))) == float(objective.kl(W, 0.25, 0.5, units=3))
    assert type(bnn.Dropout(rate).p) is float
    with pytest.raises(TypeError, match="must be positive and finite"):
        objective.weight_decay(np.bool_(True), rate, size)
    with pytest.raises(TypeError, match=r"value\.item\(\)"):
        objective.weight_decay(0.5, rate, torch.tensor(50))
