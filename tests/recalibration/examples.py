"""Recalibrations and predictives that the tests share."""

import torch
from torch import distributions as D

from bayesrnn import recalibration as R
from bayesrnn.predictive import Predictive

CONTINUOUS = [
    R.VarianceScaling,
    R.QuantileRecalibration,
    R.SplitConformal,
    R.ConformalizedQuantiles,
    R.AdaptiveConformal,
]


CLASSES = [R.Temperature, R.VectorScaling, R.Isotonic]


def gaussian(rows, spread=1.0, shift=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(rows, dtype=torch.double, generator=generator)
    std = 0.5 + torch.rand(rows, dtype=torch.double, generator=generator)
    y = mean + shift + spread * std * torch.randn(rows, dtype=torch.double, generator=generator)
    return Predictive.from_gaussian(mean, std), y


def classes(rows, temperature=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(8, rows, 3, dtype=torch.double, generator=generator)
    c = Predictive.from_draws(D.Categorical(logits=logits))
    p = torch.log_softmax(c.log_mean / temperature, -1).exp()
    return c, torch.multinomial(p, 1, generator=generator)[:, 0]
