"""Token statistics from features: the product with the vocabulary is computed in pieces."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesrnn.inference.averaging import Averaging
from bayesrnn.inference.token_stream import Member
from bayesrnn.predictive import Origin, TokenPredictive

_STATISTICS = ("entropy", "aleatoric", "of_networks", "confidence", "correct")
_MOST_ROWS = 1024  # rows of one vocabulary product: more are no faster, and leave the caches


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


class Decoder:
    """Turns the features of members into averages over their draws, within a budget of memory."""

    def __init__(
        self, members: list[Member], temperature: float, max_memory: int, averaging: Averaging | None = None
    ) -> None:
        self.members, self.temperature, self.max_memory = members, temperature, max_memory
        self.averaging = averaging or Averaging()

    def plain(self, features: list[Tensor], targets: Tensor) -> Tensor:
        """Return the log probability (B, T) of targets, probabilities averaged over the members without masks."""
        flat, size = targets.flatten(), self._rows(targets)
        parts = []
        for group in _groups(flat.numel(), size):
            logs, sizes, total = [], [], None
            for member, part in zip(self.members, features, strict=True):
                distribution = self._log_distribution(member, part.flatten(0, -2)[group], flat)
                sizes.append(distribution.shape[-1])
                check_one_vocabulary(sizes)
                logs.append(distribution.gather(-1, flat[group, None])[:, 0])
                if not self.averaging.plain:
                    total = self.averaging.add(total, distribution[None])
            parts.append(torch.logsumexp(torch.stack(logs), 0) - math.log(len(logs)))
            if total is not None:
                mean = self.averaging.distribution(total, len(logs))
                parts[-1] = mean.gather(-1, flat[group, None])[:, 0]
        return torch.cat(parts).view(targets.shape)

    def averaged(
        self, features: list[list[Tensor]], targets: Tensor, weights: Tensor | None = None, *, statistics: bool = True
    ) -> Averages:
        """Return the averages over all draws; `features` are (S, B, T, F) by member and chunk of draws."""
        flat, size = targets.flatten(), self._rows(targets)
        group_size = max(min(size // 8, flat.numel()), 1)
        shares = None if weights is None else weights.flatten(2)
        parts = [
            self._group(
                [[c.flatten(1, -2)[:, group] for c in chunks] for chunks in features],
                flat[group],
                size,
                None if shares is None else shares[..., group],
                statistics,
            )
            for group in _groups(flat.numel(), group_size)
        ]
        log_probs = torch.cat([p.log_probs for p in parts], -1).unflatten(-1, targets.shape)
        log_prob = None
        if not self.averaging.plain:
            log_prob = torch.cat([p.log_prob for p in parts if p.log_prob is not None]).view(targets.shape)
        if not statistics:
            return Averages(log_probs, weights, log_prob)
        joined = {name: torch.cat([getattr(p, name) for p in parts]).view(targets.shape) for name in _STATISTICS}
        return Averages(log_probs, weights, log_prob, **joined)

    def _group(
        self, features: list[list[Tensor]], targets: Tensor, size: int, weights: Tensor | None, statistics: bool
    ) -> Averages:
        """All draws of a few tokens: only mean distributions (tokens, V) are kept while the draws go by."""
        total: Tensor | None = None
        powers: Tensor | None = None
        of_networks = torch.zeros(targets.shape, device=targets.device)
        expected = torch.zeros(targets.shape, dtype=torch.float64, device=targets.device)
        member_logs: list[list[Tensor]] = []
        for place, (member, chunks) in enumerate(zip(self.members, features, strict=True)):
            member_logs.append([])
            own: Tensor | None = None
            start = 0
            for part in (p for chunk in chunks for p in chunk.split(max(size // targets.numel(), 1))):
                logs = self._log_distribution(member, part, targets)
                member_logs[-1].append(logs.gather(-1, targets.expand(logs.shape[:-1]).unsqueeze(-1))[..., 0])
                if not self.averaging.plain:
                    powers = self.averaging.add(powers, logs)
                if statistics:
                    distribution = logs.exp()
                    inner = _inner(distribution, logs)
                    if weights is not None:
                        share = weights[place, start : start + len(part)]
                        inner, distribution = share * inner, share.to(distribution).unsqueeze(-1) * distribution
                    own = distribution.sum(0) if own is None else own.add_(distribution.sum(0))
                    expected -= inner.sum(0)
                start += len(part)
            if own is not None and len(self.members) > 1:
                weight = own.sum(-1)
                of_networks += weight * torch.special.entr(own / weight.clamp(min=1e-30)[:, None]).sum(-1)
            if own is not None:
                total = own if total is None else total.add_(own)
        log_probs = torch.stack([torch.cat(member) for member in member_logs])
        count = log_probs.shape[0] * log_probs.shape[1] if weights is None else 1
        log_prob, scored = None, None
        if powers is not None:
            scored = self.averaging.distribution(powers, count)
            log_prob = scored.gather(-1, targets[:, None])[:, 0]
        if total is None:
            return Averages(log_probs, None, log_prob)
        mean = total / count
        confidence, mode = (mean if scored is None else scored.exp()).max(-1)
        entropy = torch.special.entr(mean).sum(-1)
        aleatoric = torch.minimum((expected / count).to(entropy), entropy)
        of_networks = torch.minimum(torch.maximum(of_networks / count, aleatoric), entropy)
        return Averages(log_probs, None, log_prob, entropy, aleatoric, of_networks, confidence, mode == targets)

    def _log_distribution(self, member: Member, features: Tensor, targets: Tensor) -> Tensor:
        logits = member.logits(features).float()
        highest = int(targets.max())
        if highest >= logits.shape[-1]:
            raise ValueError(
                f"the stream holds the token {highest}, but the model's vocabulary has {logits.shape[-1]} tokens. "
                "Encode the text with the vocabulary that the model was trained with."
            )
        if self.temperature != 1.0:
            logits = logits / self.temperature
        return torch.log_softmax(logits, -1)

    def _rows(self, targets: Tensor) -> int:
        """Rows of the vocabulary product that fit: each needs its logits, its distribution and room for a temporary."""
        width = max(int(getattr(m.model, "vocabulary_size", 0)) for m in self.members) or 50_000
        return int(max(1, min(_MOST_ROWS, self.max_memory // 2 // (16 * width))))


@dataclass
class Scores:
    """Statistics of every token, filled in window by window."""

    plain: Tensor
    log_prob: Tensor
    blocks: Tensor
    statistics: dict[str, Tensor]

    @classmethod
    def empty(cls, shape: tuple[int, ...], blocks: int, statistics: bool, device: torch.device) -> "Scores":
        """Return room for tokens of `shape` (B, T)."""
        names = _STATISTICS if statistics else ()
        made = {
            n: torch.zeros(shape, dtype=torch.bool if n == "correct" else torch.float32, device=device) for n in names
        }
        zeros = torch.zeros(shape, device=device)
        return cls(zeros, zeros.clone(), torch.zeros((blocks, *shape), device=device), made)

    def put_plain(self, span: slice, log_prob: Tensor) -> None:
        """Note the pass without masks."""
        self.plain[:, span] = log_prob

    def put(self, span: slice, averages: Averages, blocks: list[slice]) -> None:
        """Note the draws of one window: probabilities are averaged, then the logarithm is taken."""
        logs = averages.log_probs.double()  # (M, S, B, T)
        log_prob = averages.log_prob
        self.log_prob[:, span] = _log_mean(logs, averages.weights) if log_prob is None else log_prob.float()
        for r, block in enumerate(blocks):
            self.blocks[r][:, span] = _log_mean(logs[:, block])
        for name, values in self.statistics.items():
            values[:, span] = getattr(averages, name)

    def predictive(self, targets: Tensor, exists: Tensor, origin: Origin) -> TokenPredictive:
        """Return the result."""
        deterministic = origin.sampling == "deterministic"
        chosen = self.plain if deterministic else self.log_prob
        if bool(torch.isnan(chosen[exists]).any()):
            raise ValueError(
                "the model's log probabilities are NaN. Its weights hold NaN or diverged in training: train again with "
                "a smaller learning rate or gradient clipping."
            )
        extra = dict(self.statistics)
        if extra:
            extra["epistemic"] = (extra["entropy"] - extra["aleatoric"]).clamp(min=0)
            apart = (extra["entropy"] - extra.pop("of_networks")).clamp(min=0)
            extra |= {"between_networks": apart} if origin.networks > 1 else {}
        return TokenPredictive(
            chosen,
            origin,
            mask=exists,
            deterministic_log_prob=self.plain,
            block_log_prob=None if deterministic or len(self.blocks) < 2 else self.blocks,
            target=targets,
            **extra,
        )


def _log_mean(logs: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the log of the (weighted) mean probability over members and draws, in float32."""
    flat = logs.flatten(0, 1)
    if weights is not None:
        return torch.logsumexp(flat + weights.flatten(0, 1).log(), 0).float()
    return (torch.logsumexp(flat, 0) - math.log(len(flat))).float()


def check_one_vocabulary(sizes: list[int]) -> None:
    """Refuse an ensemble whose members give distributions over vocabularies of different sizes."""
    if len(set(sizes)) > 1:
        raise ValueError(
            f"the members of this ensemble have vocabularies of {', '.join(map(str, sizes))} tokens: their "
            "distributions cannot be averaged, and a token number means another word in each. Train all members with "
            "one vocabulary."
        )


def _inner(distribution: Tensor, logs: Tensor) -> Tensor:
    """Return sum p log p in float64, 0 where p is 0."""
    value = torch.linalg.vecdot(distribution, logs)
    if bool(torch.isnan(value).any()):
        value = -torch.special.entr(distribution).sum(-1)
    return value.double()


def _groups(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
