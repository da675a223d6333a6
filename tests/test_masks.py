"""The distribution of masks: exact marginals, independence, strata, and the same bits wherever they are asked for."""

import itertools
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bayesrnn.masks import BLOCK, Binding, Fresh, MaskSite, stream
from bayesrnn.schemes import Gates, Placement

SAMPLING = ("independent", "stratified")


def site_of(placement: Placement, rows: int, features: int, *, gates: int, steps: int, dtype: torch.dtype) -> MaskSite:
    times, copies = steps if placement.span == "step" else 1, gates if placement.gates == "untied" else 1
    return MaskSite(placement, (times, copies, rows, features), dtype, torch.device("cpu"), placement.rate)


def bound_mask(binding: Binding, key: str, placement: Placement, features: int, **options: Any) -> torch.Tensor:
    site = site_of(placement, binding.rows, features, **options)
    mask = binding.mask(key, site)
    assert mask is not None
    return site.public(mask)


def fresh(placement: Placement, rows: int, features: int, **options: Any) -> torch.Tensor:
    site = site_of(placement, rows, features, **options)
    return site.public(Fresh().mask("x", site))


def fresh_words(placement: Placement, tokens: torch.Tensor, vocabulary: int, dtype: torch.dtype) -> torch.Tensor:
    site = site_of(placement, len(tokens), vocabulary, gates=1, steps=1, dtype=dtype)
    return Fresh().mask("word", replace(site, tokens=tokens))[0, 0]


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
    from bayesrnn.masks.streams import _field_product

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


@pytest.mark.parametrize("span", ["sequence", "step"])
@pytest.mark.parametrize("gates", ["tied", "untied"])
def test_shapes_and_values_of_a_binding(span: str, gates: str) -> None:
    binding = Binding(stream("stratified", 0), torch.arange(3), torch.arange(2))
    mask = bound_mask(
        binding, "hidden", Placement("hidden", 0.2, span, gates), 40, gates=4, steps=5, dtype=torch.float64
    )
    front = ((5,) if span == "step" else ()) + ((4,) if gates == "untied" else ())
    assert mask.shape == (*front, 6, 40)
    assert set(mask.flatten().tolist()) == {0.0, 1.25}
    flat = mask.reshape(-1, 40)
    assert len({tuple(row.tolist()) for row in flat}) == len(flat)


def test_masks_scale_to_mean_one() -> None:
    binding = Binding(stream("independent", 0), torch.arange(50), torch.arange(20))
    mask = bound_mask(binding, "x", Placement("hidden", 0.3), 200, gates=1, steps=1, dtype=torch.float32)
    assert abs(mask.mean() - 1.0) < 0.005
    drawn = fresh(Placement("hidden", 0.3), 500, 200, gates=1, steps=1, dtype=torch.float32)
    assert abs(drawn.mean() - 1.0) < 0.02
    assert set(np.round(drawn.unique().tolist(), 5)) == {0.0, round(1 / 0.7, 5)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_large_fresh_masks_are_bernoulli_too(dtype: torch.dtype) -> None:
    placement = Placement("hidden", 0.303, "step")  # a rate that 8 bits cannot tell from its neighbours
    options = {"gates": 1, "steps": 400, "dtype": dtype}
    torch.manual_seed(0)
    drawn = fresh(placement, 100, 100, **options)
    kept = (drawn > 0).double()
    assert drawn.numel() > 1 << 18
    assert drawn.unique().double().tolist() == pytest.approx([0.0, 1 / 0.697], rel=4e-3)
    assert abs(kept.mean() - 0.697) < 4 * (0.212 / drawn.numel()) ** 0.5
    assert abs(np.corrcoef(kept[1:].flatten(), kept[:-1].flatten())[0, 1]) < 4 / drawn.numel() ** 0.5
    torch.manual_seed(0)
    assert torch.equal(drawn, fresh(placement, 100, 100, **options))


@pytest.mark.parametrize("rate", [0.5, 0.25, 0.75, 1 / 256, 255 / 256])
def test_large_fresh_masks_from_bytes_keep_what_they_should(rate: float) -> None:
    placement = Placement("hidden", rate, "step", "untied")
    torch.manual_seed(0)
    options = {"gates": 3, "steps": 157, "dtype": torch.float32}
    drawn = fresh(placement, 61, 83, **options)  # no multiple of the 8 numbers in a word
    kept = (drawn > 0).double()
    assert drawn.shape == (157, 3, 61, 83)
    assert drawn.unique().tolist() == pytest.approx([0.0, 1 / (1 - rate)])
    assert abs(kept.mean() - (1 - rate)) < 4 * (rate * (1 - rate) / drawn.numel()) ** 0.5
    flat = kept.flatten().numpy()
    for lag in (1, 2, 4, 7, 8, 16, 83, 61 * 83):
        assert abs(np.corrcoef(flat[lag:], flat[:-lag])[0, 1]) < 4.5 / len(flat) ** 0.5, lag
    torch.manual_seed(0)
    assert torch.equal(drawn, fresh(placement, 61, 83, **options))


def test_fresh_masks_of_words_are_one_number_a_word_and_sequence() -> None:
    tokens = torch.randint(0, 30, (200, 60))
    torch.manual_seed(0)
    mask = fresh_words(Placement("word", 0.25), tokens, 30, dtype=torch.float64)
    table = torch.full((200, 30), -1.0, dtype=torch.float64).scatter(1, tokens, mask)
    assert torch.equal(table.gather(1, tokens), mask)
    seen = table[table >= 0]
    assert set(seen.tolist()) == {0.0, 1 / 0.75}
    assert abs((seen > 0).double().mean() - 0.75) < 4 * (0.1875 / len(seen)) ** 0.5
    torch.manual_seed(0)
    assert torch.equal(mask, fresh_words(Placement("word", 0.25), tokens, 30, dtype=torch.float64))


def test_zoneouts_masks_are_kept_values_not_scaled() -> None:
    binding = Binding(stream("independent", 0), torch.arange(1), torch.arange(50))
    placement = Placement("keep_cell", 0.2, "step")
    for mask in (
        bound_mask(binding, "z", placement, 40, gates=4, steps=3, dtype=torch.float32),
        fresh(placement, 50, 40, gates=4, steps=3, dtype=torch.float32),
    ):
        assert mask.shape == (3, 50, 40)
        assert set(mask.flatten().tolist()) == {0.0, 1.0}
        assert abs(mask.mean() - 0.2) < 0.03


def test_one_mask_for_all_rows() -> None:
    placement = Placement("hidden", 0.5)
    one = Binding(stream("independent", 0), torch.tensor([3]), torch.arange(4), shared=True)
    many = Binding(stream("independent", 0), torch.tensor([2, 3]), torch.arange(4), shared=True)
    single = bound_mask(one, "h", placement, 30, gates=1, steps=1, dtype=torch.float32)
    assert single.shape == (1, 30)
    rows = bound_mask(many, "h", placement, 30, gates=1, steps=1, dtype=torch.float32).view(2, 4, 30)
    assert torch.equal(rows[1], single.expand(4, -1))
    assert not torch.equal(rows[0, 0], rows[1, 0])
    assert (one.rows, many.rows) == (4, 8)


def test_the_name_of_a_module_is_part_of_the_address() -> None:
    binding = Binding(stream("independent", 0), torch.tensor([0]), torch.arange(1))
    masks = [
        bound_mask(binding.at(name), "h", Placement("hidden", 0.5), 64, gates=1, steps=1, dtype=torch.float32)
        for name in ("encoder", "decoder")
    ]
    assert not torch.equal(*masks)


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


@pytest.mark.parametrize("gates", ["tied", "untied"])
@pytest.mark.parametrize("sampling", SAMPLING)
def test_a_window_of_a_stream_reads_the_masks_of_its_own_steps(sampling: str, gates: Gates) -> None:
    placement = Placement("hidden", 0.5, "step", gates)
    options: dict[str, Any] = {"gates": 4, "dtype": torch.float32}
    binding = Binding(stream(sampling, 0), torch.arange(3), torch.arange(2))
    whole = bound_mask(binding, "h", placement, 5, steps=9, **options)
    window = bound_mask(replace(binding, first_step=4), "h", placement, 5, steps=3, **options)
    assert torch.equal(window, whole[4:7])
