"""Sums over draws from which averages of token distributions are made, while the draws go by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesrnn.inference.averaging import Averaging

STATISTICS = ("entropy", "aleatoric", "of_networks", "confidence", "correct")


@dataclass
class Averages:
    """Averages over all draws of some tokens: `log_probs` (M, S, ...) of targets, and statistics (...).

    `weights` (M, S, ...) are the draws' shares in every token, adding up to 1; None for equal ones. `log_prob` (...) is
    the logarithm of the draws' mean where that is not the arithmetic mean; else None.
    """

    log_probs: Tensor
    weights: Tensor | None = None
    log_prob: Tensor | None = None
    entropy: Tensor | None = None
    aleatoric: Tensor | None = None
    of_networks: Tensor | None = None  # entropy of each network's mean distribution, averaged over networks
    confidence: Tensor | None = None
    correct: Tensor | None = None

    @classmethod
    def joined(cls, parts: Sequence["Averages"], shape: torch.Size, weights: Tensor | None) -> "Averages":
        """Return the averages of all tokens, of `shape`, from groups of them."""

        def whole(name: str) -> Tensor | None:
            values = [getattr(part, name) for part in parts]
            return None if values[0] is None else torch.cat(values).view(shape)

        logs = torch.cat([part.log_probs for part in parts], -1).unflatten(-1, shape)
        return cls(logs, weights, **{name: whole(name) for name in ("log_prob", *STATISTICS)})

    def mean(self) -> Tensor:
        """Return the log probability (...) of targets under the mean, in float32."""
        return log_mean(self.log_probs, self.weights) if self.log_prob is None else self.log_prob.float()


def log_mean(logs: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the log of the (weighted) mean probability over members and draws, in float32."""
    flat = logs.double().flatten(0, 1)
    if weights is not None:
        return torch.logsumexp(flat + weights.flatten(0, 1).log(), 0).float()
    return (torch.logsumexp(flat, 0) - math.log(len(flat))).float()


class DrawSums:
    """What averages of a few tokens are made of, for one temperature of the draws; these come member by member."""

    def __init__(self, targets: Tensor, powers: set[float], *, statistics: bool, apart: bool) -> None:
        self.targets, self.wanted, self.statistics, self.apart = targets, powers, statistics, apart
        self._powers: dict[float, Tensor] = {}
        self._logs: list[list[Tensor]] = [[]]  # of targets, by member
        self._count = 0  # equal draws
        self._total: Tensor | None = None
        self._own: Tensor | None = None  # the sum over the present member's draws
        self._of_networks = torch.zeros(targets.shape, device=targets.device)
        self._expected = torch.zeros(targets.shape, dtype=torch.float64, device=targets.device)

    def add(self, logs: Tensor, share: Tensor | None) -> None:
        """Take in draws with log distributions (S, tokens, V) and, where they differ, shares (S, tokens)."""
        self._logs[-1].append(logs.gather(-1, self.targets.expand(logs.shape[:-1]).unsqueeze(-1))[..., 0])
        self._count += len(logs) if share is None else 0
        for power in self.wanted:
            self._powers[power] = Averaging(power).add(self._powers.get(power), logs)
        if not self.statistics:
            return
        distribution = logs.exp()
        inner = _inner(distribution, logs)
        if share is not None:
            inner, distribution = share * inner, share.to(distribution).unsqueeze(-1) * distribution
        self._own = distribution.sum(0) if self._own is None else self._own.add_(distribution.sum(0))
        self._expected -= inner.sum(0)

    def end_member(self) -> None:
        """Close the present member's sum."""
        own, self._own = self._own, None
        self._logs.append([])
        if own is not None and self.apart:
            weight = own.sum(-1)
            self._of_networks += weight * torch.special.entr(own / weight.clamp(min=1e-30)[:, None]).sum(-1)
        if own is not None:
            self._total = own if self._total is None else self._total.add_(own)

    def averages(self, averaging: Averaging) -> Averages:
        """Return the averages over all draws that came."""
        log_probs = torch.stack([torch.cat(member) for member in self._logs[:-1]])
        count = self._count or 1  # shares add up to 1
        log_prob, scored = None, None
        if not averaging.plain:
            scored = averaging.distribution(self._powers[averaging.power], count)
            log_prob = scored.gather(-1, self.targets[:, None])[:, 0]
        if self._total is None:
            return Averages(log_probs, None, log_prob)
        mean = self._total / count
        confidence, mode = (mean if scored is None else scored.exp()).max(-1)
        entropy = torch.special.entr(mean).sum(-1)
        aleatoric = torch.minimum((self._expected / count).to(entropy), entropy)
        of_networks = torch.minimum(torch.maximum(self._of_networks / count, aleatoric), entropy)
        return Averages(log_probs, None, log_prob, entropy, aleatoric, of_networks, confidence, mode == self.targets)


def _inner(distribution: Tensor, logs: Tensor) -> Tensor:
    """Return sum p log p in float64, 0 where p is 0."""
    value = torch.linalg.vecdot(distribution, logs)
    if bool(torch.isnan(value).any()):
        value = -torch.special.entr(distribution).sum(-1)
    return value.double()
