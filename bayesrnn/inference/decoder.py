"""Token statistics from features: the product with the vocabulary is computed in pieces."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesrnn.inference.averaging import Averaging
from bayesrnn.inference.draw_sums import STATISTICS, Averages, DrawSums, log_mean
from bayesrnn.inference.token_stream import Member, check_no_nan
from bayesrnn.predictive import Origin, TokenPredictive

_MOST_ROWS = 1024  # rows of one vocabulary product: more are no faster, and leave the caches


class Decoder:
    """Turns the features of members into averages over their draws, in several ways, within a budget of memory."""

    def __init__(self, members: list[Member], max_memory: int, averagings: list[Averaging]) -> None:
        self.members, self.max_memory, self.averagings = members, max_memory, averagings

    def averaged(
        self, features: list[list[Tensor]], targets: Tensor, weights: Tensor | None = None, *, statistics: bool = True
    ) -> list[Averages]:
        """Return the averages over all draws, per averaging; `features` are (S, B, T, F) by member and chunk."""
        flat, size = targets.flatten(), self._rows()
        together = max(len(chunk) for chunks in features for chunk in chunks)
        group_size = max(min(size // min(together, 8), flat.numel()), 1)
        shares = None if weights is None else weights.flatten(2)
        groups = [
            self._group(
                [[c.flatten(1, -2)[:, group] for c in chunks] for chunks in features],
                flat[group],
                size,
                None if shares is None else shares[..., group],
                statistics,
            )
            for group in _groups(flat.numel(), group_size)
        ]
        return [Averages.joined(parts, targets.shape, weights) for parts in zip(*groups, strict=True)]

    def _group(
        self, features: list[list[Tensor]], targets: Tensor, size: int, weights: Tensor | None, statistics: bool
    ) -> list[Averages]:
        """All draws of a few tokens: only mean distributions (tokens, V) are kept while the draws go by."""
        powers: dict[float, set[float]] = {a.of_draws: set() for a in self.averagings}
        for averaging in self.averagings:
            if not averaging.plain:
                powers[averaging.of_draws].add(averaging.power)
        options = {"statistics": statistics, "apart": len(self.members) > 1}
        sums = {of_draws: DrawSums(targets, some, **options) for of_draws, some in powers.items()}
        sizes: list[int] = []
        for place, (member, chunks) in enumerate(zip(self.members, features, strict=True)):
            start = 0
            for part in (p for chunk in chunks for p in chunk.split(max(size // targets.numel(), 1))):
                logits = logits_of(member, part, targets)
                sizes.append(logits.shape[-1])
                check_one_vocabulary(sizes)
                share = None if weights is None else weights[place, start : start + len(part)]
                for of_draws, some in sums.items():
                    some.add(torch.log_softmax(logits if of_draws == 1.0 else logits / of_draws, -1), share)
                start += len(part)
            for some in sums.values():
                some.end_member()
        return [sums[averaging.of_draws].averages(averaging) for averaging in self.averagings]

    def _rows(self) -> int:
        """Rows of the vocabulary product that fit: each needs its logits, its distribution and room for a temporary."""
        width = max(int(getattr(m.model, "vocabulary_size", 0)) for m in self.members) or 50_000
        return int(max(1, min(_MOST_ROWS, self.max_memory // 2 // (16 * width))))


def logits_of(member: Member, features: Tensor, targets: Tensor) -> Tensor:
    """Return the logits of features, in a vocabulary that holds the targets."""
    logits = member.logits(features).float()
    highest = int(targets.max())
    if highest >= logits.shape[-1]:
        raise ValueError(
            f"the stream holds the token {highest}, but the model's vocabulary has {logits.shape[-1]} tokens. "
            "Encode the text with the vocabulary that the model was trained with."
        )
    return logits


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
        names = STATISTICS if statistics else ()
        room = {
            n: torch.zeros(shape, dtype=torch.bool if n == "correct" else torch.float32, device=device) for n in names
        }
        zeros = torch.zeros(shape, device=device)
        return cls(zeros, zeros.clone(), torch.zeros((blocks, *shape), device=device), room)

    def put_plain(self, span: slice, averages: Averages) -> None:
        """Note the pass without masks."""
        self.plain[:, span] = averages.mean()

    def put(self, span: slice, averages: Averages, blocks: list[slice]) -> None:
        """Note the draws of one window: probabilities are averaged, then the logarithm is taken."""
        self.log_prob[:, span] = averages.mean()
        for r, block in enumerate(blocks):
            self.blocks[r][:, span] = log_mean(averages.log_probs[:, block])
        for name, values in self.statistics.items():
            values[:, span] = getattr(averages, name)

    def predictive(self, targets: Tensor, exists: Tensor, origin: Origin) -> TokenPredictive:
        """Return the result."""
        deterministic = origin.sampling == "deterministic"
        chosen = self.plain if deterministic else self.log_prob
        check_no_nan(chosen[exists])
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


def check_one_vocabulary(sizes: list[int]) -> None:
    """Refuse an ensemble whose members give distributions over vocabularies of different sizes."""
    if len(set(sizes)) > 1:
        raise ValueError(
            f"the members of this ensemble have vocabularies of {', '.join(map(str, sizes))} tokens: their "
            "distributions cannot be averaged, and a token number means another word in each. Train all members with "
            "one vocabulary."
        )


def _groups(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
