"""The potential energy of the problem's posterior, with its gradient made in the same call."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from evaluation.posterior.problem import LENGTH_SCALE, PRECISION, Flat, Problem

__all__ = ["energy"]


def energy(problem: Problem, flat: Flat, *, compiled: bool = False) -> Callable[[Tensor], Tensor]:
    """Return minus the log posterior density of a vector of all weights, up to a constant; differentiable.

    Args:
        problem: The training rows.
        flat: The network.
        compiled: Whether to compile value and gradient (half a minute, and a C++ compiler): NUTS asks for them a
            million times, and most of the time of so small a network goes into calls from Python.
    """

    def value(weights: Tensor) -> Tensor:
        error = (flat(weights, problem.x) - problem.y).square().sum()
        return 0.5 * PRECISION * error + 0.5 * LENGTH_SCALE**2 * weights.square().sum()

    if not compiled:
        return value
    both = torch.compile(torch.func.grad_and_value(value))

    class Together(torch.autograd.Function):
        """Forward makes value and gradient; backward hands the gradient out."""

        @staticmethod
        def forward(ctx: Any, weights: Tensor) -> Tensor:
            gradient, minus_log_density = both(weights.detach())
            ctx.gradient = gradient
            return minus_log_density

        @staticmethod
        def backward(ctx: Any, *outer: Tensor) -> Tensor:
            return outer[0] * ctx.gradient

    return Together.apply
