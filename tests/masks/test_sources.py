"""Masks of a prediction, of training and of a user: shapes, values, and one source for all of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bayesrnn.masks import Binding, Fresh, MaskSite, stream
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


@pytest.mark.parametrize("gates", ["tied", "untied"])
@pytest.mark.parametrize("sampling", SAMPLING)
def test_a_window_of_a_stream_reads_the_masks_of_its_own_steps(sampling: str, gates: Gates) -> None:
    placement = Placement("hidden", 0.5, "step", gates)
    options: dict[str, Any] = {"gates": 4, "dtype": torch.float32}
    binding = Binding(stream(sampling, 0), torch.arange(3), torch.arange(2))
    whole = bound_mask(binding, "h", placement, 5, steps=9, **options)
    window = bound_mask(replace(binding, first_step=4), "h", placement, 5, steps=3, **options)
    assert torch.equal(window, whole[4:7])


@pytest.mark.parametrize("rate", [1 - 1e-9, 1 - 3e-8, 1 - 1e-6])
@pytest.mark.parametrize("sampling", SAMPLING)
def test_what_is_rarely_kept_is_scaled_by_how_often_it_is(sampling: str, rate: float) -> None:
    source = stream(sampling, 0)
    binding = Binding(source, torch.tensor([0]), torch.arange(1))
    assert binding._kept(rate) == pytest.approx(1.0 - source.attained(rate), rel=1e-12)
    assert binding._kept(rate) == pytest.approx(1.0 - rate, rel=0.15)
    assert binding._kept(0.999) == 1.0 - 0.999
