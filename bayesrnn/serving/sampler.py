"""Masks for an exported graph, with numpy only: the bits are a function of (seed, draw, sequence, site, unit).

`SITES` lists the mask inputs of the graph. A copy of this file with the list filled in lies beside each graph.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

SITES: dict[str, dict[str, Any]] = {}

Array = np.ndarray[Any, Any]
_BLOCK = 16


def sample_masks(
    sequences: int | Iterable[int],
    draws: int | Iterable[int],
    seed: int = 0,
    steps: int | None = None,
    sampling: str = "stratified",
) -> dict[str, Array]:
    """Return every mask input of the graph, by name; row s * B + b belongs to draw s of sequence b.

    Args:
        sequences: How many sequences B, or their ids.
        draws: How many draws S, or their numbers: a later call with the numbers that follow goes on.
        seed: As given to `bayesrnn.predict`.
        steps: Steps of the inputs; needed where a mask changes each step.
        sampling: "stratified" or "independent", as given to `bayesrnn.predict`.
    """
    if sampling not in ("stratified", "independent"):
        raise ValueError(f"sampling must be 'stratified' or 'independent', but {sampling!r} was given.")
    ids = np.arange(sequences) if isinstance(sequences, int) else np.asarray(list(sequences))
    numbers = np.arange(draws) if isinstance(draws, int) else np.asarray(list(draws))
    masks = {}
    for name, site in SITES.items():
        if site["per_step"] and steps is None:
            raise ValueError(f"the mask {name!r} changes each step: say how many with steps=.")
        times, gates, features = (steps or 1) if site["per_step"] else 1, site["gates"], site["features"]
        fallen = dropped(name, numbers, ids, times * gates * features, site["rate"], seed, sampling)
        mask = fallen.reshape(-1, times, gates, features).transpose(1, 2, 0, 3)
        if not site["keeps_old"]:
            mask = ~mask * np.float32(1.0 / _kept(site["rate"], sampling))
        mask = mask if site["untied"] else mask[:, 0]
        masks[name] = np.ascontiguousarray(mask if site["per_step"] else mask[0], dtype=site["dtype"])
    return masks


def dropped(
    site: str, draws: Array, sequences: Array, units: int, rate: float, seed: int, sampling: str = "stratified"
) -> Array:
    """Return which units are dropped, as booleans (draws, sequences, units)."""
    digest = hashlib.blake2b(f"{sampling}/{seed}/{site}".encode(), digest_size=8).digest()
    key = np.frombuffer(digest, "<u8")
    if sampling == "independent":  # two units share one hash: its halves
        return _below(_hashes(key, draws, sequences, (units + 1) // 2)[..., :units], rate)
    blocks, index = np.unique(draws // _BLOCK, return_inverse=True)
    halves = _hashes(key, blocks, sequences, units)
    lower, fraction = divmod(rate * _BLOCK, 1.0)
    table = _patterns(int(lower))
    place = (halves[..., 0::2] & 0x7FFFFFFF) % table.shape[1] + _below(halves[..., 1::2], fraction) * table.shape[1]
    patterns = table.reshape(-1)[place][index]
    return (patterns >> (draws % _BLOCK)[:, None, None] & 1) != 0


def _mix(x: Array) -> Array:
    """Finalize SplitMix64 (Steele, Lea & Flood, 2014)."""
    for shift, multiplier in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(multiplier)
    return x ^ (x >> np.uint64(31))


def _hashes(key: Array, periods: Array, sequences: Array, units: int) -> Array:
    """Return the two signed 32-bit halves of one hash per (period, sequence, unit), in the last axis."""
    gamma = np.uint64(0x9E3779B97F4A7C15)
    rows = _mix(sequences.astype(np.uint64) * gamma + key)
    keys = _mix(periods.astype(np.uint64)[:, None] * gamma + rows)
    hashes = _mix(keys[..., None] + np.arange(units, dtype=np.uint64) * gamma)
    return hashes.astype("<u8").view("<i4")


def _whole(rate: float) -> int:
    return round(rate * 2**32)


def _below(bits: Array, rate: float) -> Array:
    return bits.astype(np.int64) < _whole(rate) - 2**31


def _kept(rate: float, sampling: str) -> float:
    """Return the probability of keeping a unit; where it is rare, as the bits attain it."""
    if 1.0 - rate >= 2.0**-12:
        return 1.0 - rate
    lower, fraction = divmod(rate * _BLOCK, 1.0)
    attained = _whole(rate) / 2**32 if sampling == "independent" else (lower + _whole(fraction) / 2**32) / _BLOCK
    return 1.0 - attained or 1.0 - rate


def _patterns(lower: int) -> Array:
    """Return, for each affine order of the 16 strata, the dropped draws: bit k for draw k."""
    orders = [[_field_product(a, k) ^ b for k in range(_BLOCK)] for a in range(1, _BLOCK) for b in range(_BLOCK)]
    return np.array(
        [[sum(1 << k for k in range(_BLOCK) if order[k] < edge) for order in orders] for edge in (lower, lower + 1)]
    )


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
