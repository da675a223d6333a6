"""Likelihoods: the distribution of the target given one draw, made from a model's raw output."""

from bayesrnn.likelihoods.heads import (
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
    "bernoulli",
    "categorical",
    "gaussian",
    "homoscedastic_gaussian",
    "negative_binomial",
    "ordinal",
    "poisson",
    "student_t",
]
