"""What torch refuses is refused too where `torch.compile` has turned its validation off."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as D
from torch.distributions import Distribution

import bayesrnn as br
from bayesrnn import Predictive
from bayesrnn.training.loss import negative_log_likelihood

ILLEGAL: dict[str, Callable[[Tensor], Distribution]] = {  # from zeros (...,)
    "scale": lambda zeros: D.Normal(zeros, zeros - 1.0),
    "gamma": lambda zeros: D.Gamma(zeros - 0.5, zeros + 1.0),  # its density is a number, and wrong
    "chance": lambda zeros: D.Bernoulli(probs=zeros + 1.5),
    "classes": lambda zeros: D.Categorical(probs=torch.stack([zeros - 0.5, zeros + 1.5], -1)),
    "inside": lambda zeros: D.Independent(D.Laplace(zeros[..., None], zeros[..., None] - 1.0), 1),
    "mixture": lambda zeros: D.MixtureSameFamily(
        D.Categorical(logits=torch.stack([zeros, zeros], -1)),
        D.Normal(torch.stack([zeros, zeros], -1), torch.stack([zeros - 1.0, zeros + 1.0], -1)),
    ),
    "moved": lambda zeros: D.TransformedDistribution(D.Gumbel(zeros, zeros - 1.0), [D.AffineTransform(1.0, 2.0)]),
}


@pytest.fixture(params=[True, False], ids=["on", "off"], autouse=True)
def validation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    on: bool = request.param
    monkeypatch.setattr(Distribution, "_validate_args", on)
    return on


class Constant(nn.Module):
    def __init__(self, make: Callable[[Tensor], Distribution]) -> None:
        super().__init__()
        self.lstm, self.make = br.nn.LSTM(1, 2, batch_first=True, dropout=0.5), make

    def forward(self, x: Tensor) -> Distribution:
        return self.make(0.0 * self.lstm(x)[0][:, -1, 0])


@pytest.mark.parametrize("make", ILLEGAL.values(), ids=ILLEGAL)
def test_parameters_out_of_range_are_refused_everywhere(make: Callable[[Tensor], Distribution]) -> None:
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        Predictive.from_draws(make(torch.zeros(2, 3)))
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        br.predict(Constant(make), torch.zeros(3, 4, 1), draws=2)
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        negative_log_likelihood(make(torch.zeros(3)), torch.ones(3))


def test_what_was_made_without_validation_stays_so(validation: bool) -> None:
    kept: dict[str, Any] = {"validate_args": False}
    assert float(Predictive.from_draws(D.Normal(torch.zeros(1, 1), 0.0, **kept)).mean) == 0.0


def test_targets_out_of_range_are_refused(validation: bool) -> None:
    with pytest.raises(ValueError, match="1 targets lie outside the support of Exponential"):
        negative_log_likelihood(D.Exponential(torch.ones(2)), torch.tensor([1.0, -5.0]))
    predictive = Predictive.from_draws(D.Exponential(torch.ones(1, 2)))
    assert predictive.log_prob(torch.tensor([1.0, -5.0])).tolist() == [-1.0, -torch.inf]


def test_nan_parameters_are_named_by_sequence() -> None:
    model = Constant(lambda zeros: D.Normal(zeros / 0.0, 1.0))
    with pytest.raises(ValueError, match=r"NaN or infinite values for the sequences 0, 1, 2"):
        br.predict(model, torch.zeros(3, 4, 1), draws=2)
