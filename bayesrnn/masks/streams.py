"""Which units fall: bits that are a function of (seed, draw, sequence, site, unit), never of hidden state.

The bits come from a counter. The SplitMix64 sequence of Steele, Lea & Flood (2014) starts at a key made of seed, site,
sequence and draw, and is read at the position of the unit. So draw k of sequence i has the same bits for any batch,
order, chunk, worker or device.

Two streams share one interface:

- `IndependentStream`: the draws of a unit are independent.
- `StratifiedStream`: within a block of 16 draws, the uniforms of a unit are one per stratum [j/16, (j+1)/16). Their
  order is drawn per unit from the affine maps of the field with 16 elements. This family is 2-transitive, so the mean
  over draws varies as under a uniformly random order, at the price of one hash per unit and block. Each draw is still
  an exact Bernoulli vector with independent units. Draws of one block depend on each other; blocks are independent.
"""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from bayesrnn._checks import check_choice, check_seed

BLOCK = 16
"""Draws in one stratified block; blocks are independent of each other."""


def _signed(value: int) -> int:
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


_GAMMA, _MULTIPLIER_1, _MULTIPLIER_2 = (
    _signed(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def _mix_(x: Tensor) -> Tensor:
    """Finalize SplitMix64 in place; >> is arithmetic in torch, so the sign bits are masked off."""
    for shift, multiplier in ((30, _MULTIPLIER_1), (27, _MULTIPLIER_2)):
        x.bitwise_xor_((x >> shift).bitwise_and_((1 << (64 - shift)) - 1)).mul_(multiplier)
    return x.bitwise_xor_((x >> 31).bitwise_and_((1 << 33) - 1))


@dataclass(frozen=True)
class MaskStream(ABC):
    """A source of masks addressed by (seed, draw, sequence, site, unit).

    Raises:
        ValueError: If the seed is not in [0, 2**63).
    """

    seed: int

    def __post_init__(self) -> None:
        check_seed(self.seed)

    @abstractmethod
    def dropped(self, site: str, draws: Tensor, sequences: Tensor, units: Tensor | int, rate: float) -> Tensor:
        """Return which units fall, as booleans of shape (S draws, B rows, U units).

        Args:
            site: Name of the place, such as ``encoder.hidden_l0``.
            draws: Draw numbers, int64 of shape (S,).
            sequences: Sequence ids, int64 of shape (B,).
            units: How many units, or their numbers: int64 of shape (U,), (B, U) or (S, B, U).
            rate: Probability of dropping.
        """

    @abstractmethod
    def attained(self, rate: float) -> float:
        """Return the rate at which units fall: `rate` up to the resolution of the bits, 2**-33 at most."""

    def _key(self, site: str, kind: str) -> int:
        digest = hashlib.blake2b(f"{kind}/{self.seed}/{site}".encode(), digest_size=8).digest()
        return _signed(int.from_bytes(digest, "little"))

    def _hashes(self, key: int, periods: Tensor, sequences: Tensor, units: Tensor) -> Tensor:
        """Return one 64-bit hash for each (period, row, unit); a period is a draw or a block of draws."""
        rows = _mix_(sequences * _GAMMA + key)
        keys = _mix_(periods.unsqueeze(1) * _GAMMA + rows)
        return _mix_(keys.unsqueeze(-1) + units * _GAMMA)


class IndependentStream(MaskStream):
    """Draws are independent of each other."""

    def dropped(self, site: str, draws: Tensor, sequences: Tensor, units: Tensor | int, rate: float) -> Tensor:
        """Return which units fall; see `MaskStream.dropped`."""
        key = self._key(site, "independent")
        if isinstance(units, int):  # two units share one hash: its halves
            pairs = torch.arange((units + 1) // 2, device=draws.device)
            return _below(self._hashes(key, draws, sequences, pairs).view(torch.int32)[..., :units], rate)
        hashes = self._hashes(key, draws, sequences, units >> 1)
        return _below((hashes >> ((units & 1) * 32)).to(torch.int32), rate)

    def attained(self, rate: float) -> float:
        """Return the rate at which units fall; see `MaskStream.attained`."""
        return _whole(rate) / 2**32


class StratifiedStream(MaskStream):
    """Draws of a block of 16 cover the strata of each unit's uniform evenly."""

    def dropped(self, site: str, draws: Tensor, sequences: Tensor, units: Tensor | int, rate: float) -> Tensor:
        """Return which units fall; see `MaskStream.dropped`."""
        if isinstance(units, int):
            units = torch.arange(units, device=draws.device)
        blocks, index = draws // BLOCK, None
        if units.dim() < 3:  # all draws of a block ask for the same units: one hash serves them
            blocks, index = torch.unique(blocks, return_inverse=True)
        halves = self._hashes(self._key(site, "stratified"), blocks, sequences, units).view(torch.int32)
        order, jitter = halves[..., 0::2], halves[..., 1::2]
        lower, fraction = divmod(rate * BLOCK, 1.0)
        table = _patterns(int(lower)).to(draws.device)
        maps = table.shape[1]
        place = (order & 0x7FFFFFFF).remainder_(maps).add_(_below(jitter, fraction) * maps)
        patterns = table.reshape(-1).index_select(0, place.reshape(-1)).view(place.shape)
        bit = (1 << (draws % BLOCK)).to(torch.int32)[:, None, None]
        chosen = patterns if index is None or blocks.numel() == 1 else patterns[index]
        return (chosen & bit) != 0

    def attained(self, rate: float) -> float:
        """Return the rate at which units fall; see `MaskStream.attained`."""
        lower, fraction = divmod(rate * BLOCK, 1.0)
        return (lower + _whole(fraction) / 2**32) / BLOCK


def stream(sampling: str, seed: int) -> MaskStream:
    """Return the stream named `independent` or `stratified`.

    Example:
        >>> stream("independent", 0).dropped("x", torch.arange(2), torch.arange(3), 4, 0.5).shape
        torch.Size([2, 3, 4])
    """
    streams = {"stratified": StratifiedStream, "independent": IndependentStream}
    return streams[check_choice(sampling, "sampling", streams)](seed)


def _whole(rate: float) -> int:
    """Return how many of the 2**32 values of a 32-bit number stand for a drop."""
    return round(rate * 2**32)


def _below(bits: Tensor, rate: float) -> Tensor:
    """Return where uniform signed 32-bit integers lie below the threshold that they pass with probability `rate`."""
    threshold = _whole(rate) - 2**31
    if threshold == 2**31:  # no 32-bit integer: a comparison with it would wrap around to "never"
        return torch.ones_like(bits, dtype=torch.bool)
    return bits < threshold


@lru_cache(maxsize=64)
def _patterns(lower: int) -> Tensor:
    """Return, for each affine order of the 16 strata, the dropped draws: bit k for draw k.

    Row 0: draws whose stratum is below `lower`. Row 1: below `lower + 1`, for a jitter below the rest of the rate.
    """
    orders = [[_field_product(a, k) ^ b for k in range(BLOCK)] for a in range(1, BLOCK) for b in range(BLOCK)]
    rows = [[sum(1 << k for k in range(BLOCK) if order[k] < edge) for order in orders] for edge in (lower, lower + 1)]
    return torch.tensor(rows, dtype=torch.int32)


def _field_product(a: int, b: int) -> int:
    """Multiply in the field with 16 elements, polynomial x^4 + x + 1."""
    product = 0
    for bit in range(4):
        if b >> bit & 1:
            product ^= a << bit
    for bit in (6, 5, 4):
        if product >> bit & 1:
            product ^= 0b10011 << (bit - 4)
    return product
