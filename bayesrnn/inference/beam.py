"""Beam search: the best unfinished sequences of several searches, grown token by token."""

from typing import Any

import torch
from torch import Tensor


class Beams:
    r"""The `size` best unfinished sequences of each search, and the best finished one.

    A sequence that ends after L tokens scores $\frac{1}{L^a}\sum_t \log p_t$. It is finished if its end is among the
    `size` best continuations; a search is over once `size` sequences are. Padding and start are never chosen.

    Args:
        searches: How many searches; none changes another.
        size: Unfinished sequences per search; 1 is the greedy search.
        power: The exponent a.
        most: Most tokens of a sequence of each search, with the end; then every unfinished sequence ends: (searches,).
        special: Has the tokens `padding`, `start` and `end`.
        device: Where the search lives.
    """

    def __init__(
        self, searches: int, size: int, power: float, most: Tensor, special: Any, device: torch.device
    ) -> None:
        self.searches, self.size, self.power, self.most, self.special = searches, size, power, most, special
        self.tokens = torch.full((searches, size, 0), special.padding, dtype=torch.long, device=device)
        self.last = torch.full((searches * size,), special.start, dtype=torch.long, device=device)
        self.sums = torch.full((searches, size), -torch.inf, device=device)
        self.sums[:, 0] = 0.0  # all begin alike: one of them is enough
        self.count = torch.zeros(searches, dtype=torch.long, device=device)
        self.highest = torch.full((searches,), -torch.inf, device=device)
        self.finished = torch.full((searches, int(most.max())), special.padding, dtype=torch.long, device=device)

    @property
    def steps(self) -> int:
        """Tokens of the unfinished sequences."""
        return self.tokens.shape[2]

    @property
    def done(self) -> bool:
        """Whether every search is over."""
        return not bool(self._open().any())

    def grow(self, logs: Tensor) -> Tensor:
        """Take log probabilities of the next token, (searches * size, V); return which row each row goes on from.

        Rows are search * size + place.
        """
        special, vocabulary = self.special, logs.shape[-1]
        total = self.sums[..., None] + logs.view(self.searches, self.size, vocabulary)
        total[..., [special.padding, special.start]] = -torch.inf
        last = torch.where(self.most[:, None] == self.steps + 1, total[..., special.end], -torch.inf)
        self._finish(last, torch.arange(self.size, device=logs.device).expand_as(self.sums))
        sums, best = total.flatten(1).topk(2 * self.size, 1)  # at most `size` of them end
        ends = best % vocabulary == special.end
        among = torch.where(ends, sums, -torch.inf)[:, : self.size]
        self._finish(among, best[:, : self.size] // vocabulary)
        order = torch.argsort(ends.to(torch.uint8), dim=1, stable=True)[:, : self.size]
        self.sums, best = sums.gather(1, order), best.gather(1, order)
        place, token = best // vocabulary, best % vocabulary
        grown = self.tokens.gather(1, place[..., None].expand(-1, -1, self.steps))
        self.tokens, self.last = torch.cat([grown, token[..., None]], 2), token.flatten()
        return (torch.arange(self.searches, device=logs.device)[:, None] * self.size + place).flatten()

    def best(self) -> Tensor:
        """Return the best finished sequences, (searches, L), with padding behind the end."""
        return self.finished[:, : int((self.finished != self.special.padding).sum(1).max())]

    def _open(self) -> Tensor:
        """Return which searches go on, (searches,)."""
        return (self.count < self.size) & (self.steps < self.most)

    def _finish(self, sums: Tensor, places: Tensor) -> None:
        """End the sequences at `places` (searches, n), where their sums with the end (searches, n) are finite."""
        open_ = self._open()
        self.count += torch.isfinite(sums).sum(1) * open_
        score, best = (sums / (self.steps + 1) ** self.power).max(1)
        rows = (open_ & (score > self.highest)).nonzero().flatten()
        self.highest[rows] = score[rows]
        self.finished[rows] = self.special.padding
        self.finished[rows, : self.steps] = self.tokens[rows, places[rows, best[rows]]]
        self.finished[rows, self.steps] = self.special.end
