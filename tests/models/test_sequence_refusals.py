"""Arguments and inputs that the sequence models refuse."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bayesrnn import schemes
from bayesrnn.models import SequenceClassifier, SequenceRegressor


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SequenceRegressor(hidden_size=4), "give input_size .* or vocabulary .*; neither was given"),
        (lambda: SequenceRegressor(3, 4, vocabulary=5), "give input_size .* or vocabulary .*; both was given"),
        (lambda: SequenceRegressor(3, 4, padding_idx=0), "belong to token inputs"),
        (lambda: SequenceRegressor(3, 4, embedding_size=2), "belong to token inputs"),
        (lambda: SequenceRegressor(3, 4, cell="lstn"), "cell must be one of 'lstm', 'gru', 'rnn', but 'lstn'"),
        (lambda: SequenceRegressor(3, 4, likelihood="normal"), "likelihood must be one of 'gaussian'"),
        (lambda: SequenceClassifier(3, 4, likelihood="normal"), "likelihood must be one of 'categorical'"),
        (lambda: SequenceClassifier(3, 4, 1), "classes must be at least 2, but 1"),
        (lambda: SequenceRegressor(3, 4, outputs=0), "outputs must be at least 1"),
        (lambda: SequenceRegressor(3, 0), "hidden_size must be at least 1"),
        (lambda: SequenceRegressor(0, 4), "input_size must be at least 1"),
        (lambda: SequenceRegressor(vocabulary=0), "vocabulary must be at least 1"),
        (lambda: SequenceRegressor(3, 4, dropout=1.0), r"dropout is the probability of DROPPING a unit"),
        (lambda: SequenceRegressor(3, 4, dropout=schemes.moon(0.1), cell="gru"), "which a gru does not have"),
    ],
)
def test_arguments_out_of_range(make: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()  # type: ignore[operator]


def test_flags_that_are_no_flags_are_refused() -> None:
    for name in ("bidirectional", "every_step"):
        with pytest.raises(TypeError, match=f"{name} must be True or False, but 'no'"):
            SequenceClassifier(3, 4, **{name: "no"})  # type: ignore[arg-type]
    config = SequenceClassifier(3, 4, bidirectional=np.True_, labels=np.array([5, 7])).config()
    assert config["bidirectional"] is True
    assert [type(label) for label in config["labels"]] == [int, int]


@pytest.mark.parametrize(
    ("x", "lengths", "text"),
    [
        (torch.zeros(2, 5), None, r"must be a tensor \(rows, steps, features\) .* shape \(2, 5\) was given. For one"),
        (torch.zeros(5), None, r"shape \(5,\) was given\.$"),
        ([[1.0]], None, "but list was given"),
        (torch.zeros(2, 0, 3), None, r"shape \(2, 0, 3\)"),
        (torch.zeros(2, 5, 4), None, r"input_size=3 features, but x has shape \(2, 5, 4\)"),
        (torch.zeros(2, 5, 3, dtype=torch.long), None, "x must be floating point"),
        (torch.full((2, 5, 3), math.nan), None, r"x holds 30 NaN or infinite values \(rows 0, 1\)"),
        (torch.full((2, 5, 3), math.inf), torch.tensor([1, 1]), "x holds 30 NaN or infinite"),
        (torch.zeros(2, 5, 3), torch.tensor([1, 6]), "between 1 and the 5 steps .* row 1 has 6"),
        (torch.zeros(2, 5, 3), torch.tensor([0, 5]), "row 0 has 0"),
        (torch.zeros(2, 5, 3), torch.tensor([1]), "1 entries for 2 rows"),
        (torch.zeros(2, 5, 3), torch.tensor([1.0, 2.0]), "one whole number per row"),
    ],
)
def test_inputs_that_do_not_fit(x: Tensor, lengths: Tensor | None, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SequenceRegressor(3, 4)(x, lengths)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (torch.tensor([[0, 9]]), "tokens must lie in 0..8, but they reach from 0 to 9"),
        (torch.tensor([[-1, 0]]), "reach from -1 to 0"),
        (torch.zeros(2, 3), "tokens must be whole numbers"),
        (torch.zeros(2, 3, 1, dtype=torch.long), r"must be a tensor \(rows, steps\)"),
    ],
)
def test_tokens_that_do_not_fit(tokens: Tensor, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SequenceClassifier(vocabulary=9, hidden_size=4)(tokens)


def test_targets_for_standardize_must_be_finite() -> None:
    with pytest.raises(ValueError, match="target holds 1 NaN"):
        SequenceRegressor(1, 4).standardize(torch.randn(2, 3, 1), torch.tensor([0.0, math.nan]))
