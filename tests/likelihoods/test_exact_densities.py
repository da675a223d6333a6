"""Densities of counts and of Student's t against fifty digits, in the type that models train in too."""

import math
from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch

from bayesrnn import likelihoods as L

mpmath.mp.dps = 50
DTYPES = (torch.float32, torch.float64)


def poisson(mean: float, y: float) -> Any:
    return y * mpmath.log(mean) - mean - mpmath.loggamma(mpmath.mpf(y) + 1)


def negative_binomial(count: float, mean: Any, y: float) -> Any:
    r, m = mpmath.mpf(count), mpmath.mpf(mean)
    bracket = mpmath.loggamma(r + y) - mpmath.loggamma(r) - mpmath.loggamma(mpmath.mpf(y) + 1)
    return bracket - r * mpmath.log1p(m / r) + y * (mpmath.log(m) - mpmath.log(r + m))


def counts(mean: float) -> list[float]:
    around = [mean, mean - 3 * mean**0.5, mean + 3 * mean**0.5, mean / 3, 1.5 * mean, 20 * mean]
    return sorted({float(round(max(y, 0.0))) for y in [0, 1, 3, 15, 16, 17, 40, 1000, *around]})


def held(values: torch.Tensor, exact: list[Any], dtype: torch.dtype, targets: list[float]) -> None:
    relative = 1e-6 if dtype == torch.float32 else 1e-9
    for value, truth, y in zip(values.tolist(), exact, targets, strict=True):
        rounding = 3e-16 * math.lgamma(abs(y) + 1)  # of the largest terms, in float64
        assert abs(value - float(truth)) <= relative * max(1.0, abs(float(truth))) + rounding


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mean", [1e-8, 0.3, 5.0, 17.0, 1e3, 1e5, 1e7])
def test_poisson(mean: float, dtype: torch.dtype) -> None:
    output = torch.tensor([[math.log(mean)]], dtype=dtype, requires_grad=True)
    distribution, y = L.poisson(output), counts(mean)
    rate = float(distribution.rate.detach())
    found = distribution.log_prob(torch.tensor(y, dtype=dtype))
    held(found, [poisson(rate, k) for k in y], dtype, y)
    (slope,) = torch.autograd.grad(found.sum(), output)
    assert float(slope) == pytest.approx(sum(k - rate for k in y), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dispersion", [1e-12, 1e-3, 0.1, 1.0, 10.0, 1e4])
@pytest.mark.parametrize("mean", [1e-8, 0.3, 5.0, 17.0, 1e3, 1e5, 1e7])
def test_negative_binomial(mean: float, dispersion: float, dtype: torch.dtype) -> None:
    output = torch.tensor([[math.log(mean), math.log(dispersion)]], dtype=dtype, requires_grad=True)
    distribution, y = L.negative_binomial(output), counts(mean)
    count = float(distribution.total_count.detach())
    own = mpmath.mpf(count) * mpmath.exp(mpmath.mpf(float(distribution.logits.detach())))
    found = distribution.log_prob(torch.tensor(y, dtype=dtype))
    # the mean is the product of two rounded numbers: at r = 1e12 in float32 that alone moves it by 2e-6
    held(found, [negative_binomial(count, own, k) for k in y], dtype, y)
    slope = torch.autograd.grad(found.sum(), output)[0][0, 0]
    parts = [(k - float(own)) / (1 + float(own) / count) for k in y]
    assert float(slope) == pytest.approx(sum(parts), abs=2e-3 * max(1.0, *map(abs, parts)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("raw", [-200.0, -3.0, 0.0, 29.0, 31.0, 1e3, 1e5, 1e8])
def test_student_t(raw: float, dtype: torch.dtype) -> None:
    distribution = L.student_t(torch.tensor([[1.0, 0.5, raw]], dtype=dtype))
    df, scale = mpmath.mpf(float(distribution.df)), mpmath.mpf(float(distribution.scale))

    def exact(z: float) -> Any:
        gammas = mpmath.loggamma((df + 1) / 2) - mpmath.loggamma(df / 2)
        return gammas - mpmath.log(df * mpmath.pi) / 2 - mpmath.log(scale) - (df + 1) / 2 * mpmath.log1p(z * z / df)

    z = torch.tensor([0.0, 0.5, 3.0, 50.0], dtype=dtype)
    y = 1 + distribution.scale * z
    held(distribution.log_prob(y), [exact((float(v) - 1) / float(scale)) for v in y], dtype, y.tolist())


@pytest.mark.parametrize(
    "make",
    [
        lambda: L.poisson(torch.tensor([[-800.0]], requires_grad=True)),
        lambda: L.negative_binomial(torch.tensor([[-50.0, 3.0]], requires_grad=True)),
    ],
)
def test_nothing_is_made_a_number_that_is_none(make: Callable[[], Any]) -> None:
    """Rates that vanish: the density may be -inf, where it is, but not NaN."""
    found = make().log_prob(torch.tensor([0.0, 3.0, 5000.0]))
    assert not torch.isnan(found).any()
