"""Three paths and a numpy transcription of the equations give one answer, forward and backward."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesrnn import schemes
from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels import dispatch as paths
from bayesrnn.nn.kernels.cells import CELLS
from bayesrnn.nn.kernels.reference import reference
from bayesrnn.nn.kernels.scan import forward as forward_module
from bayesrnn.nn.kernels.scan import products as pieces_module
from bayesrnn.nn.kernels.scan import scan
from bayesrnn.nn.kernels.torch_kernel import acts_outside, can_fold, fold, outside, stock
from tests.nn import oracle
from tests.nn.kernels.layer_cases import SCHEMES, build
from tests.nn.masks import site_masks

OF_TORCH = ("LSTM", "GRU", "RNN", "RELU")
CELL_KINDS = (*OF_TORCH, "CappedLSTM")
ONLY_LSTM = ("moon", "zoneout")


def cases() -> list[tuple[str, str]]:
    return [
        (kind, name)
        for kind in CELL_KINDS
        for name in SCHEMES
        if not (name in ONLY_LSTM and not kind.endswith("LSTM"))
        and not (name.startswith("semeniuta") and kind in ("RNN", "RELU"))
    ]


def oracle_layer(layer: Any, kind: str, x: torch.Tensor, masks: dict[str, torch.Tensor], **options: Any) -> Any:
    weights = {name: p.detach().numpy() for name, p in layer.named_parameters()}
    spans = {p.site: p.span for p in layer.scheme.placements}
    untied = any(p.gates == "untied" for p in layer.scheme.placements)
    arrays = {key: value.numpy() for key, value in masks.items()}
    return oracle.run(kind, x.numpy(), weights, arrays, spans=spans, untied=untied, **options)


@pytest.mark.parametrize(("kind", "name"), cases())
@pytest.mark.parametrize("lengths", [None, [3, 5, 1, 4]])
def test_layer_follows_the_equations(kind: str, name: str, lengths: list[int] | None) -> None:
    torch.manual_seed(0)
    layer = build(kind, SCHEMES[name]).eval()
    x = torch.randn(5, 4, 3, dtype=torch.float64)
    masks = layer.sample_masks(4, seed=1, steps=5)
    want, want_last = oracle_layer(layer, kind, x, masks, lengths=lengths)
    output, last = layer(x, lengths=lengths, masks=masks)
    np.testing.assert_allclose(output.detach(), want, atol=1e-12)
    for got, value in zip(last if kind.endswith("LSTM") else [last], want_last):
        np.testing.assert_allclose(got[0].detach(), value, atol=1e-12)


@pytest.mark.parametrize("kind", CELL_KINDS)
@pytest.mark.parametrize("name", ["untied", "naive", "weight_drop"])
def test_stacked_bidirectional_layers_follow_the_equations(kind: str, name: str) -> None:
    layer = build(kind, SCHEMES[name], num_layers=2, bidirectional=True)
    x, lengths = torch.randn(5, 3, 3, dtype=torch.float64), [5, 2, 3]
    masks = layer.sample_masks(3, seed=2, steps=5)
    below = x
    for level in ("l0", "l1"):
        forth, _ = oracle_layer(layer, kind, below, masks, suffix=level, lengths=lengths)
        back, _ = oracle_layer(layer, kind, below, masks, suffix=f"{level}_reverse", lengths=lengths, reverse=True)
        below = torch.from_numpy(np.concatenate([forth, back], -1))
    torch.testing.assert_close(layer(x, lengths=lengths, masks=masks)[0], below)


Result = tuple[torch.Tensor, ...]


def outcome(
    path: Callable[..., Any], kind: str, layer: Any, x: torch.Tensor, masks: SiteMasks, **options: Any
) -> Result:
    """Outputs, last states and every gradient of one path."""
    cell = layer.cell
    torch.manual_seed(3)
    x = x.detach().clone().requires_grad_()
    state = tuple(torch.randn(x.shape[1], layer.hidden_size, dtype=x.dtype).requires_grad_() for _ in cell.states)
    weights = layer._weights(0, "")
    out, last = path(cell, x, state, weights, masks, **options)
    loss = (out * torch.randn_like(out)).sum() + sum((s * torch.randn_like(s)).sum() for s in last)
    leaves = [x, *state, *(w for w in weights if w is not None)]
    return (out, *last, *torch.autograd.grad(loss, leaves))


@settings(max_examples=60, deadline=None)
@given(
    case=st.sampled_from(cases()),
    steps=st.integers(1, 6),
    rows=st.integers(1, 5),
    inputs=st.integers(1, 4),
    units=st.integers(1, 5),
    bias=st.booleans(),
    reverse=st.booleans(),
    shared=st.booleans(),
    piece=st.sampled_from([1, 150, 1 << 20]),
    data=st.data(),
)
def test_scan_is_the_reference(
    case: tuple[str, str],
    steps: int,
    rows: int,
    inputs: int,
    units: int,
    bias: bool,
    reverse: bool,
    shared: bool,
    piece: int,
    data: st.DataObject,
) -> None:
    kind, name = case
    layer = build(kind, SCHEMES[name], inputs, units, bias=bias)
    lengths = None
    if data.draw(st.booleans()):
        lengths = torch.tensor(data.draw(st.lists(st.integers(1, steps), min_size=rows, max_size=rows)))
    drawn = layer.sample_masks(1 if shared else rows, seed=4, steps=steps)
    masks = site_masks(layer, drawn, rows, steps)
    x = torch.randn(steps, rows, inputs, dtype=torch.float64)
    slow = outcome(reference, kind, layer, x, masks, lengths=lengths, reverse=reverse)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces_module, "_PIECE_BYTES", piece)  # masked products in one piece or in many
        fast = outcome(scan, kind, layer, x, masks, lengths=lengths, reverse=reverse)
    for a, b in zip(slow, fast, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-8)
    with torch.no_grad():
        state = tuple(torch.zeros(rows, units, dtype=x.dtype) for _ in layer.cell.states)
        kept = scan(layer.cell, x, state, layer._weights(0, ""), masks, lengths=lengths, reverse=reverse)
        plain = reference(layer.cell, x, state, layer._weights(0, ""), masks, lengths=lengths, reverse=reverse)
    torch.testing.assert_close(kept, plain, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("kind", OF_TORCH)
@pytest.mark.parametrize("name", ["none", "tied", "untied", "weight_drop", "hidden only"])
@pytest.mark.parametrize("lengths", [None, torch.tensor([2, 6, 4])])
def test_fold_is_the_reference(kind: str, name: str, lengths: torch.Tensor | None) -> None:
    layer = build(kind, SCHEMES[name])
    masks = site_masks(layer, layer.sample_masks(1, seed=5), 3)
    assert can_fold(masks)

    def folded(cell: Any, x: torch.Tensor, state: Any, weights: Any, masks: SiteMasks, lengths: Any) -> Any:
        states = tuple(s.unsqueeze(0) for s in state)
        out, last = stock(cell, x, states, [fold(weights, masks, cell.gates)], lengths=lengths)
        return out, tuple(s[0] for s in last)

    x = torch.randn(6, 3, 3, dtype=torch.float64)
    slow = outcome(reference, kind, layer, x, masks, lengths=lengths)
    for a, b in zip(slow, outcome(folded, kind, layer, x, masks, lengths=lengths), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("kind", OF_TORCH)
@pytest.mark.parametrize("scheme", [schemes.zaremba(0.4), schemes.gal(input=0.4, gates="tied"), schemes.none()])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, torch.tensor([2, 6, 4])])
def test_masks_outside_the_recurrence_are_the_reference(
    kind: str, scheme: schemes.Scheme, reverse: bool, lengths: torch.Tensor | None
) -> None:
    layer = build(kind, scheme)
    masks = site_masks(layer, layer.sample_masks(3, seed=5, steps=6), 3, 6)
    assert acts_outside(masks)
    x = torch.randn(6, 3, 3, dtype=torch.float64)
    slow = outcome(reference, kind, layer, x, masks, lengths=lengths, reverse=reverse)
    fast = outcome(outside, kind, layer, x, masks, lengths=lengths, reverse=reverse)
    for a, b in zip(slow, fast, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize("name", sorted(set(SCHEMES) - {"none", "zaremba"}))
def test_masks_that_enter_the_recurrence(name: str) -> None:
    layer = build("LSTM", SCHEMES[name])
    assert not acts_outside(site_masks(layer, layer.sample_masks(2, seed=0, steps=3), 2, 3))
    untied = build("LSTM", schemes.gal(input=0.3))
    assert not acts_outside(site_masks(untied, untied.sample_masks(2, seed=0), 2))


@pytest.mark.parametrize(("name", "rows"), [("moon", 1), ("semeniuta", 1), ("naive", 1), ("zoneout", 1), ("tied", 2)])
def test_masks_that_cannot_be_folded(name: str, rows: int) -> None:
    layer = build("LSTM", SCHEMES[name])
    assert not can_fold(site_masks(layer, layer.sample_masks(rows, seed=0, steps=3), rows, 3))


def test_blocks_of_rows_and_steps_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = build("LSTM", SCHEMES["untied"]).eval()
    x, lengths = torch.randn(7, 9, 3, dtype=torch.float64), torch.tensor([7, 1, 4, 4, 6, 2, 7, 3, 5])
    masks = layer.sample_masks(9, seed=0)
    with torch.no_grad():
        whole = layer(x, lengths=lengths, masks=masks)
        monkeypatch.setattr(forward_module, "_BLOCK_ROWS", 4)
        monkeypatch.setattr(forward_module, "_BLOCK_BYTES", 4 * 4 * 4 * 4 * 2)
        parts = layer(x, lengths=lengths, masks=masks)
    torch.testing.assert_close(whole, parts)


def test_each_kind_of_mask_takes_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def spy(name: str) -> None:
        original = getattr(paths, name)
        monkeypatch.setattr(paths, name, lambda *a, **k: (used.append(name), original(*a, **k))[1])

    for name in ("stock", "scan", "reference"):
        spy(name)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    layer = build("LSTM", SCHEMES["tied"])
    layer.eval()(x)
    layer(x, masks=layer.sample_masks(1, seed=0))
    layer.train()(x)
    layer(x, masks={k: m.requires_grad_() for k, m in layer.sample_masks(2, seed=0).items()})
    cell = build("LSTM", schemes.moon(0.3))
    cell(x, masks={k: m.requires_grad_() for k, m in cell.sample_masks(2, seed=0).items()})
    assert used == ["stock", "stock", "scan", "scan", "reference"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("kind", "name"), cases())
def test_cuda_is_the_cpu(kind: str, name: str) -> None:
    layer = build(kind, SCHEMES[name])
    x, masks = torch.randn(5, 4, 3, dtype=torch.float64), layer.sample_masks(4, seed=1, steps=5)
    device = copy.deepcopy(layer).cuda()
    out, _ = device(x.cuda(), lengths=[3, 5, 1, 4], masks={k: m.cuda() for k, m in masks.items()})
    torch.testing.assert_close(out.cpu(), layer(x, lengths=[3, 5, 1, 4], masks=masks)[0])
    again = device.sample_masks(4, seed=1, steps=5)
    assert all(torch.equal(again[k].cpu(), masks[k]) for k in masks)


def test_every_cell_is_tested() -> None:
    assert {"lstm", "lstm_capped", "gru", "rnn_tanh", "rnn_relu"} == set(CELLS)
