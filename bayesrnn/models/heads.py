"""From features to the distribution of the target: a linear map and a likelihood, in the target's own units."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from bayesrnn import likelihoods
from bayesrnn._checks import as_values, check_choice, check_finite, check_whole
from bayesrnn.likelihoods.heads import Likelihood

NumberLikelihood = Literal["gaussian", "homoscedastic", "student_t", "poisson", "negative_binomial"]
ClassLikelihood = Literal["categorical", "ordinal"]


@dataclass(frozen=True)
class _Form:
    """A likelihood as a row of data: raw numbers per target, and whether the target may be any real number."""

    distribution: Likelihood
    numbers: int
    real: bool


_FORMS = {
    "gaussian": _Form(likelihoods.gaussian, 2, True),
    "homoscedastic": _Form(likelihoods.gaussian, 1, True),
    "student_t": _Form(likelihoods.student_t, 3, True),
    "poisson": _Form(likelihoods.poisson, 1, False),
    "negative_binomial": _Form(likelihoods.negative_binomial, 2, False),
}
_LOG_SCALE = {"gaussian": 2.0, "homoscedastic": 2.0, "student_t": 1.0}  # the raw scale is log variance or log scale


class NumberHead(nn.Module):
    r"""A linear map to the raw numbers of a likelihood, for `outputs` targets.

    Where the target is a real number, the raw numbers are location and scale of $(y - m) / s$, brought back to the
    units of y; m = 0 and s = 1 until `standardize` is called. `homoscedastic` is a Gaussian whose variance is one
    learned number per target, the same for every input.

    Raises:
        ValueError: If the likelihood is unknown or there are no outputs.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(self, features: int, outputs: int, likelihood: NumberLikelihood) -> None:
        super().__init__()
        check_choice(likelihood, "likelihood", get_args(NumberLikelihood))
        self.outputs = check_whole(outputs, "outputs")
        self.likelihood: NumberLikelihood = likelihood
        self.form = _FORMS[likelihood]
        self.linear = nn.Linear(features, outputs * self.form.numbers)
        self.register_buffer("target_mean", torch.zeros(outputs))
        self.register_buffer("target_std", torch.ones(outputs))
        if likelihood == "homoscedastic":
            self.log_variance = nn.Parameter(torch.zeros(outputs))

    def standardize(self, target: Tensor) -> None:
        """Take the mean and the standard deviation of the targets, (rows,) or (..., outputs), as m and s.

        Counts are left as they are.
        """
        if not self.form.real:
            return
        values = (
            check_finite(as_values(target, "target"), "target").detach().to(self.target_mean).reshape(-1, self.outputs)
        )
        self.target_mean.copy_(values.mean(0))
        self.target_std.copy_(spread(values))

    def forward(self, features: Tensor) -> Distribution:
        """Return the distribution of the targets; batch shape as the features, with outputs where above 1."""
        raw = self.linear(features).to(self.linear.weight.dtype).unflatten(-1, (self.outputs, self.form.numbers))
        if self.form.real:
            raw = self._in_units(raw)
        return self.form.distribution(raw.squeeze(-2) if self.outputs == 1 else raw)

    def _in_units(self, raw: Tensor) -> Tensor:
        if self.likelihood == "homoscedastic":
            raw = torch.cat([raw, self.log_variance[:, None].expand_as(raw)], -1)
        location = raw[..., 0] * self.target_std + self.target_mean
        scale = raw[..., 1] + _LOG_SCALE[self.likelihood] * self.target_std.log()
        return torch.cat([torch.stack([location, scale], -1), raw[..., 2:]], -1)


class ClassHead(nn.Module):
    """A linear map to the logits of K classes, or to the K - 1 thresholds of ordered classes.

    Raises:
        ValueError: If the likelihood is unknown or there are fewer than 2 classes.
    """

    def __init__(self, features: int, classes: int, likelihood: ClassLikelihood) -> None:
        super().__init__()
        check_choice(likelihood, "likelihood", get_args(ClassLikelihood))
        self.classes = check_whole(classes, "classes", 2)
        self.distribution: Likelihood = likelihoods.categorical if likelihood == "categorical" else likelihoods.ordinal
        self.linear = nn.Linear(features, classes if likelihood == "categorical" else classes - 1)
        if likelihood == "ordinal":
            with torch.no_grad():  # gaps of 1 between the thresholds, centered on 0
                self.linear.bias.fill_(math.log(math.e - 1.0))
                self.linear.bias[0] = -(classes - 2) / 2.0

    def forward(self, features: Tensor) -> Distribution:
        """Return the distribution of the class; of the batch shape of the features."""
        return self.distribution(self.linear(features).to(self.linear.weight.dtype))


def spread(values: Tensor) -> Tensor:
    """Return the standard deviation of each column, and 1 for a column that does not vary."""
    std = values.std(0, correction=0)
    negligible = torch.finfo(values.dtype).eps * values.abs().amax(0).clamp(min=1e-30) * 10
    return torch.where(std > negligible, std, torch.ones_like(std))
