"""Layers with masks: what stays the same, what changes, and what bad input is refused with."""

import copy
import itertools
import math
import os
import pickle
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence

from bayesrnn import nn as bnn
from bayesrnn import schemes
from bayesrnn.masks import Binding, stream
from bayesrnn.nn.masked import bound, masked_modules
from tests.nn.bindings import binding
from tests.nn.kernels.test_dispatch import SCHEMES, build, cases


@pytest.mark.parametrize(("kind", "name"), cases())
def test_padding_never_changes_a_row(kind: str, name: str) -> None:
    layer = build(kind, SCHEMES[name], num_layers=2, bidirectional=True).eval()
    lengths, masks = [2, 5, 4], layer.sample_masks(3, seed=0, steps=5)
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    want = layer(x, lengths=lengths, masks=masks)
    for rubbish in (7.0, float("nan"), float("inf")):
        dirty = x.clone()
        for row, end in enumerate(lengths):
            dirty[end:, row] = rubbish
        torch.testing.assert_close(layer(dirty, lengths=lengths, masks=masks), want, rtol=0, atol=0)
        got = layer.train()(dirty, lengths=lengths, masks=masks)[0]
        assert all(g.isfinite().all() for g in torch.autograd.grad(got.sum(), list(layer.parameters())))


@pytest.mark.parametrize(("kind", "name"), cases())
def test_one_long_pass_is_windows_with_carried_state(kind: str, name: str) -> None:
    layer = build(kind, SCHEMES[name], num_layers=2).eval()
    x = torch.randn(6, 3, 3, dtype=torch.float64)
    masks = layer.sample_masks(3, seed=0, steps=6)
    per_step = {key for key, p in layer.placements().items() if p.span == "step"}
    want, want_last = layer(x, masks=masks)
    outputs, state = [], None
    for start in (0, 2):
        stop = 2 if start == 0 else 6
        part = {k: m[start:stop] if k in per_step else m for k, m in masks.items()}
        out, state = layer(x[start:stop], state, masks=part)
        outputs.append(out)
    torch.testing.assert_close(torch.cat(outputs), want)
    torch.testing.assert_close(state, want_last)


@pytest.mark.parametrize("name", ["naive", "zoneout", "semeniuta"])
def test_bound_windows_continue_the_stream_of_step_masks(name: str) -> None:
    layer = build("LSTM", SCHEMES[name]).eval()
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    with bound(layer, binding(2, 2)):
        want = layer(x)[0]
    with bound(layer, binding(2, 2)):
        first, state = layer(x[:2])
    with bound(layer, binding(2, 2, first_step=2)):
        second, _ = layer(x[2:], state)
    torch.testing.assert_close(torch.cat([first, second]), want)


@given(order=st.permutations(range(4)))
def test_masks_follow_the_rows_of_a_packed_batch(order: list[int]) -> None:
    torch.manual_seed(0)
    layer = build("LSTM", SCHEMES["untied"]).eval()
    x, lengths = torch.randn(5, 4, 3, dtype=torch.float64), torch.tensor([2, 5, 3, 4])
    masks = layer.sample_masks(4, seed=0)
    want = layer(x, lengths=lengths, masks=masks)[0]
    moved = {key: mask[:, order] for key, mask in masks.items()}
    packed = pack_padded_sequence(x[:, order], lengths[list(order)], enforce_sorted=False)
    got, _ = layer(packed, masks=moved)
    unpacked, _ = torch.nn.utils.rnn.pad_packed_sequence(got)
    torch.testing.assert_close(unpacked, want[:, order])


def test_the_batch_around_a_row_does_not_matter() -> None:
    layer = bnn.LSTM(3, 8, 2, dropout=0.4).eval()
    x = torch.randn(5, 6, 3)
    with bound(layer, Binding(stream("stratified", 3), torch.arange(4), torch.arange(6))):
        whole = layer(x.repeat(1, 4, 1))[0].unflatten(1, (4, 6))
    for draw, row in ((0, 0), (3, 5), (2, 1)):
        with bound(layer, Binding(stream("stratified", 3), torch.tensor([draw]), torch.tensor([row]))):
            alone = layer(x[:, row : row + 1])[0]
        torch.testing.assert_close(alone[:, 0], whole[:, draw, row])


def test_training_masks_are_new_each_pass_and_repeat_under_a_seed() -> None:
    layer, x = bnn.LSTM(3, 16, dropout=0.5), torch.randn(5, 2, 3)
    torch.manual_seed(1)
    first, second = layer(x)[0], layer(x)[0]
    torch.manual_seed(1)
    assert torch.equal(layer(x)[0], first)
    assert not torch.equal(first, second)


def test_a_mask_given_is_used_in_either_mode_and_eval_has_none() -> None:
    layer, x = bnn.GRU(3, 8, dropout=0.5), torch.randn(5, 2, 3)
    masks = layer.sample_masks(2, seed=0)
    assert torch.equal(layer(x, masks=masks)[0], layer.eval()(x, masks=masks)[0])
    torch.testing.assert_close(layer(x)[0], build_plain(layer)(x)[0])


def build_plain(layer: Any) -> torch.nn.Module:
    plain = torch.nn.GRU(3, 8)
    plain.load_state_dict(layer.state_dict())
    return plain


def test_the_carry_is_never_masked() -> None:
    """With all hidden units dropped from the gates' products, an LSTM's memory and a GRU's h still persist."""
    for kind, gates in (("LSTM", 4), ("GRU", 3)):
        layer = build(kind, schemes.gal(hidden=0.5, gates="tied")).eval()
        with torch.no_grad():
            for p in layer.parameters():
                p.zero_()
            bias = layer.bias_ih_l0.unflatten(0, (gates, -1))
            bias[1] = 40.0  # forget gate of an LSTM, update gate of a GRU: keep everything
            if kind == "LSTM":
                bias[0], bias[3] = -40.0, 40.0
        start = torch.rand(1, 2, 4, dtype=torch.float64)
        state = (start, start) if kind == "LSTM" else start
        x, dead = torch.zeros(50, 2, 3, dtype=torch.float64), {"hidden_l0": torch.zeros(2, 4, dtype=torch.float64)}
        _, last = layer(x, state, masks=dead)
        torch.testing.assert_close(last[1] if kind == "LSTM" else last, start)


def test_what_is_emitted_is_not_masked_and_the_last_layer_is() -> None:
    layer = build("LSTM", schemes.gal(0.9, gates="tied"), units=64)
    out = layer(torch.randn(9, 4, 3, dtype=torch.float64))[0]
    assert (out != 0).all()
    only_last = layer.sample_masks(4, seed=0)
    other = dict(only_last, hidden_l0=layer.sample_masks(4, seed=1)["hidden_l0"])
    x = torch.randn(9, 4, 3, dtype=torch.float64)
    assert not torch.equal(layer(x, masks=only_last)[0][-1], layer(x, masks=other)[0][-1])


def test_directions_and_layers_have_their_own_masks() -> None:
    layer = bnn.LSTM(32, 32, 2, dropout=0.5, bidirectional=True)
    masks = layer.sample_masks(2, seed=0)
    hidden = [masks[f"hidden_l{k}{end}"] for k in (0, 1) for end in ("", "_reverse")]
    assert all(not torch.equal(a, b) for i, a in enumerate(hidden) for b in hidden[:i])
    assert masks["input_l1"].shape == (4, 2, 64)


def test_tied_masks_are_one_mask_for_all_gates() -> None:
    tied = build("LSTM", SCHEMES["tied"]).eval()
    untied = build("LSTM", SCHEMES["untied"]).eval()
    untied.load_state_dict(tied.state_dict())
    x, masks = torch.randn(5, 2, 3, dtype=torch.float64), tied.sample_masks(2, seed=0)
    repeated = {key: mask.expand(4, -1, -1) for key, mask in masks.items()}
    torch.testing.assert_close(untied(x, masks=repeated)[0], tied(x, masks=masks)[0])


def test_the_scale_of_a_memory_mask_does_not_compound() -> None:
    layer = build("LSTM", schemes.moon(0.25)).eval()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.bias_ih_l0[4:8] = 100.0  # the forget gates: what is remembered stays
    state = tuple(torch.full((1, 16, 4), value, dtype=torch.float64) for value in (0.0, 0.001))
    masks = {"cell_l0": torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64) / 0.75}
    chances = torch.where(masks["cell_l0"] > 0, 0.75, 0.25).prod(1)
    out, (_, memory) = layer(torch.zeros(200, 16, 3, dtype=torch.float64), state, masks=masks)
    torch.testing.assert_close(memory, state[1])
    mean = (chances[:, None] * out).sum(1)  # over all masks
    torch.testing.assert_close(mean, torch.full_like(mean, 0.5 * math.tanh(0.001)), rtol=1e-6, atol=0.0)


def test_zoneout_without_masks_uses_the_expectation() -> None:
    layer = build("LSTM", schemes.zoneout(cell=0.25, hidden=0.4)).eval()
    x = torch.randn(1, 1, 3, dtype=torch.float64)
    state = tuple(torch.randn(1, 1, 4, dtype=torch.float64) for _ in range(2))
    plain = torch.nn.LSTM(3, 4).double()
    plain.load_state_dict(layer.state_dict())
    _, (h, c) = plain(x, state)
    _, (kept_h, kept_c) = layer(x, state)
    torch.testing.assert_close(kept_h, 0.6 * h + 0.4 * state[0])
    torch.testing.assert_close(kept_c, 0.75 * c + 0.25 * state[1])


def test_weight_masks_fall_on_units_elementwise_and_belong_to_one_draw() -> None:
    layer = bnn.LSTM(3, 8, dropout=schemes.weight_drop(0.5))
    mask = layer.sample_masks(5, seed=0)["weight_hh_l0"]
    assert mask.shape == (32, 8)
    assert 0.3 < (mask == 0).float().mean() < 0.7
    with bound(layer, binding(2, 2)), pytest.raises(ValueError, match="bind one draw at a time"):
        layer(torch.randn(4, 4, 3))
    assert "weight_hh_l0" in layer.state_dict()


def test_copies_share_nothing_and_forget_nothing() -> None:
    layer, x = bnn.LSTM(3, 8, 2, dropout=schemes.naive(0.3), bidirectional=True), torch.randn(4, 2, 3)
    masks = layer.sample_masks(2, seed=0, steps=4)
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):  # noqa: S301
        assert copied.scheme == layer.scheme
        assert torch.equal(copied(x, masks=masks)[0], layer(x, masks=masks)[0])
        copied.weight_hh_l0.data.zero_()
        assert layer.weight_hh_l0.abs().sum() > 0


def test_binding_reaches_only_active_layers_and_comes_off() -> None:
    model = torch.nn.Sequential(bnn.LSTM(3, 4, dropout=0.3), bnn.LSTM(3, 4), bnn.Dropout(0.0), bnn.Dropout(0.2))
    assert list(masked_modules(model)) == ["0", "3"]
    with bound(model, binding(1, 2)):
        assert model[0].source.name == "0"
    with pytest.raises(ValueError, match="must be"), bound(model, binding(1, 2)):
        model[0](torch.zeros(3))
    assert all(m.source is None for m in masked_modules(model).values())
    again = bound(model, binding(1, 2))
    with bound(model, binding(1, 2)), pytest.raises(ValueError, match="bound to masks already"):
        again.__enter__()


def _train_in_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    layer = bnn.LSTM(3, 4, dropout=0.5)
    wrapped = torch.nn.parallel.DistributedDataParallel(layer)
    x = torch.randn(5, 4, 3)[:, 2 * rank : 2 * rank + 2]
    masks = {k: m[:, 2 * rank : 2 * rank + 2] for k, m in layer.sample_masks(4, seed=0).items()}
    wrapped(x, masks=masks)[0].square().sum().backward()
    torch.save([p.grad for p in layer.parameters()], os.path.join(folder, f"{rank}.pt"))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Any) -> None:
    mp.spawn(_train_in_two, (str(tmp_path),), nprocs=2)
    torch.manual_seed(0)
    layer = bnn.LSTM(3, 4, dropout=0.5)
    x = torch.randn(5, 4, 3)
    layer(x, masks=layer.sample_masks(4, seed=0))[0].square().sum().backward()
    for rank in (0, 1):
        for mean, p in zip(torch.load(tmp_path / f"{rank}.pt"), layer.parameters(), strict=True):
            torch.testing.assert_close(2 * mean, p.grad)
