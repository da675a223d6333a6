"""The table of a forecast holds the cdf of its draws."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import Categorical, MixtureSameFamily, Normal

from bayesrnn.forecasting import distribution
from bayesrnn.predictive.distributions.mixture import MixtureDistribution


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("at_once", [1, 2**17])  # rows one by one, or all of them
def test_levels_are_those_of_scipy(wide: bool, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    loc, scale = rng.normal(size=(5, 3, 2)), rng.uniform(0.5, 2.0, (5, 3, 2))
    share = rng.uniform(0.1, 0.9, (5, 3, 2)) if wide else np.zeros((5, 3, 2))
    both = np.stack([scale, 3 * scale], -1)
    parts: torch.distributions.Distribution = Normal(*map(torch.from_numpy, (loc, scale)))
    if wide:
        weights = Categorical(probs=torch.from_numpy(np.stack([1 - share, share], -1)))
        spread = Normal(torch.from_numpy(np.stack([loc, loc], -1)), torch.from_numpy(both))
        parts = MixtureSameFamily(weights, spread)
    table = distribution.table_of(MixtureDistribution(parts), torch.eye(2, dtype=torch.float64))
    values = table.values.numpy()[:, None]
    cdf = (1 - share) * stats.norm.cdf(values, loc, scale) + share * stats.norm.cdf(values, loc, 3 * scale)
    np.testing.assert_allclose(table.levels.numpy(), cdf.mean(1).clip(1e-9, 1 - 1e-9), atol=1e-14)
