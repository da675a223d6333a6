import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import distributions as D

from bayesrnn import metrics, recalibration
from bayesrnn.predictive import Origin, Predictive, TokenPredictive


@given(st.integers(1, 8), st.integers(2, 5), st.floats(0.01, 30))
def test_entropy_splits_and_mutual_information_is_in_range(draws, classes, spread):
    logits = spread * torch.randn(draws, 6, classes, dtype=torch.double)
    c = Predictive.from_draws(D.Categorical(logits=logits))
    p = logits.softmax(-1).numpy()
    np.testing.assert_allclose(c.probabilities.numpy(), p.mean(0), atol=1e-12)
    np.testing.assert_allclose(c.entropy.numpy(), stats.entropy(p.mean(0), axis=-1), atol=1e-9)
    np.testing.assert_allclose(c.aleatoric.numpy(), stats.entropy(p, axis=-1).mean(0), atol=1e-9)
    np.testing.assert_allclose((c.aleatoric + c.epistemic).numpy(), c.entropy.numpy(), atol=1e-9)
    assert (c.epistemic >= 0).all()
    assert (c.epistemic <= math.log(min(classes, draws)) + 1e-9).all()


def test_opposite_certain_draws_are_all_epistemic():
    p = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    c = Predictive.from_probabilities(p)
    assert c.entropy.item() == pytest.approx(math.log(2))
    assert c.epistemic.item() == pytest.approx(math.log(2))
    assert c.aleatoric.item() == pytest.approx(0, abs=1e-40)
    assert c.variation_ratio.item() == 0.5
    assert c.log_prob(torch.tensor([1])).item() == pytest.approx(-math.log(2))


def test_bernoulli_is_two_classes():
    logits = torch.randn(4, 3)
    c = Predictive.from_draws(D.Bernoulli(logits=logits))
    torch.testing.assert_close(c.probabilities[:, 1], torch.sigmoid(logits).mean(0))


def test_log_probabilities_do_not_underflow():
    c = Predictive.from_draws(D.Categorical(logits=torch.tensor([[[0.0, 500.0]]])))
    assert c.log_prob(torch.tensor([0])).item() == pytest.approx(-500)


def test_standard_error_is_that_of_the_mean():
    p = torch.rand(10, 4, 3).softmax(-1)
    torch.testing.assert_close(Predictive.from_probabilities(p).standard_error, p.std(0) / math.sqrt(10))


def test_bad_probabilities_are_refused():
    with pytest.raises(ValueError, match=r"outside \[0, 1\] or NaN.*logits"):
        Predictive.from_probabilities(torch.tensor([[1.5, -0.5]]))
    with pytest.raises(ValueError, match="do not add up to 1"):
        Predictive.from_probabilities(torch.tensor([[0.5, 0.4]]))
    with pytest.raises(ValueError, match="rows, classes"):
        Predictive.from_probabilities(torch.tensor([0.5, 0.5]))
    c = Predictive.from_probabilities(torch.full((2, 2), 0.5))
    with pytest.raises(ValueError, match=r"lie in 0\.\.1"):
        c.log_prob(torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="whole numbers"):
        c.log_prob(torch.tensor([0.5, 1.0]))
    with pytest.raises(ValueError, match="does not fit"):
        c.log_prob(torch.tensor([0]))


def tokens(draws=6, **more):
    return TokenPredictive.from_blocks(-torch.rand(draws, 3, 7, dtype=torch.double), origin=Origin(draws), **more)


def test_token_perplexity_averages_probabilities_over_draws():
    logs = -torch.rand(6, 3, 7, dtype=torch.double)
    t = TokenPredictive.from_blocks(logs, origin=Origin(6), lengths=torch.tensor([7, 2, 1]))
    keep = torch.arange(7) < torch.tensor([7, 2, 1])[:, None]
    expected = math.exp(-logs.exp().mean(0).log()[keep].mean().item())
    assert t.perplexity == pytest.approx(expected)
    assert t.perplexity < math.exp(-logs.mean(0)[keep].mean().item())
    assert len(t.to_frame()) == 10


def test_token_correction_removes_the_bias_of_few_draws():
    rng = np.random.default_rng(0)
    p = torch.as_tensor(rng.beta(2, 6, size=(10, 1, 20_000)))
    t = TokenPredictive.from_blocks(p.log(), origin=Origin(10))
    exact = -math.log(2 / 8)
    assert t.nll - exact > 0.012
    assert abs(t.nll_corrected - exact) < 0.003
    assert 0 < t.standard_error < 0.01


def test_token_extras_and_errors():
    t = tokens(deterministic_log_prob=-torch.ones(3, 7, dtype=torch.double))
    assert t.deterministic_perplexity == pytest.approx(math.e)
    assert t[1:].shape == (2, 7)
    with pytest.raises(ValueError, match="deterministic pass was not made"):
        _ = tokens().deterministic_nll
    with pytest.raises(ValueError, match="at least 2 blocks"):
        _ = TokenPredictive(-torch.ones(2, 3), Origin(4)).nll_corrected
    with pytest.raises(ValueError, match="NaN or positive"):
        TokenPredictive(torch.ones(2, 3), Origin(4))
    with pytest.raises(ValueError, match="no token is scored"):
        TokenPredictive(-torch.ones(2, 3), Origin(4), mask=torch.zeros(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="entropy must have the shape"):
        TokenPredictive(-torch.ones(2, 3), Origin(4), entropy=torch.ones(2, 2))


@pytest.mark.parametrize("rows", [[3, 1], slice(1, 4), torch.tensor([False, True, True, False, False])])
def test_rows_keep_all_their_draws(rows: Any) -> None:
    c = Predictive.from_draws(D.Categorical(logits=torch.randn(9, 5, 3)))
    chosen = c[rows]
    for name in ("probabilities", "aleatoric", "votes", "standard_error"):
        torch.testing.assert_close(getattr(chosen, name), getattr(c, name)[rows])
    torch.testing.assert_close(chosen.draws, c.draws[:, rows])


@pytest.mark.parametrize(("dtype", "least"), [(torch.float16, 2.0**-24), (torch.float32, 2.0**-149)])
def test_a_probability_of_zero_is_the_smallest_number_of_its_dtype(dtype: torch.dtype, least: float) -> None:
    c = Predictive.from_probabilities(torch.tensor([[0.0, 1.0]], dtype=dtype))
    assert c.to(torch.float64).log_prob(torch.tensor([0])).item() == pytest.approx(math.log(least), rel=1e-6)
    assert c.log_prob(torch.tensor([1])).item() == pytest.approx(0, abs=1e-6)


def test_saturated_half_precision_is_recalibrated() -> None:
    """Of a softmax that was eight times too sure, in half precision, the map back is 1/8 of the logarithms."""
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(3000, 3, generator=generator)
    y = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    c = Predictive.from_probabilities((8 * logits).half().softmax(-1))
    exact = -logits.log_softmax(-1).gather(-1, y[:, None]).mean().item()
    for kind in (recalibration.Temperature, recalibration.VectorScaling):
        fixed = kind().fit(c[:1500], y[:1500]).apply(c[1500:])
        assert float(metrics.nll(fixed, y[1500:])) == pytest.approx(exact, abs=0.1)


def test_classes_may_be_named() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    c = Predictive.from_probabilities(p, class_names=["cat", "dog", "emu"])
    names = np.array(["cat", "dog"])
    assert float(metrics.nll(c, names)) == float(metrics.nll(c, torch.tensor([0, 1])))
    assert float(metrics.accuracy(c, ["cat", "emu"])) == 1
    assert float(metrics.accuracy(c, np.array(["cat", "emu"], dtype=object))) == 1
    torch.testing.assert_close(c.log_prob(names), c.log_prob(torch.tensor([0, 1])))
    frame = c[1].to(torch.float64).to_frame()
    assert frame["mode"].tolist() == ["emu"]
    assert "probability_dog" in frame
    assert c.recalibrated(c.log_mean).class_names == ("cat", "dog", "emu")
    draws = Predictive.from_probabilities(p.expand(4, 2, 3), class_names="abc").keep_draws(torch.tensor([0, 2]))
    assert draws.class_names == ("a", "b", "c")
    with pytest.raises(ValueError, match=r"names \['cow'\].*called \['cat', 'dog', 'emu'\]"):
        metrics.nll(c, ["cat", "cow"])
    with pytest.raises(ValueError, match=r"classes have no names.*with_class_names"):
        metrics.nll(Predictive.from_probabilities(p), ["cat", "dog"])
    with pytest.raises(ValueError, match="3 different names"):
        c.with_class_names(["a", "b"])


def test_missing_names_are_missing_and_errors_list_ten() -> None:
    p = Predictive.from_probabilities(torch.eye(12), class_names=[f"k{i:02d}" for i in range(12)])
    target = pd.Series([f"k{i:02d}" for i in range(12)])
    for gap in (None, float("nan"), pd.NA):
        holed = target.astype(object)
        holed[3] = gap
        assert float(metrics.accuracy(p, holed, nan="drop")) == 1
        with pytest.raises(ValueError, match="1 NaN"):
            metrics.accuracy(p, holed)
    assert float(metrics.accuracy(p, target.astype("category"))) == 1
    with pytest.raises(ValueError, match=r"'z09'\] and 2 more, but .*'k09'\] and 2 more") as raised:
        metrics.accuracy(p, [f"z{i:02d}" for i in range(12)])
    assert "k10" not in str(raised.value)
    with pytest.raises(ValueError, match=r"the target names .'3'"):
        metrics.accuracy(p, np.array([3, *target[1:]], dtype=object))


def test_names_that_are_numbers_are_not_taken_for_places() -> None:
    p = Predictive.from_probabilities(torch.eye(2), class_names=[1, 2])
    for target in ([1, 1], np.array([2, 1]), pd.Series([1.0, 2.0])):
        with pytest.raises(ValueError, match=r"their names or their places.*astype\(str\)"):
            metrics.accuracy(p, target)
    assert float(metrics.accuracy(p, np.array([1, 2]).astype(str))) == 1
    assert float(metrics.accuracy(p, torch.tensor([0, 1]))) == 1
    assert float(metrics.accuracy(p.with_class_names([0, 1]), [0, 1])) == 1


def test_one_draw_serves_all_classes_of_a_path() -> None:
    p = torch.tensor([0.0, 1.0]).expand(5, 2)  # two draws, each sure of another class at every step
    c = Predictive.from_probabilities(torch.stack([p, 1 - p])[:, None])
    paths = c.paths(400)
    assert paths.shape == (400, 1, 5)
    assert (paths == paths[:, :, :1]).all()
    assert paths[:, 0, 0].double().mean().item() == pytest.approx(0.5, abs=0.08)
    assert Predictive.from_probabilities(torch.tensor([[0.2, 0.8]])).paths(2000).double().mean() > 0.75
    with pytest.raises(ValueError, match="kept the averages only"):
        c.recalibrated(c.log_mean).paths(3)
