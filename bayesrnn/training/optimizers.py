"""Optimizers, one step of a recipe with its gradient clipped, and averages of weights."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bayesrnn.training.recipes import SGD, AdamW, ExponentialAverage, NonMonotoneAverage

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def make_optimizer(
    model: nn.Module, factory: OptimizerFactory | None, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return AdamW, or what the factory makes, over the parameters of the model that want gradients."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError("the model has no parameter that requires a gradient: there is nothing to train.")
    if factory is not None:
        return _made(factory, parameters)
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)


def _made(factory: OptimizerFactory, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    wanted = "optimizer must be a function from parameters to an optimizer of them, such as torch.optim.SGD,"
    if not callable(factory):
        raise TypeError(f"{wanted} but a {type(factory).__name__} was given. Wrap it: lambda p: torch.optim.SGD(p).")
    optimizer = factory(parameters)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"{wanted} but it returned a {type(optimizer).__name__}.")
    own = {id(p) for p in parameters}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ValueError(f"{wanted} but what it returned holds no parameter of this model: nothing would be trained.")
    return optimizer


class Stepper:
    """A torch optimizer that clips the gradient; SGD clips by a smaller rate, which saves a pass over the weights."""

    def __init__(self, parameters: list[nn.Parameter], spec: SGD | AdamW, clip: float) -> None:
        self.parameters, self.spec, self.clip = parameters, spec, clip
        self.optimizer: torch.optim.Optimizer
        if isinstance(spec, AdamW):
            self.optimizer = torch.optim.AdamW(parameters, betas=spec.betas, weight_decay=spec.weight_decay, fused=True)
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=1.0, fused=True)

    def step(self, rate: float) -> float:
        """Take one step with the gradients that the parameters hold, and return their norm.

        Raises:
            ValueError: If the norm is not finite; the weights are then as they were.
        """
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients))
        if not norm < float("inf"):
            raise ValueError(
                f"the gradient's norm is {norm}: the training diverged. Take a smaller learning rate or clip; the last "
                "checkpoint is untouched."
            )
        scale = min(1.0, self.clip / (norm + 1e-6))
        group = self.optimizer.param_groups[0]
        if isinstance(self.spec, SGD):
            group["lr"] = rate * scale
            decay = self.spec.weight_decay * (rate if self.spec.decay_follows_rate else 1.0)
            group["weight_decay"] = decay / group["lr"] if decay else 0.0  # torch multiplies it by the rate again
        else:
            group["lr"] = rate
            if scale < 1.0:
                torch._foreach_mul_(gradients, scale)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm


class Average:
    """The running average of a model's weights, once it has begun."""

    def __init__(self, model: nn.Module, spec: NonMonotoneAverage | ExponentialAverage | None) -> None:
        self.model, self.spec = model, spec
        self.count = 0
        self.tensors: dict[str, Tensor] = {}
        self.running = isinstance(spec, ExponentialAverage)

    def judge(self, validation: list[float]) -> None:
        """Begin a non-monotone average if validation is worse than its best before the latest `patience` epochs."""
        if isinstance(self.spec, NonMonotoneAverage) and not self.running:
            earlier = validation[: -self.spec.patience - 1]
            self.running = bool(earlier) and validation[-1] > min(earlier)

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights after a step to the average."""
        if not self.running:
            return
        self.count += 1
        weight = 1.0 / self.count
        if isinstance(self.spec, ExponentialAverage):  # (1 - b) / (1 - b^n): exact mean of what was seen so far
            weight = (1.0 - self.spec.decay) / (1.0 - self.spec.decay**self.count)
        for name, value in self.model.named_parameters():
            if name in self.tensors:
                self.tensors[name].lerp_(value, weight)
            else:
                self.tensors[name] = value.detach().clone()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average into the model for the time of the block."""
        if not self.count:
            yield
            return
        parameters = dict(self.model.named_parameters())
        own = {name: value.detach().clone() for name, value in parameters.items()}
        try:
            self.put()
            yield
        finally:
            with torch.no_grad():
                for name, value in own.items():
                    parameters[name].copy_(value)

    @torch.no_grad()
    def put(self) -> None:
        """Put the average into the model, for good."""
        parameters = dict(self.model.named_parameters())
        for name, value in self.tensors.items():
            parameters[name].copy_(value)
