r"""Masks are values: functions of (seed, draw, sequence, site, unit), never of hidden state.

A mask multiplies by 0 with probability p and by 1/(1-p) otherwise. Its bits come from a counter: the SplitMix64
sequence of Steele, Lea & Flood (2014) is started at a key made of seed, site, sequence and draw, and read at the
position of the unit. So the mask of draw k of sequence i is the same bits for any batch, order, chunk, worker or
device.

Two streams share one interface:

- `IndependentStream`: the draws of a unit are independent.
- `StratifiedStream`: within a block of 16 draws, the uniforms of a unit are one per stratum [j/16, (j+1)/16), in an
  order that is drawn per unit from the affine maps of the field with 16 elements. The family is 2-transitive, so the
  variance of a mean over draws is that of a uniformly random order, at the price of one hash per unit and block. Each
  draw alone is still an exact Bernoulli vector with independent units; draws of one block are dependent, blocks are
  independent.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from bayesrnn._checks import check_choice, check_seed
from bayesrnn.schemes import Placement

__all__ = ["BLOCK", "Binding", "IndependentStream", "MaskStream", "StratifiedStream", "fresh", "fresh_words", "stream"]

BLOCK = 16
"""Draws in one stratified block; blocks are independent of each other."""

_MANY = 1 << 18  # numbers from which on `uniform_` draws masks on a CPU


def _signed(value: int) -> int:
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


_GAMMA, _MULTIPLIER_1, _MULTIPLIER_2 = (
    _signed(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
_SHARED_ROW = -1  # the sequence id under which a mask shared by all rows is drawn


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
        key, limit = self._key(site, "independent"), _threshold(rate)
        if isinstance(units, int):  # two units share one hash: its halves
            pairs = torch.arange((units + 1) // 2, device=draws.device)
            return self._hashes(key, draws, sequences, pairs).view(torch.int32)[..., :units] < limit
        hashes = self._hashes(key, draws, sequences, units >> 1)
        return (hashes >> ((units & 1) * 32)).to(torch.int32) < limit


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
        place = (order & 0x7FFFFFFF).remainder_(maps).add_((jitter < _threshold(fraction)) * maps)
        patterns = table.reshape(-1).index_select(0, place.reshape(-1)).view(place.shape)
        bit = (1 << (draws % BLOCK)).to(torch.int32)[:, None, None]
        chosen = patterns if index is None or blocks.numel() == 1 else patterns[index]
        return (chosen & bit) != 0


def stream(sampling: str, seed: int) -> MaskStream:
    """Return the stream named `independent` or `stratified`.

    Example:
        >>> stream("independent", 0).dropped("x", torch.arange(2), torch.arange(3), 4, 0.5).shape
        torch.Size([2, 3, 4])
    """
    streams = {"stratified": StratifiedStream, "independent": IndependentStream}
    return streams[check_choice(sampling, "sampling", streams)](seed)


def _threshold(rate: float) -> int:
    """Return t such that a uniform signed 32-bit integer lies below t with probability `rate`."""
    return round(rate * 2**32) - 2**31


@lru_cache(maxsize=64)
def _patterns(lower: int) -> Tensor:
    """Return, for each affine order of the 16 strata, the draws that fall: bit k is set if draw k falls.

    Row 0: draws whose stratum is below `lower`; row 1: below `lower + 1` (the jitter fell into the stratum `lower`).
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


def _scaled(dropped: Tensor, rate: float, dtype: torch.dtype) -> Tensor:
    return dropped.logical_not_().to(dtype).mul_(1.0 / (1.0 - rate))


@dataclass(frozen=True)
class Binding:
    """The masks of one call: which stream, which draws, which sequences, ready to be read by a layer.

    A layer that is bound sees S * B rows, the draws of all sequences, draw by draw (row s * B + b is draw s of sequence
    b). With `shared`, all sequences of a draw use one mask; a single shared draw gives masks of one row, which
    broadcast. `first_step` is where the steps of this call begin in a stream that is read in windows; it matters to
    masks that change every step.
    """

    stream: MaskStream
    draws: Tensor
    sequences: Tensor
    shared: bool = False
    name: str = ""
    first_step: int = 0

    @property
    def rows(self) -> int:
        """Rows that a bound layer must be given: S * B."""
        return self.draws.numel() * self.sequences.numel()

    def at(self, name: str) -> "Binding":
        """Return the same binding for the module of that qualified name."""
        return replace(self, name=name)

    def mask(
        self, key: str, placement: Placement, features: int, *, gates: int, steps: int, dtype: torch.dtype
    ) -> Tensor:
        """Return the mask of one site, shape ([steps,] [gates,] rows, features); values 0 or 1/(1-rate).

        Args:
            key: The site in its layer, such as ``hidden_l0``.
            placement: Rate, span and gates of the site.
            features: Units of one gate.
            gates: How many gates the layer has; used where the gates are untied.
            steps: How many steps; used where the span is a step.
            dtype: Type of the mask.
        """
        dropped = self._units(key, placement, features, gates, steps)
        if placement.site in ("keep_cell", "keep_hidden"):
            return dropped.to(dtype)
        return _scaled(dropped, placement.rate, dtype)

    def _units(self, key: str, placement: Placement, features: int, gates: int, steps: int) -> Tensor:
        copies = gates if placement.gates == "untied" else 1
        times = steps if placement.span == "step" else 1
        first = self.first_step * copies * features if placement.span == "step" else 0
        numbers: Tensor | int = times * copies * features
        if first:
            numbers = torch.arange(first, first + int(numbers), device=self.draws.device)
        sequences = self.draws.new_tensor([_SHARED_ROW]) if self.shared else self.sequences
        flat = self.stream.dropped(self._site(key), self.draws, sequences, numbers, placement.rate)
        flat = self._spread(flat)
        shape = (flat.shape[0], times, copies, features)
        units = flat.view(shape).permute(1, 2, 0, 3)
        if placement.gates != "untied":
            units = units.squeeze(1)
        return units if placement.span == "step" else units.squeeze(0)

    def words(self, key: str, placement: Placement, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the mask of each token of `tokens` (rows, T) by its word type, shape (rows, T).

        A word type falls for all its occurrences in a sequence, in every window, at once.
        """
        rows = self.sequences.numel()
        sequences = self.draws.new_tensor([_SHARED_ROW]).expand(rows) if self.shared else self.sequences
        units = tokens.view(self.draws.numel(), rows, -1)
        if bool((units == units[:1]).all()):  # the draws read the same words, as they do when they ride in the batch
            units = units[0]
        dropped = self.stream.dropped(self._site(key), self.draws, sequences, units, placement.rate)
        return _scaled(dropped.reshape(tokens.shape), placement.rate, dtype)

    def _spread(self, flat: Tensor) -> Tensor:
        """Turn (S, B or 1, U) into (S * B, U), or (1, U) for a single shared draw."""
        if self.shared and self.draws.numel() > 1:
            flat = flat.expand(-1, self.sequences.numel(), -1)
        return flat.reshape(-1, flat.shape[-1])

    def _site(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key


def fresh(
    placement: Placement,
    rows: int,
    features: int,
    *,
    gates: int,
    steps: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Draw one mask from torch's global state, for training: reproducible under `torch.manual_seed`.

    Returns:
        Tensor of shape ([steps,] [gates,] rows, features), values 0 or 1/(1-rate).
    """
    shape: Sequence[int] = (rows, features)
    if placement.gates == "untied":
        shape = (gates, *shape)
    if placement.span == "step":
        shape = (steps, *shape)
    mask = torch.empty(shape, dtype=dtype, device=device)
    if placement.site in ("keep_cell", "keep_hidden"):
        return _bernoulli_(mask, placement.rate)
    return _bernoulli_(mask, 1.0 - placement.rate).div_(1.0 - placement.rate)


def fresh_words(placement: Placement, tokens: Tensor, vocabulary: int, *, dtype: torch.dtype) -> Tensor:
    """Draw the mask of the word types that sequences hold, from torch's global state, for training.

    A word takes the number drawn at its first place in its sequence, so that nothing is drawn for the rest of the
    vocabulary.

    Args:
        placement: Of the words.
        tokens: (rows, steps).
        vocabulary: Number of word types.
        dtype: Of the mask.

    Returns:
        Tensor of the shape of `tokens`, values 0 or 1/(1-rate).
    """
    rows, steps = tokens.shape
    drawn = torch.empty((rows, steps), dtype=dtype, device=tokens.device).bernoulli_(1.0 - placement.rate)
    places = torch.arange(steps, device=tokens.device).expand(rows, steps)
    first = places.new_empty(rows, vocabulary).scatter_reduce_(1, tokens, places, "amin", include_self=False)
    return drawn.gather(1, first.gather(1, tokens)).div_(1.0 - placement.rate)


def _bernoulli_(mask: Tensor, probability: float) -> Tensor:
    """Fill with ones at a probability; for many numbers on a CPU in a tenth of the time of `Tensor.bernoulli_`.

    A probability of whole 256ths is met exactly by one random byte a number; any other takes a uniform number.
    """
    exact = mask.dtype in (torch.float32, torch.float64)  # a uniform of 8 bits would shift the rate
    if mask.is_cuda or mask.numel() < _MANY or not exact:
        return mask.bernoulli_(probability)
    threshold = 256.0 * probability
    if threshold.is_integer():
        return mask.copy_(_random_bytes(mask.numel()).view(mask.shape)).lt_(threshold)
    return mask.uniform_().lt_(probability)


def _random_bytes(count: int) -> Tensor:
    """Return uniform bytes from torch's global state: whole 64-bit numbers, cut."""
    words = torch.empty(-(-count // 8), dtype=torch.int64)
    return words.random_(torch.iinfo(torch.int64).min, None).view(torch.uint8)[:count]
