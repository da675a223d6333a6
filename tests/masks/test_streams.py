"""Which units fall: exact rates, independence, strata, and the same bits wherever they are asked for."""

import hashlib
import itertools
import math
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bayesrnn.masks import BLOCK, stream
from bayesrnn.masks.streams import _field_product

SAMPLING = ("independent", "stratified")


def dropped(sampling: str, draws: int, rows: int, units: int, rate: float, seed: int = 0) -> np.ndarray:
    found = stream(sampling, seed).dropped("site", torch.arange(draws), torch.arange(rows), units, rate)
    return found.numpy()


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("rate", [0.01, 0.25, 0.3, 0.5, 0.97])
def test_the_rate_is_exact(sampling: str, rate: float) -> None:
    """Each draw alone is Bernoulli: a z-test over 100,000 independent (row, unit) pairs."""
    for draw in (0, 5, 15, 16):
        found = stream(sampling, 1).dropped("s", torch.tensor([draw]), torch.arange(500), 200, rate)
        z = (found.double().mean() - rate) / np.sqrt(rate * (1 - rate) / found.numel())
        assert abs(z) < 4.5


@pytest.mark.parametrize("sampling", SAMPLING)
def test_units_and_rows_of_a_draw_are_independent(sampling: str) -> None:
    """Counts over units are binomial, and any two units, or rows, agree as often as independent ones."""
    found = dropped(sampling, 1, 4000, 60, 0.3)[0]
    observed = np.bincount(found.sum(1), minlength=61)
    expected = stats.binom.pmf(np.arange(61), 60, 0.3) * 4000
    inside = expected > 5
    statistic = ((observed - expected)[inside] ** 2 / expected[inside]).sum()
    assert stats.chi2.sf(statistic, inside.sum() - 1) > 1e-4
    for values in (found, found.T[:, :2000]):
        correlation = np.corrcoef(values.T[:60].astype(float))
        off = correlation[~np.eye(len(correlation), dtype=bool)]
        assert abs(off).max() < 5.0 / np.sqrt(values.shape[0])


def test_independent_draws_are_independent() -> None:
    found = dropped("independent", 16, 500, 100, 0.3).reshape(16, -1)
    off = np.corrcoef(found.astype(float))[~np.eye(16, dtype=bool)]
    assert abs(off).max() < 5.0 / np.sqrt(found.shape[1])


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.3])
def test_a_block_covers_the_strata(rate: float) -> None:
    """Of 16 draws, a unit falls in floor(16 p) or one more: in exactly 16 p where that is whole."""
    counts = dropped("stratified", 3 * BLOCK, 50, 40, rate).reshape(3, BLOCK, -1).sum(1)
    assert set(counts.flatten()) == {int(np.floor(16 * rate)), int(np.ceil(16 * rate))}
    assert abs(counts.mean() / BLOCK - rate) < 0.005


def test_the_order_of_strata_is_two_transitive() -> None:
    """Any two draws of a block correlate as under a uniformly random order: by -1/15 at p = 1/2."""
    found = dropped("stratified", BLOCK, 2000, 50, 0.5).reshape(BLOCK, -1).astype(float)
    off = np.corrcoef(found)[~np.eye(BLOCK, dtype=bool)]
    assert abs(off + 1 / 15).max() < 5.0 / np.sqrt(found.shape[1])


def test_the_affine_orders_move_any_pair_to_any_pair_equally_often() -> None:
    orders = [[_field_product(a, k) ^ b for k in range(16)] for a in range(1, 16) for b in range(16)]
    assert all(sorted(order) == list(range(16)) for order in orders)
    for j, k in ((0, 1), (3, 12), (7, 15)):
        pairs = [(order[j], order[k]) for order in orders]
        assert sorted(pairs) == [pair for pair in itertools.product(range(16), repeat=2) if pair[0] != pair[1]]


def test_blocks_are_independent() -> None:
    found = dropped("stratified", 2 * BLOCK, 1000, 50, 0.5).reshape(2 * BLOCK, -1).astype(float)
    between = np.corrcoef(found)[:BLOCK, BLOCK:]
    assert abs(between).max() < 5.0 / np.sqrt(found.shape[1])


@given(
    sampling=st.sampled_from(SAMPLING),
    draws=st.lists(st.integers(0, 100), min_size=1, max_size=6),
    rows=st.lists(st.integers(0, 2**40), min_size=1, max_size=4),
    units=st.lists(st.integers(0, 60), min_size=1, max_size=5),
    rate=st.floats(0.05, 0.95),
)
def test_the_bits_do_not_depend_on_what_is_asked_with_them(
    sampling: str, draws: list[int], rows: list[int], units: list[int], rate: float
) -> None:
    source, d, r = stream(sampling, 9), torch.tensor(draws), torch.tensor(rows)
    whole = source.dropped("s", d, r, 61, rate)
    assert torch.equal(source.dropped("s", d, r, torch.tensor(units), rate), whole[..., units])
    per_row = torch.tensor(units).expand(len(rows), -1)
    assert torch.equal(source.dropped("s", d, r, per_row, rate), whole[..., units])
    assert torch.equal(source.dropped("s", d, r, per_row.expand(len(draws), -1, -1), rate), whole[..., units])
    for k, draw in enumerate(draws):
        for i, row in enumerate(rows):
            alone = source.dropped("s", torch.tensor([draw]), torch.tensor([row]), 61, rate)
            assert torch.equal(alone[0, 0], whole[k, i])


def test_seed_site_draw_and_sequence_all_matter() -> None:
    def bits(
        seed: int = 0, site: str = "a", draw: int = 0, row: int = 0, sampling: str = "independent"
    ) -> torch.Tensor:
        return stream(sampling, seed).dropped(site, torch.tensor([draw]), torch.tensor([row]), 64, 0.5)

    for sampling in SAMPLING:
        base = bits(sampling=sampling)
        for other in ({"seed": 1}, {"site": "b"}, {"draw": 1}, {"draw": 16}, {"row": 1}):
            assert not torch.equal(base, bits(sampling=sampling, **other))


def test_bits_are_the_same_in_another_process() -> None:
    code = (
        "import torch; from bayesrnn.masks import stream;"
        "print([int(v) for s in ('independent', 'stratified') for v in"
        " stream(s, 5).dropped('x', torch.arange(20), torch.arange(3), 7, 0.4).flatten()])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = [
        int(v) for s in SAMPLING for v in stream(s, 5).dropped("x", torch.arange(20), torch.arange(3), 7, 0.4).flatten()
    ]
    assert done.stdout.strip() == str(here)


def test_global_randomness_is_untouched() -> None:
    before = torch.get_rng_state()
    dropped("stratified", 3, 2, 5, 0.5)
    assert torch.equal(torch.get_rng_state(), before)


def test_errors() -> None:
    with pytest.raises(ValueError, match="sampling must be one of 'stratified', 'independent'"):
        stream("sobol", 0)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        stream("independent", -1)
    with pytest.raises(TypeError, match="seed must be a whole number"):
        stream("independent", 0.5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("sampling", SAMPLING)
def test_the_same_bits_on_a_gpu(sampling: str) -> None:
    source = stream(sampling, 0)
    there = source.dropped("s", torch.arange(40).cuda(), torch.arange(5).cuda(), 33, 0.3)
    assert torch.equal(there.cpu(), source.dropped("s", torch.arange(40), torch.arange(5), 33, 0.3))


_M64 = 2**64 - 1


def mixed(x: int) -> int:
    """SplitMix64's finalizer, from Steele, Lea & Flood (2014), in whole numbers of Python."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _M64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & _M64
    return x ^ x >> 31


def hashed(sampling: str, seed: int, site: str, period: int, row: int, unit: int) -> int:
    """The 64 bits of one unit, by the address (seed, site, sequence, draw or block, unit)."""
    digest = hashlib.blake2b(f"{sampling}/{seed}/{site}".encode(), digest_size=8).digest()
    gamma, value = 0x9E3779B97F4A7C15, int.from_bytes(digest, "little")
    for part in (row, period, unit):
        value = mixed((part * gamma + value) & _M64)
    return value


def signed(value: int) -> int:
    return value - 2**32 if value >= 2**31 else value


def falls(sampling: str, seed: int, site: str, draw: int, row: int, unit: int, rate: Fraction) -> bool:
    """Whether one unit falls, from the definition: no tensors, no tables."""
    if sampling == "independent":
        bits = hashed(sampling, seed, site, draw, row, unit // 2) >> (32 * (unit % 2)) & 0xFFFFFFFF
        return Fraction(signed(bits) + 2**31, 2**32) < rate
    bits = hashed(sampling, seed, site, draw // BLOCK, row, unit)
    order, jitter = (bits & 0x7FFFFFFF) % 240, signed(bits >> 32)
    stratum = _field_product(order // 16 + 1, draw % BLOCK) ^ order % 16
    lower, rest = divmod(rate * BLOCK, 1)
    return stratum < lower + (Fraction(jitter + 2**31, 2**32) < rest)


@pytest.mark.parametrize("sampling", SAMPLING)
def test_bits_are_those_of_the_definition(sampling: str) -> None:
    draws, rows = [0, 3, 15, 16, 40], [0, 7, 2**40]
    for rate in (Fraction(1, 4), Fraction(3, 10), Fraction(123, 1024)):
        found = stream(sampling, 11).dropped("lstm.hidden_l0", torch.tensor(draws), torch.tensor(rows), 9, float(rate))
        want = [[[falls(sampling, 11, "lstm.hidden_l0", d, r, u, rate) for u in range(9)] for r in rows] for d in draws]
        assert found.tolist() == want


def test_bits_are_pinned() -> None:
    """The masks of an address never change: these numbers were written down when the definition was."""
    pinned = {
        "independent": [2197051716, 2020114566, 2601184384, 304122929],
        "stratified": [2877530278, 3423091560, 24413960, 537919683],
    }
    for sampling, want in pinned.items():
        found = stream(sampling, 0).dropped("hidden_l0", torch.arange(4), torch.arange(2), 16, 0.3)
        bits = found.flatten(1).long() * 2 ** torch.arange(32)
        assert bits.sum(1).tolist() == want


def near(rates: list[float]) -> list[float]:
    return [math.nextafter(r, to) for r in rates for to in (0.0, 1.0)]


# what people write (0.7 - 0.2, 0.5 * 0.5, 0.9 / 3), a rounding away from k/16, and next to 1
SIXTEENTHS = near([k / 16 for k in range(1, 17)])
TYPED = sorted(
    {
        rate
        for a in range(1, 100)
        for b in range(1, 100)
        for rate in ((a / 100) - (b / 100), (a / 100) * (b / 100), (a / 100) / (b / 100))
        if 0.0 < rate < 1.0 and rate * 16 % 1.0 > 1 - 1e-9
    }
)


@pytest.mark.parametrize("sampling", SAMPLING)
def test_rates_a_rounding_below_a_stratum_drop_as_often_as_they_say(sampling: str) -> None:
    assert {0.7 - 0.2, 0.35 - 0.1} <= set(TYPED)
    for rate in [*TYPED, *(r for r in SIXTEENTHS if r < 1.0), 1 - 2.0**-40, 1 - 2.0**-33, 1 - 1e-6]:
        found = dropped(sampling, BLOCK, 20, 40, rate)
        error = abs(found.mean() - rate)
        assert error < (1e-9 + 2 / found.size if sampling == "stratified" and rate * 16 % 1 > 0.999 else 0.02), rate
        if sampling == "stratified":  # in each block a unit falls in floor or ceil of 16 p draws
            assert abs(found.sum(0) - 16 * rate).max() <= 1.0, rate


@pytest.mark.parametrize("sampling", SAMPLING)
def test_the_attained_rate_is_the_rate_to_the_resolution_of_the_bits(sampling: str) -> None:
    for rate in [*TYPED, *SIXTEENTHS, 0.3, 1 - 2.0**-40]:
        assert abs(stream(sampling, 0).attained(min(rate, 1.0)) - rate) <= 2.0**-33
