"""Variances carried through an LSTM without draws, layer by layer: a rival of the first order.

Means and variances of single units go through every operation, as if units and steps were independent of one another.
Source: Postels et al. (2019), Sampling-free epistemic uncertainty estimation using approximated variance propagation,
arXiv:1908.00598, sections 3.1 to 3.3, with the diagonal of the covariance.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

import bayesrnn as br

__all__ = ["Moments", "dropped", "linear", "lstm"]


@dataclass(frozen=True)
class Moments:
    """Mean and variance of units."""

    mean: Tensor
    variance: Tensor

    def __mul__(self, other: "Moments") -> "Moments":
        """Return the moments of the product of independent numbers."""
        a, b = self.mean.square(), other.mean.square()
        return Moments(self.mean * other.mean, self.variance * (b + other.variance) + a * other.variance)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.mean + other.mean, self.variance + other.variance)

    def through(self, value: Tensor, slope: Tensor) -> "Moments":
        """Return the moments after a function of this value and slope at the mean."""
        return Moments(value, self.variance * slope.square())

    def sigmoid(self) -> "Moments":
        """Return the moments after the logistic function."""
        value = self.mean.sigmoid()
        return self.through(value, value * (1 - value))

    def tanh(self) -> "Moments":
        """Return the moments after the hyperbolic tangent."""
        value = self.mean.tanh()
        return self.through(value, 1 - value.square())


def dropped(x: Moments, rate: float) -> Moments:
    """Return the moments of units under masks of 0 or 1 / (1 - rate)."""
    return Moments(x.mean, x.variance + (x.variance + x.mean.square()) * rate / (1 - rate))


def linear(x: Moments, weight: Tensor, bias: Tensor | None) -> Moments:
    """Return the moments after a linear map, the units being independent."""
    return Moments(nn.functional.linear(x.mean, weight, bias), nn.functional.linear(x.variance, weight.square()))


def lstm(layer: br.nn.LSTM, x: Tensor, rate: float) -> Moments:
    """Return the moments of the last output of a batch-first LSTM whose products have masks of this rate."""
    rows, steps = x.shape[:2]
    entering = [Moments(x[:, t], torch.zeros_like(x[:, t])) for t in range(steps)]
    zero = torch.zeros(rows, layer.hidden_size)
    for ih, hh, b_ih, b_hh in layer.all_weights:
        h = c = Moments(zero, zero)
        outputs = []
        for now in entering:
            gates = linear(dropped(now, rate), ih, b_ih) + linear(dropped(h, rate), hh, b_hh)
            i, f, g, o = (
                Moments(m, v) for m, v in zip(gates.mean.chunk(4, -1), gates.variance.chunk(4, -1), strict=True)
            )
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        entering = outputs
    return entering[-1]
