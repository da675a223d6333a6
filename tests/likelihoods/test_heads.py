import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import distributions as D

from bayesrnn import likelihoods as L
from bayesrnn.likelihoods import families


def test_gaussian_reads_mean_and_log_variance():
    distribution = L.gaussian(torch.tensor([[1.0, math.log(4.0)]]))
    assert distribution.mean.item() == 1.0
    assert distribution.variance.item() == pytest.approx(4.0)


def test_homoscedastic_gaussian_has_variance_one_over_precision():
    distribution = L.homoscedastic_gaussian(4.0)(torch.tensor([[3.0], [5.0]]))
    assert distribution.mean.tolist() == [3.0, 5.0]
    assert distribution.variance.tolist() == [0.25, 0.25]


def test_student_t_always_has_a_variance():
    distribution = L.student_t(torch.tensor([[0.0, 0.0, -1e4]]))
    assert torch.isfinite(families.variance_of(distribution)).all()


def test_negative_binomial_moments_and_probabilities():
    mean, dispersion = 3.0, 0.5
    distribution = L.negative_binomial(torch.tensor([[math.log(mean), math.log(dispersion)]], dtype=torch.double))
    assert families.mean_of(distribution).item() == pytest.approx(mean)
    assert families.variance_of(distribution).item() == pytest.approx(mean + dispersion * mean**2)
    oracle = stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mean))
    assert distribution.log_prob(torch.tensor([4.0])).item() == pytest.approx(oracle.logpmf(4))
    assert families.cdf_of(distribution, torch.tensor([4.0], dtype=torch.double)).item() == pytest.approx(oracle.cdf(4))


def exact_negative_binomial(log_mean: float, log_dispersion: float, count: int) -> float:
    """The closed form with a rising factorial instead of gamma functions: nothing cancels at any dispersion."""
    dispersion = math.exp(log_dispersion)
    rising = sum(math.log1p(j * dispersion) for j in range(count))
    spread = math.log1p(dispersion * math.exp(log_mean))
    share = spread / dispersion if dispersion > 0 else math.exp(log_mean)
    return rising + count * (log_mean - spread) - math.lgamma(count + 1) - share


DISPERSIONS = (4.0, 0.0, -2.7, -2.8, -6.0, -10.0, -15.0, -20.0, -30.0, -39.0, -62.0, -500.0, -math.inf)


@pytest.mark.parametrize("log_dispersion", DISPERSIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_negative_binomial_does_not_cancel_down_to_the_poisson_distribution(log_dispersion, dtype):
    precise = dtype == torch.float64
    for log_mean in (-2.0, 3.0):
        output = torch.tensor([log_mean, log_dispersion], dtype=dtype, requires_grad=True)
        for count in (0, 1, 20, 300):
            found = L.negative_binomial(output).log_prob(torch.tensor(float(count), dtype=dtype))
            expected = exact_negative_binomial(log_mean, log_dispersion, count)
            rounding = 3e-7 * (20 + math.lgamma(count + 1))  # of mu and log y!, the largest terms, in float32
            assert found.item() == pytest.approx(expected, rel=1e-11, abs=1e-10 if precise else rounding)
            (slope,) = torch.autograd.grad(found, output)
            step = 1e-4
            for k, shift in enumerate(((step, 0.0), (0.0, step))):
                up = exact_negative_binomial(log_mean + shift[0], log_dispersion + shift[1], count)
                down = exact_negative_binomial(log_mean - shift[0], log_dispersion - shift[1], count)
                assert slope[k].item() == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=5e-4)


@pytest.mark.parametrize("log_dispersion", [-15.0, -30.0, -62.0, -math.inf])
def test_negative_binomial_near_the_poisson_distribution_has_its_moments_and_probabilities(log_dispersion):
    torch.manual_seed(0)
    distribution = L.negative_binomial(torch.tensor([3.0, log_dispersion]))
    oracle = stats.poisson(math.exp(3.0))
    assert distribution.mean.item() == pytest.approx(oracle.mean(), rel=1e-5)
    assert distribution.variance.item() == pytest.approx(oracle.var(), rel=1e-4)
    for count in (-1.0, 10.0, 20.0, 40.0):
        assert families.cdf_of(distribution, torch.tensor(count)).item() == pytest.approx(oracle.cdf(count), rel=1e-4)
    draws = distribution.sample((20_000,))
    assert draws.mean().item() == pytest.approx(oracle.mean(), abs=4 * oracle.std() / 20_000**0.5)
    assert draws.var().item() == pytest.approx(oracle.var(), rel=0.05)


def test_negative_binomial_is_a_distribution_of_torch_that_can_be_taken_apart():
    distribution = L.negative_binomial(torch.tensor([[3.0, -30.0], [1.0, -1.0]]))
    assert isinstance(distribution, D.NegativeBinomial)
    second = families.map_parameters(distribution, lambda t: t[1:])
    torch.testing.assert_close(second.log_prob(torch.tensor([2.0])), distribution.log_prob(torch.tensor(2.0))[1:])
    grown = distribution.expand((3, 2))
    torch.testing.assert_close(grown.log_prob(torch.tensor(2.0))[1], distribution.log_prob(torch.tensor(2.0)))


def test_poisson_rate_is_exponential():
    assert L.poisson(torch.tensor([[math.log(2.0)]])).mean.item() == pytest.approx(2.0)


def test_ordinal_is_differences_of_sigmoids():
    output = torch.randn(5, 3, dtype=torch.double)
    thresholds = torch.cumsum(torch.cat([output[:, :1], torch.nn.functional.softplus(output[:, 1:])], -1), -1)
    below = torch.cat([torch.zeros(5, 1), torch.sigmoid(thresholds), torch.ones(5, 1)], -1)
    torch.testing.assert_close(L.ordinal(output).probs, below.diff(dim=-1), rtol=1e-9, atol=1e-12)


def test_ordinal_stays_finite_where_sigmoids_saturate():
    distribution = L.ordinal(torch.tensor([[60.0, -100.0]]))
    assert torch.isfinite(distribution.logits).all()


def test_ordinal_keeps_its_gradient_where_a_gap_closes():
    output = torch.tensor([0.0, -95.0], requires_grad=True)
    value = L.ordinal(output).log_prob(torch.tensor(1))
    value.backward()
    assert value.item() == pytest.approx(-95.0 - 2 * math.log(2), rel=1e-6)  # log sigmoid'(0) + log of the gap
    assert float(output.grad[1]) == pytest.approx(1.0)


@pytest.mark.parametrize("log_dispersion", [60.0, 90.0, 200.0])
def test_negative_binomial_has_gradients_at_any_dispersion(log_dispersion):
    for count in (0.0, 3.0):
        output = torch.tensor([1.0, log_dispersion], requires_grad=True)
        value = L.negative_binomial(output).log_prob(torch.tensor(count))
        value.backward()
        assert torch.isfinite(value)
        assert torch.isfinite(output.grad).all()


@pytest.mark.parametrize(
    ("likelihood", "size"),
    [
        (L.gaussian, 3),
        (L.student_t, 2),
        (L.poisson, 2),
        (L.negative_binomial, 1),
        (L.bernoulli, 2),
        (L.homoscedastic_gaussian(1.0), 2),
        (L.categorical, 1),
        (L.ordinal, 0),
    ],
)
def test_wrong_last_dimension_is_named(likelihood, size):
    with pytest.raises(ValueError, match=rf"last dimension.*\(4, {size}\)"):
        likelihood(torch.zeros(4, size))


def test_no_tensor_is_refused():
    with pytest.raises(TypeError, match="output tensor"):
        L.gaussian([[0.0, 1.0]])


@pytest.mark.parametrize("likelihood", [L.categorical, L.ordinal, L.student_t, L.negative_binomial, L.poisson])
def test_lists_and_whole_numbers_are_refused(likelihood):
    name = likelihood.__name__
    with pytest.raises(
        TypeError, match=rf"{name} maps a model's output tensor to a distribution, but a list was given"
    ):
        likelihood([[0.0, 1.0, 2.0]])
    with pytest.raises(TypeError, match=rf"{name} maps .* torch\.int64 was given.*output\.float\(\)"):
        likelihood(torch.zeros(2, 3, dtype=torch.long))


@pytest.mark.parametrize("precision", [np.float32(4.0), np.int64(4), np.array(4.0)])
def test_the_precision_may_be_a_number_of_numpy(precision):
    distribution = L.homoscedastic_gaussian(precision)
    assert distribution == L.homoscedastic_gaussian(4.0)
    assert distribution(torch.zeros(2, 1)).stddev.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(("precision", "error"), [(0.0, ValueError), (math.inf, ValueError), ("1", TypeError)])
def test_precision_must_be_positive(precision, error):
    with pytest.raises(error, match="precision"):
        L.homoscedastic_gaussian(precision)


@pytest.mark.parametrize(
    ("distribution", "kind"),
    [
        (D.Normal(torch.zeros(2), 1.0), "continuous"),
        (D.Poisson(torch.ones(2)), "count"),
        (D.Categorical(logits=torch.zeros(2, 3)), "class"),
        (D.Independent(D.Normal(torch.zeros(2, 3), 1.0), 1), "continuous"),
    ],
)
def test_family(distribution, kind):
    assert families.family(distribution) == kind


def test_joint_distributions_and_other_objects_are_refused():
    with pytest.raises(ValueError, match="joint distribution"):
        families.family(D.MultivariateNormal(torch.zeros(2, 3), torch.eye(3)))
    with pytest.raises(TypeError, match="Distribution is needed"):
        families.family(torch.zeros(3))


def test_a_distribution_without_mean_says_so():
    with pytest.raises(ValueError, match="has no mean"):
        families.mean_of(D.StudentT(torch.tensor([0.9]), 0.0, 1.0))
    assert torch.isinf(families.variance_of(D.StudentT(torch.tensor([1.5]), 0.0, 1.0))).all()


@pytest.mark.parametrize(
    ("distribution", "oracle"),
    [
        (D.StudentT(torch.tensor([3.0]).double(), 1.0, 2.0), stats.t(3, 1, 2)),
        (D.Beta(torch.tensor([2.0]).double(), torch.tensor([3.0]).double()), stats.beta(2, 3)),
        (D.Gamma(torch.tensor([2.0]).double(), torch.tensor([3.0]).double()), stats.gamma(2, scale=1 / 3)),
        (D.Poisson(torch.tensor([3.0]).double()), stats.poisson(3)),
        (D.Binomial(torch.tensor([10.0]).double(), torch.tensor([0.3], dtype=torch.double)), stats.binom(10, 0.3)),
        (D.Geometric(torch.tensor([0.3], dtype=torch.double)), stats.geom(0.3, loc=-1)),
    ],
)
def test_cdf_against_scipy(distribution, oracle):
    for value in (-1.0, 0.0, 0.4, 1.0, 2.5, 11.0):
        found = families.cdf_of(distribution, torch.tensor([value], dtype=torch.double)).item()
        assert found == pytest.approx(oracle.cdf(value), abs=1e-12)


def test_affine_transform_keeps_moments():
    scale = torch.tensor([2.0, 3.0])
    distribution = D.TransformedDistribution(D.Normal(torch.ones(2), 1.0), [D.AffineTransform(1.0, scale)])
    assert families.mean_of(distribution).tolist() == [3.0, 4.0]
    assert families.variance_of(distribution).tolist() == [4.0, 9.0]
    selected = families.map_parameters(distribution, lambda t: t[1:])
    assert families.mean_of(selected).tolist() == [4.0]


@pytest.mark.parametrize(
    ("distribution", "oracle"),
    [
        (D.Normal(torch.tensor([1.0]).double(), 2.0), stats.norm(1, 2)),
        (D.StudentT(torch.tensor([3.0]).double(), 1.0, 2.0), stats.t(3, 1, 2)),
        (D.Gamma(torch.tensor([2.0]).double(), torch.tensor([3.0]).double()), stats.gamma(2, scale=1 / 3)),
        (D.Laplace(torch.tensor([1.0]).double(), 2.0), stats.laplace(1, 2)),
    ],
)
def test_icdf_against_scipy(distribution: Any, oracle: Any) -> None:
    for level in (0.01, 0.3, 0.5, 0.95):
        found = families.icdf_of(distribution, torch.tensor([level], dtype=torch.double)).item()
        assert found == pytest.approx(oracle.ppf(level), rel=1e-9)
