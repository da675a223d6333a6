"""Networks trained on the same rows: dropout of every kind, an ensemble, one deterministic net."""

from collections.abc import Callable

import torch
from torch import Tensor

import bayesrnn as br
from bayesrnn import objective
from bayesrnn.nn import ConcreteDropout
from evaluation.posterior.problem import LENGTH_SCALE, PRECISION, RATE, Net, Problem, sequences

LIKELIHOOD = br.likelihoods.homoscedastic_gaussian(PRECISION)
Method = Callable[[Problem, int, int, int], Tensor]
"""(problem, training steps, draws, seed) -> function draws (S, points)."""


def dropout(scheme: br.schemes.Scheme) -> Method:
    """MC dropout of a scheme, with the weight decay that its KL asks for."""

    def run(problem: Problem, steps: int, draws: int, seed: int) -> Tensor:
        net = trained(problem, scheme, steps, seed)
        return br.predict(net, sequences(problem.points), draws=draws, seed=seed, likelihood=LIKELIHOOD).draws

    return run


def deterministic(problem: Problem, steps: int, draws: int, seed: int) -> Tensor:
    """One network without masks: the maximum of the posterior density."""
    return ensemble(1)(problem, steps, draws, seed)


def ensemble(members: int) -> Method:
    """Several maxima, each from its own start."""

    def run(problem: Problem, steps: int, draws: int, seed: int) -> Tensor:
        x = sequences(problem.points)
        nets = [trained(problem, br.schemes.none(), steps, 100 * seed + k) for k in range(members)]
        with torch.no_grad():
            return torch.stack([net(x).squeeze(-1) for net in nets])

    return run


def concrete(wrapped: ConcreteDropout, problem: Problem, draws: int, seed: int) -> Tensor:
    """Function draws (S, points) of a network whose rates were learned."""
    return br.predict(wrapped, sequences(problem.points), draws=draws, seed=seed, likelihood=LIKELIHOOD).draws


def learned(problem: Problem, steps: int, seed: int) -> ConcreteDropout:
    """Train weights and rates together, by the full variational objective."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Net(br.schemes.gal(hidden=RATE, output=RATE, gates="tied"))
        wrapped = ConcreteDropout(net).train()
        optimizer = torch.optim.Adam(wrapped.parameters(), lr=0.01)
        schedule = _schedule(optimizer, steps)
        for _ in range(steps):
            nll = -LIKELIHOOD(wrapped(problem.x)).log_prob(problem.y).mean()
            divergence = objective.model_kl(net, LENGTH_SCALE, rates=wrapped.rates())
            optimizer.zero_grad()
            objective.negative_elbo(nll, divergence, problem.size).backward()
            optimizer.step()
            schedule.step()
    return wrapped.eval()


def trained(problem: Problem, scheme: br.schemes.Scheme, steps: int, seed: int) -> Net:
    """Train on the mean squared error with coupled decay 2 l^2 / (N tau (1-p)) behind a mask of rate p."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Net(scheme).train()
        optimizer = torch.optim.Adam(_groups(net, scheme, problem.size), lr=0.01)
        schedule = _schedule(optimizer, steps)
        for _ in range(steps):
            optimizer.zero_grad()
            (net(problem.x).squeeze(-1) - problem.y).square().mean().backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def _groups(net: Net, scheme: br.schemes.Scheme, size: int) -> list[dict[str, object]]:
    """Decay by rate; the naive scheme, which is no distribution over weights, gets what the tied one gets."""
    rates = {"gru.weight_ih_l0": scheme.rate("input"), "gru.weight_hh_l0": scheme.rate("hidden")}
    rates["head.weight"] = scheme.rate("output")
    decay = {
        n: objective.weight_decay(LENGTH_SCALE, rates.get(n, 0.0), size, PRECISION)
        for n in dict(net.named_parameters())
    }
    return [{"params": [p], "weight_decay": decay[n]} for n, p in net.named_parameters()]


def _schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=1e-4)


METHODS: dict[str, Method] = {
    "MC dropout, tied, .05": dropout(br.schemes.gal(hidden=0.05, output=0.05, gates="tied")),
    "MC dropout, tied, .1": dropout(br.schemes.gal(hidden=RATE, output=RATE, gates="tied")),
    "MC dropout, tied, .25": dropout(br.schemes.gal(hidden=0.25, output=0.25, gates="tied")),
    "MC dropout, untied, .1": dropout(br.schemes.gal(hidden=RATE, output=RATE)),
    "MC dropout, naive, .1": dropout(br.schemes.naive(hidden=RATE, output=RATE)),
    "ensemble of 5": ensemble(5),
    "deterministic": deterministic,
}
