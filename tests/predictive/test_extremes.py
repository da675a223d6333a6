"""Finite numbers of any size go in: finite numbers come out, or a refusal that names the cause."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import distributions as D

from bayesrnn import metrics, recalibration
from bayesrnn._checks import narrowed
from bayesrnn.data.patterns import pattern_of
from bayesrnn.predictive import Predictive, TokenPredictive
from bayesrnn.predictive.origin import Origin

SCALES = st.floats(-300, 300).map(lambda exponent: 10.0**exponent)
KINDS = st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64])


@settings(max_examples=60, deadline=None)
@given(mean=SCALES, std=SCALES, kind=KINDS, rows=st.integers(1, 200))
def test_a_gaussian_of_any_size_gives_finite_numbers_or_says_why_not(
    mean: float, std: float, kind: torch.dtype, rows: int
) -> None:
    means, stds = (torch.full((rows,), value, dtype=torch.float64).to(kind) for value in (mean, std))
    if not (torch.isfinite(means).all() and torch.isfinite(stds).all() and (stds > 0).all()):
        return
    predictive = Predictive.from_draws(D.Normal(torch.stack([means, means * 0.5]), stds.expand(2, rows)))
    for ask in (
        lambda: predictive.mean, lambda: predictive.variance, lambda: predictive.std, lambda: predictive.epistemic,
        lambda: predictive.log_prob(means), lambda: predictive.quantile([0.1, 0.9]), lambda: predictive.cdf(means),
        lambda: metrics.rmse(predictive, means).value, lambda: metrics.nll(predictive, means).value,
    ):  # fmt: skip
        try:
            value, words = torch.as_tensor(ask(), dtype=torch.float64), ""
        except ValueError as error:
            value, words = torch.zeros(1), str(error)
        assert torch.isfinite(value).all()
        assert not words or ("beyond" in words and "row" in words)


def test_log_densities_are_exact_where_the_square_of_the_scale_is_no_number() -> None:
    mean, std = torch.tensor([1e-200, 1e200], dtype=torch.float64), torch.tensor([1e-200, 1e200], dtype=torch.float64)
    log_prob = Predictive.from_gaussian(mean, std).log_prob(mean * 3)
    exact = stats.norm.logpdf(2.0) - torch.log(std).numpy()
    assert log_prob.numpy() == pytest.approx(exact, rel=1e-12)


def test_what_a_dtype_cannot_hold_is_refused_with_row_and_advice() -> None:
    predictive = Predictive.from_gaussian(torch.zeros(3), torch.tensor([1.0, 1e30, 1.0]))
    with pytest.raises(ValueError, match=r"variance reaches 1e\+60 \(rows 1\), beyond .* largest float32.*standardize"):
        _ = predictive.variance
    assert float(predictive.to(torch.float64).variance[1]) == pytest.approx(1e60)
    with pytest.raises(ValueError, match=r"x of rows 0 is not a number"):
        narrowed(torch.tensor([math.nan, 1.0]), torch.float32, "x")


def test_errors_that_do_not_exist_are_none() -> None:
    one = Predictive.from_draws(D.Normal(torch.zeros(1, 2), 1.0))
    assert one.standard_error is None
    assert "standard_error" not in one.to_frame().columns
    assert Predictive.from_draws(D.Categorical(logits=torch.zeros(1, 2, 3))).standard_error is None
    assert TokenPredictive(torch.full((1, 2), -1.0), Origin(16)).standard_error is None


def test_a_perplexity_beyond_numbers_names_the_token() -> None:
    tokens = TokenPredictive(torch.tensor([[-1.0, -1e4, -2.0]]), Origin(16))
    assert tokens.nll == pytest.approx(10003 / 3)
    with pytest.raises(ValueError, match=r"row 0, step 1 has the log probability -1e\+04"):
        _ = tokens.perplexity
    assert "inf" in repr(tokens)


def test_infinite_intervals_under_a_map_of_levels_have_no_mean() -> None:
    target = torch.randn(60, generator=torch.Generator().manual_seed(0))
    base = Predictive.from_gaussian(torch.zeros(60), torch.ones(60))
    conformal = recalibration.SplitConformal().fit(base, target).apply(base)
    mapped = recalibration.QuantileRecalibration().fit(conformal, target).apply(conformal)
    with pytest.raises(ValueError, match=r"the mean of rows .* is not a number"):
        _ = mapped.mean
    assert torch.isfinite(mapped.quantile([0.1, 0.5, 0.9])).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([7.0] * 30, "are constant (7)"),
        ([0.0] * 10 + [1.0] * 20, "are constant but for 1 step (after value 10)"),
        ([1.1**k for k in range(40)], "grow by the same factor each step (1.1)"),
        ([0.5**k for k in range(20)], "shrink by the same factor each step (0.5)"),
        ([3.0 * k for k in range(40)], "rise by the same amount each step (3)"),
        ([1.0, 5.0, 2.0] * 9, "repeat exactly from season to season"),
        ([1e200, 2e200, 1e200, 5.0], "too large for float32: divide them"),
    ],
)
def test_the_cause_is_named(values: list[float], words: str) -> None:
    assert words in pattern_of(values)
