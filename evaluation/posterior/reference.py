"""The reference posterior (NUTS) and its mean-field approximation, both by Pyro over the same flat weights."""

from typing import Any

import pyro
import torch
from pyro import distributions as dist
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from torch import Tensor

from evaluation.posterior.energy import energy
from evaluation.posterior.problem import LENGTH_SCALE, NOISE, Flat, Problem, sequences

ACCEPT = 0.8  # of a step, on average; at .9 the trees ended before they turned, and chains disagreed


def nuts(
    problem: Problem, chains: int, warmup: int, samples: int, depth: int, seed: int, *, compiled: bool = False
) -> tuple[Tensor, dict[str, Any]]:
    """Sample the posterior; return function draws (S, points) and how well the chains mixed.

    Units can be permuted and signs flipped without changing the function, so that chains need not agree about single
    weights; R-hat and the effective sample size are those of the function values, what predictions depend on.
    """
    flat = Flat()

    density = energy(problem, flat, compiled=compiled)
    per_chain, divergent = [], 0
    with torch.random.fork_rng(devices=[]):
        for chain in range(chains):
            pyro.set_rng_seed(1000 * seed + chain)
            kernel = NUTS(
                potential_fn=lambda state: density(state["weights"]), max_tree_depth=depth, target_accept_prob=ACCEPT
            )
            start = {"weights": 0.5 * torch.randn(flat.size)}
            mcmc = MCMC(kernel, samples, warmup, initial_params=start, num_chains=1, disable_progbar=True)
            mcmc.run()
            per_chain.append(mcmc.get_samples()["weights"])
            divergent += len(mcmc.diagnostics()["divergences"]["chain 0"])
            print(f"chain {chain + 1} of {chains} done", flush=True)
    weights = torch.stack(per_chain)  # (chains, samples, weights)
    x = sequences(problem.points)
    values = torch.stack([flat.draws(chain, x) for chain in weights])
    diagnostics = {"chains": chains, "warmup": warmup, "samples": samples, "max_tree_depth": depth}
    diagnostics |= {"divergences": divergent, "weights": flat.size}
    diagnostics |= _mixing("function", values) | _mixing("weight", weights)
    return values.flatten(0, 1), diagnostics


def mean_field(problem: Problem, steps: int, draws: int, seed: int) -> Tensor:
    """Fit independent Gaussians to the weights (AutoNormal, SVI); return function draws (S, points)."""
    flat = Flat()

    def model() -> None:
        weights = pyro.sample("weights", dist.Normal(torch.zeros(flat.size), 1.0 / LENGTH_SCALE).to_event(1))
        pyro.sample("y", dist.Normal(flat(weights, problem.x), NOISE).to_event(1), obs=problem.y)

    pyro.clear_param_store()
    with torch.random.fork_rng(devices=[]):
        pyro.set_rng_seed(seed)
        guide = AutoNormal(model, init_scale=0.05)
        svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 0.02, "lrd": 0.05 ** (1 / steps)}), Trace_ELBO())
        for _ in range(steps):
            svi.step()
        weights = torch.stack([guide()["weights"].detach() for _ in range(draws)])
    pyro.clear_param_store()
    return flat.draws(weights, sequences(problem.points))


def _mixing(name: str, values: Tensor) -> dict[str, float]:
    """Worst and median split R-hat and effective sample size of (chains, samples, quantities)."""
    rhat, size = split_gelman_rubin(values, chain_dim=0, sample_dim=1), effective_sample_size(values, 0, 1)
    return {
        f"{name}_rhat_max": float(rhat.max()),
        f"{name}_rhat_median": float(rhat.median()),
        f"{name}_ess_min": float(size.min()),
        f"{name}_ess_median": float(size.median()),
    }
