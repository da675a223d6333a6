"""Predictives known through samples."""

from typing import Any

import pytest
import torch
from torch import distributions as D

from bayesrnn.predictive import Predictive


def test_samples_interval_does_not_under_cover():
    for size in (19, 50):
        x = torch.randn(size, 20_000, dtype=torch.double)
        low, high = Predictive.from_samples(x).interval(0.9)
        y = torch.randn(20_000, dtype=torch.double)
        assert ((low <= y) & (y <= high)).double().mean().item() == pytest.approx(0.9, abs=0.01)


def test_samples_refuse_what_they_cannot_resolve():
    p = Predictive.from_samples(torch.randn(10, 3))
    with pytest.raises(ValueError, match="10 samples cannot resolve"):
        p.interval(0.9)
    with pytest.raises(ValueError, match="no density"):
        p.log_prob(torch.zeros(3))
    with pytest.raises(ValueError, match="aleatoric and which epistemic"):
        _ = p.epistemic
    assert "lo-95" not in p.to_frame()
    with pytest.raises(ValueError, match="single draw"):
        Predictive.from_samples(torch.randn(1, 3))


@pytest.mark.parametrize("distribution", [D.Normal, D.Gamma])
def test_a_sample_is_a_function_of_its_seed(distribution: Any) -> None:
    p = Predictive.from_draws(distribution(torch.rand(6, 5) + 1, torch.rand(6, 5) + 1))
    torch.manual_seed(1)
    first = p.sample(7, seed=3)
    torch.manual_seed(2)
    assert torch.equal(first, p.sample(7, seed=3))
    assert not torch.equal(first, p.sample(7, seed=4))
