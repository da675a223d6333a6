"""Two factors: for the noise, and for what draws disagree about."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

import bayesrnn as br
from bayesrnn.predictive import Predictive
from bayesrnn.recalibration import PartScaling, from_dict


def told(rows: int = 4000, draws: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Means of draws around a center that differs from row to row, and the centers."""
    generator = torch.Generator().manual_seed(0)
    center = torch.randn(rows, generator=generator, dtype=torch.float64)
    spread = torch.linspace(0.1, 2, rows, dtype=torch.float64)
    deviations = torch.randn(draws, rows, generator=generator, dtype=torch.float64)
    return center + spread * (deviations - deviations.mean(0)) / deviations.std(0), center


@pytest.mark.parametrize(("a", "e"), [(1.5, 1.0), (1.0, 2.0), (0.6, 1.6)])
def test_factors_of_each_part_are_found_again(a: float, e: float) -> None:
    means, center = told()
    generator = torch.Generator().manual_seed(1)
    chosen = torch.randint(len(means), (means.shape[1],), generator=generator)
    place = center + e * (means[chosen, torch.arange(means.shape[1])] - center)
    target = place + 0.5 * a * torch.randn(means.shape[1], generator=generator, dtype=torch.float64)
    predictive = Predictive.from_draws(Normal(means, torch.full_like(means, 0.5)))
    recalibration = PartScaling().fit(predictive, target)
    assert recalibration.parameters["aleatoric"] == pytest.approx(a, rel=0.08)
    assert recalibration.parameters["epistemic"] == pytest.approx(e, rel=0.08)
    after = recalibration.apply(predictive)
    parts = recalibration.parameters
    assert torch.allclose(after.aleatoric, parts["aleatoric"] ** 2 * predictive.aleatoric)
    assert torch.allclose(after.epistemic, parts["epistemic"] ** 2 * predictive.epistemic)
    assert torch.allclose(after.mean, predictive.mean)
    assert float(br.metrics.coverage(after, target, level=0.8).value) == pytest.approx(0.8, abs=0.02)
    again = from_dict(recalibration.to_dict()).apply(predictive[:5])
    assert torch.allclose(again.std, after.std[:5])


def test_mixtures_of_gaussians_are_scaled_in_parts() -> None:
    means, _ = told(rows=50)
    wide = Normal(torch.stack([means, means], -1), torch.tensor([1.0, 3.0], dtype=torch.float64).expand(64, 50, 2))
    weights = Categorical(probs=torch.tensor([0.8, 0.2], dtype=torch.float64).expand(64, 50, 2))
    recalibration = PartScaling()
    recalibration.parameters = {"aleatoric": 2.0, "epistemic": 0.5}
    predictive = Predictive.from_draws(MixtureSameFamily(weights, wide))
    after = recalibration.apply(predictive)
    noise = 0.8 + 0.2 * 9
    assert torch.allclose(after.aleatoric, torch.full((50,), 4 * noise, dtype=torch.float64))
    assert torch.allclose(after.epistemic, predictive.epistemic / 4)
    assert math.isfinite(float(after.quantile(0.9).sum()))


def test_what_has_no_parts_is_refused() -> None:
    samples = Predictive.from_samples(torch.randn(20, 40))
    with pytest.raises(ValueError, match="does not hold the draws"):
        PartScaling().fit(samples, torch.zeros(40))
