import math

import pytest
import torch
from scipy import stats
from torch import distributions as D

from bayesrnn import likelihoods as L


def test_gaussian_reads_mean_and_log_variance():
    law = L.gaussian(torch.tensor([[1.0, math.log(4.0)]]))
    assert law.mean.item() == 1.0
    assert law.variance.item() == pytest.approx(4.0)


def test_homoscedastic_gaussian_has_variance_one_over_precision():
    law = L.homoscedastic_gaussian(4.0)(torch.tensor([[3.0], [5.0]]))
    assert law.mean.tolist() == [3.0, 5.0]
    assert law.variance.tolist() == [0.25, 0.25]


def test_student_t_always_has_a_variance():
    law = L.student_t(torch.tensor([[0.0, 0.0, -1e4]]))
    assert torch.isfinite(L.variance_of(law)).all()


def test_negative_binomial_moments_and_probabilities():
    mean, dispersion = 3.0, 0.5
    law = L.negative_binomial(torch.tensor([[math.log(mean), math.log(dispersion)]], dtype=torch.double))
    assert L.mean_of(law).item() == pytest.approx(mean)
    assert L.variance_of(law).item() == pytest.approx(mean + dispersion * mean**2)
    oracle = stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mean))
    assert law.log_prob(torch.tensor([4.0])).item() == pytest.approx(oracle.logpmf(4))
    assert L.cdf_of(law, torch.tensor([4.0], dtype=torch.double)).item() == pytest.approx(oracle.cdf(4))


def test_poisson_rate_is_exponential():
    assert L.poisson(torch.tensor([[math.log(2.0)]])).mean.item() == pytest.approx(2.0)


def test_ordinal_is_differences_of_sigmoids():
    output = torch.randn(5, 3, dtype=torch.double)
    thresholds = torch.cumsum(torch.cat([output[:, :1], torch.nn.functional.softplus(output[:, 1:])], -1), -1)
    below = torch.cat([torch.zeros(5, 1), torch.sigmoid(thresholds), torch.ones(5, 1)], -1)
    torch.testing.assert_close(L.ordinal(output).probs, below.diff(dim=-1), rtol=1e-9, atol=1e-12)


def test_ordinal_stays_finite_where_sigmoids_saturate():
    law = L.ordinal(torch.tensor([[60.0, -100.0]]))
    assert torch.isfinite(law.logits).all()


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


@pytest.mark.parametrize(("precision", "error"), [(0.0, ValueError), (math.inf, ValueError), ("1", TypeError)])
def test_precision_must_be_positive(precision, error):
    with pytest.raises(error, match="precision"):
        L.homoscedastic_gaussian(precision)


@pytest.mark.parametrize(
    ("law", "kind"),
    [
        (D.Normal(torch.zeros(2), 1.0), "continuous"),
        (D.Poisson(torch.ones(2)), "count"),
        (D.Categorical(logits=torch.zeros(2, 3)), "class"),
        (D.Independent(D.Normal(torch.zeros(2, 3), 1.0), 1), "continuous"),
    ],
)
def test_family(law, kind):
    assert L.family(law) == kind


def test_joint_laws_and_other_objects_are_refused():
    with pytest.raises(ValueError, match="joint law"):
        L.family(D.MultivariateNormal(torch.zeros(2, 3), torch.eye(3)))
    with pytest.raises(TypeError, match="Distribution is needed"):
        L.family(torch.zeros(3))


def test_a_law_without_mean_says_so():
    with pytest.raises(ValueError, match="has no mean"):
        L.mean_of(D.StudentT(torch.tensor([0.9]), 0.0, 1.0))
    assert torch.isinf(L.variance_of(D.StudentT(torch.tensor([1.5]), 0.0, 1.0))).all()


@pytest.mark.parametrize(
    ("law", "oracle"),
    [
        (D.StudentT(torch.tensor([3.0]).double(), 1.0, 2.0), stats.t(3, 1, 2)),
        (D.Beta(torch.tensor([2.0]).double(), torch.tensor([3.0]).double()), stats.beta(2, 3)),
        (D.Gamma(torch.tensor([2.0]).double(), torch.tensor([3.0]).double()), stats.gamma(2, scale=1 / 3)),
        (D.Poisson(torch.tensor([3.0]).double()), stats.poisson(3)),
        (D.Binomial(torch.tensor([10.0]).double(), torch.tensor([0.3], dtype=torch.double)), stats.binom(10, 0.3)),
        (D.Geometric(torch.tensor([0.3], dtype=torch.double)), stats.geom(0.3, loc=-1)),
    ],
)
def test_cdf_against_scipy(law, oracle):
    for value in (-1.0, 0.0, 0.4, 1.0, 2.5, 11.0):
        found = L.cdf_of(law, torch.tensor([value], dtype=torch.double)).item()
        assert found == pytest.approx(oracle.cdf(value), abs=1e-12)


def test_affine_transform_keeps_moments():
    scale = torch.tensor([2.0, 3.0])
    law = D.TransformedDistribution(D.Normal(torch.ones(2), 1.0), [D.AffineTransform(1.0, scale)])
    assert L.mean_of(law).tolist() == [3.0, 4.0]
    assert L.variance_of(law).tolist() == [4.0, 9.0]
    selected = L.map_parameters(law, lambda t: t[1:])
    assert L.mean_of(selected).tolist() == [4.0]
