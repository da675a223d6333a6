"""Likelihoods: the distribution of the target given one draw, made from a model's raw output."""

from bayesrnn.likelihoods.families import (
    cdf_of,
    check_parameters,
    example_parameter,
    family,
    icdf_of,
    map_parameters,
    mean_of,
    peel,
    variance_of,
)
from bayesrnn.likelihoods.heads import (
    HomoscedasticGaussian,
    Likelihood,
    bernoulli,
    categorical,
    gaussian,
    homoscedastic_gaussian,
    negative_binomial,
    ordinal,
    poisson,
    student_t,
)

__all__ = [
    "HomoscedasticGaussian",
    "Likelihood",
    "bernoulli",
    "categorical",
    "cdf_of",
    "check_parameters",
    "example_parameter",
    "family",
    "gaussian",
    "homoscedastic_gaussian",
    "icdf_of",
    "map_parameters",
    "mean_of",
    "negative_binomial",
    "ordinal",
    "peel",
    "poisson",
    "student_t",
    "variance_of",
]
