"""Three paths and a numpy transcription of the equations give one answer, forward and backward."""

import copy
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesrnn import nn as bnn
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
from tests.nn.masks import site_masks

SCHEMES = {
    "none": schemes.none(),
    "zaremba": schemes.zaremba(0.4),
    "naive": schemes.naive(0.4),
    "naive untied": schemes.naive(0.4, gates="untied"),
    "tied": schemes.gal(0.4, gates="tied"),
    "untied": schemes.gal(0.4),
    "hidden only": schemes.gal(hidden=0.5),
    "moon": schemes.moon(0.4),
    "semeniuta": schemes.semeniuta(0.4),
    "semeniuta sequence": schemes.semeniuta(0.4, "sequence"),
    "weight_drop": schemes.weight_drop(0.4),
    "zoneout": schemes.zoneout(0.4, 0.3),
    "zoneout hidden": schemes.zoneout(hidden=0.3),
}
OF_TORCH = ("LSTM", "GRU", "RNN", "RELU")
CELL_KINDS = (*OF_TORCH, "CappedLSTM")
ONLY_LSTM = ("moon", "zoneout")


def build(kind: str, scheme: schemes.Scheme, inputs: int = 3, units: int = 4, **options: Any) -> Any:
    options = {"dtype": torch.float64} | options
    if kind == "RELU":
        return bnn.RNN(inputs, units, nonlinearity="relu", dropout=scheme, **options)
    return getattr(bnn, kind)(inputs, units, dropout=scheme, **options)


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


@pytest.mark.parametrize("kind", ["LSTM", "CappedLSTM", "GRU", "RNN"])
@pytest.mark.parametrize("name", ["tied", "untied", "naive", "zoneout hidden", "moon"])
def test_gradcheck(kind: str, name: str) -> None:
    if name in ONLY_LSTM and not kind.endswith("LSTM"):
        pytest.skip("no memory cell")
    layer = build(kind, SCHEMES[name], 2, 3)
    masks = site_masks(layer, layer.sample_masks(2, seed=0, steps=3), 2, 3)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    state = tuple(torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in layer.cell.states)
    weights = layer._weights(0, "")

    def function(*leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
        states = len(layer.cell.states)
        out, last = scan(layer.cell, leaves[0], leaves[1 : 1 + states], leaves[1 + states :], masks)
        return out, *last

    assert torch.autograd.gradcheck(function, (x, *state, *weights))


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


def test_masks_that_ask_for_a_gradient_get_one() -> None:
    layer = build("GRU", SCHEMES["tied"])
    masks = {key: mask.requires_grad_() for key, mask in layer.sample_masks(2, seed=0).items()}
    layer(torch.randn(4, 2, 3, dtype=torch.float64), masks=masks)[0].sum().backward()
    assert all(mask.grad is not None and mask.grad.abs().sum() > 0 for mask in masks.values())


@pytest.mark.parametrize("kind", ["LSTM", "CappedLSTM", "GRU", "RNN"])
@pytest.mark.parametrize("name", ["tied", "untied", "none"])
def test_autocast_makes_products_in_bfloat16_and_keeps_float32(kind: str, name: str) -> None:
    torch.manual_seed(0)
    layer = build(kind, SCHEMES[name], 16, 32, dtype=torch.float32)
    x = torch.randn(10, 6, 16, requires_grad=True)
    masks = layer.sample_masks(6, seed=0)
    results = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            out, _ = layer(x, masks=masks)
        assert out.dtype == torch.float32
        results.append((out, *torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])))
    assert not torch.equal(results[0][0], results[1][0])
    for exact, low in zip(*results, strict=True):
        assert (exact - low).norm() < 0.03 * exact.norm()


def test_layer_in_bfloat16() -> None:
    layer = build("LSTM", SCHEMES["untied"], 8, 16, dtype=torch.float32)
    masks, x = layer.sample_masks(3, seed=0), torch.randn(5, 3, 8)
    low = copy.deepcopy(layer).bfloat16()
    out, (h, c) = low(x.bfloat16(), masks=masks)
    assert out.dtype == h.dtype == c.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), layer(x, masks=masks)[0], atol=0.02, rtol=0.05)


def test_float64_stays_float64_under_autocast() -> None:
    layer = build("LSTM", SCHEMES["tied"])
    x, masks = torch.randn(4, 2, 3, dtype=torch.float64), layer.sample_masks(2, seed=0)
    want = layer(x, masks=masks)[0]
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x, masks=masks)[0], want)


def test_no_gradient_is_made_for_an_input_that_wants_none() -> None:
    layer = build("GRU", SCHEMES["tied"])
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    layer(x, masks=layer.sample_masks(2, seed=0))[0].sum().backward()
    assert x.grad is None
    assert all(p.grad is not None for p in layer.parameters())


def test_backward_twice_through_a_retained_graph() -> None:
    layer = build("LSTM", SCHEMES["untied"])
    out = layer(torch.randn(4, 2, 3, dtype=torch.float64), masks=layer.sample_masks(2, seed=0))[0].sum()
    first = torch.autograd.grad(out, list(layer.parameters()), retain_graph=True)
    torch.testing.assert_close(first, torch.autograd.grad(out, list(layer.parameters())))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_compile_without_a_graph_break(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = build(kind, SCHEMES["untied"], dtype=torch.float32)
        x, masks = torch.randn(4, 2, 3), layer.sample_masks(2, seed=0)
        want = layer(x, masks=masks)[0]
        compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
        got = compiled(x, masks=masks)[0]
        torch.testing.assert_close(got, want)
        a = torch.autograd.grad(got.sum(), list(layer.parameters()))
        torch.testing.assert_close(a, torch.autograd.grad(want.sum(), list(layer.parameters())))
        fresh = compiled(x)[0]
        assert not torch.equal(fresh, compiled(x)[0])
        assert fresh.shape == want.shape


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's default compiler needs a C++ compiler")
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_default_compiler_takes_a_model_with_and_without_masks(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch._dynamo.reset()
        layer = build(kind, SCHEMES["tied"], dtype=torch.float32)
        model = torch.nn.Sequential(torch.nn.Linear(3, 3), layer)
        compiled, x = torch.compile(model, fullgraph=True), torch.randn(4, 2, 3)
        torch.testing.assert_close(compiled.eval()(x)[0], model.eval()(x)[0], rtol=1e-5, atol=1e-5)
        compiled.train()(x)[0].sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


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
