"""Draws of several networks: which part of their spread lies between masks, and which between networks."""

import torch
from torch import Tensor


def between(draws: Tensor, networks: int) -> tuple[Tensor, Tensor]:
    r"""Return the variance within and between M networks, of draws (S * M, B, ...) with index s * M + m.

    Between masks $\frac1M \sum_m \mathrm{Var}_s f_{ms}$, divided by S - 1; between networks
    $\mathrm{Var}_m \frac1S \sum_s f_{ms}$, divided by M - 1. A part that needs two values and has one is zero.
    """
    each = draws.unflatten(0, (-1, networks))
    return _variance(each).mean(0), _variance(each.mean(0))


def networks_kept(draws: Tensor, networks: int) -> int:
    """Return the number of networks if the chosen draws hold all networks of each draw in order; else 1."""
    if networks == 1 or draws.numel() % networks:
        return 1
    groups = draws.view(-1, networks)
    whole = bool(((groups - groups[:, :1]) == torch.arange(networks, device=draws.device)).all())
    return networks if whole and not bool((groups[:, 0] % networks).any()) else 1


def _variance(values: Tensor) -> Tensor:
    return values.var(0, correction=1) if len(values) > 1 else torch.zeros_like(values[0])
