"""All steps of a layer in one compiled call: the numbers and gradients of the plain loop, whatever the sizes."""

import itertools
import threading
from typing import Any

import pytest
import torch

from bayesrnn import nn as bnn
from bayesrnn import schemes
from bayesrnn.nn.kernels import dispatch
from bayesrnn.nn.kernels.reference import reference
from bayesrnn.nn.kernels.scan import library, scan, sequence
from bayesrnn.nn.kernels.scan.compiling import SOURCES

SCHEMES = {
    "tied": schemes.gal(0.4, gates="tied"),
    "untied": schemes.gal(0.4),
    "each step, untied": schemes.naive(0.4, gates="untied"),
    "inputs only": schemes.zaremba(0.4),
    "memory": schemes.moon(0.4),
    "none": schemes.none(),
}
SIZES = [(1, 1, 1, 1), (3, 5, 4, 7), (7, 37, 6, 3), (20, 64, 3, 16), (13, 130, 3, 33)]  # rows, units, steps, features
WIDTHS = [8, 16]
needs_compiler = pytest.mark.skipif(library.kernels() is None, reason="there is no C++ compiler")


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The widest vectors that the kernels may use: what older processors run."""
    monkeypatch.setattr(library, "_loaded", library._load(request.param))
    return request.param


def outcome(
    path: Any, layer: Any, x: torch.Tensor, masks: Any, lengths: Any = None, *, grad: bool = True
) -> list[torch.Tensor]:
    """Return outputs, states and the gradients of everything that entered."""
    states = layer.num_layers * layer.num_directions
    generator = torch.Generator().manual_seed(1)
    shape = (states, x.shape[1], layer.hidden_size)
    first = [torch.randn(shape, generator=generator).to(x.dtype).requires_grad_(grad) for _ in layer.cell.states]
    x = x.detach().requires_grad_(grad)
    with pytest.MonkeyPatch.context() as patch, torch.set_grad_enabled(grad):
        patch.setattr(dispatch, "_serves_stock", lambda *_: False)
        patch.setattr(dispatch, "_path", lambda *_: path)
        out, last = layer(x, first[0] if len(first) == 1 else tuple(first), masks=masks, lengths=lengths)
    ends = [last] if isinstance(last, torch.Tensor) else list(last)
    if not grad:
        return [out, *ends]
    loss = (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum() + sum(s.square().sum() for s in ends)
    return [out, *ends, *torch.autograd.grad(loss, [x, *first, *layer.parameters()])]


def assert_near(got: list[torch.Tensor], want: list[torch.Tensor], bound: float = 5e-6) -> None:
    for a, b in zip(got, want, strict=True):
        scale = max(1.0, b.detach().abs().max().item())
        torch.testing.assert_close(a, b, rtol=0, atol=bound * scale)


@needs_compiler
@pytest.mark.parametrize(("kind", "name"), list(itertools.product(("LSTM", "CappedLSTM", "GRU", "RNN"), SCHEMES)))
def test_it_is_the_plain_loop(width: int, kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "memory" and not kind.endswith("LSTM"):
        pytest.skip("only an LSTM has memory cells")
    calls: list[str] = []
    own = {key: lambda *a, key=key, f=f: (calls.append(key), f(*a))[1] for key, f in library._loaded.items()}
    monkeypatch.setattr(library, "_loaded", own)
    for (rows, units, steps, features), ragged, grad in itertools.product(SIZES, (False, True), (False, True)):
        layer = getattr(bnn, kind)(features, units, 2, bidirectional=True, bias=units != 37, dropout=SCHEMES[name])
        masks = layer.sample_masks(rows, seed=1, steps=steps)
        x = torch.randn(rows, steps, features).transpose(0, 1)  # not contiguous
        lengths = torch.randint(1, steps + 1, (rows,)) if ragged else None
        calls.clear()
        got = outcome(scan, layer, x, masks, lengths, grad=grad)
        assert set(calls) == ({"forward", "backward", "weight_gradient"} if grad else {"forward"})
        assert_near(got, outcome(reference, layer, x, masks, lengths, grad=grad))


@needs_compiler
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_every_size_of_unit_and_row(width: int, kind: str) -> None:
    for size in [*range(1, 36), 63, 64, 65, 127, 129, 650]:
        rows, features = size % 23 + 1, (size * 7) % 40 + 1
        layer = getattr(bnn, kind)(features, size, dropout=SCHEMES["tied" if size % 2 else "untied"])
        x, masks = torch.randn(2, rows, features), layer.sample_masks(rows, seed=0)
        assert_near(outcome(scan, layer, x, masks), outcome(reference, layer, x, masks))


@needs_compiler
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("ragged", [False, True])
def test_large_input_weights_are_read_once_for_several_steps(width: int, kind: str, ragged: bool) -> None:
    """More than 2^18 of them, and more steps than the 16 that go together."""
    for name in ("none", "tied", "each step, untied"):
        layer = getattr(bnn, kind)(700, 130, dropout=SCHEMES[name])
        x, masks = torch.randn(19, 5, 700), layer.sample_masks(5, seed=0, steps=19)
        lengths = torch.tensor([19, 17, 16, 3, 1]) if ragged else None
        assert_near(outcome(scan, layer, x, masks, lengths), outcome(reference, layer, x, masks, lengths), 2e-5)


@needs_compiler
def test_many_blocks_of_rows_on_threads() -> None:
    """Rows in several blocks, on several threads: the same bits as on one."""
    layer = bnn.LSTM(9, 40, dropout=SCHEMES["untied"])
    x, masks = torch.randn(6, 3000, 9), layer.sample_masks(3000, seed=0)
    one = outcome(scan, layer, x, masks)
    try:
        torch.set_num_threads(3)
        several = outcome(scan, layer, x, masks)
    finally:
        torch.set_num_threads(1)
    for a, b in zip(one[:3], several[:3], strict=True):
        assert torch.equal(a, b)
    assert_near(several, outcome(reference, layer, x, masks), 2e-5)


@needs_compiler
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_gradients_are_those_of_double_precision(width: int, kind: str) -> None:
    layer = getattr(bnn, kind)(6, 24, dropout=SCHEMES["tied"])
    twin = getattr(bnn, kind)(6, 24, dropout=SCHEMES["tied"], dtype=torch.float64)
    twin.load_state_dict({key: value.double() for key, value in layer.state_dict().items()})
    masks, x = layer.sample_masks(5, seed=1), torch.randn(7, 5, 6)
    want = outcome(reference, twin, x.double(), {key: mask.double() for key, mask in masks.items()})
    for a, b in zip(outcome(scan, layer, x, masks), want, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=2e-6)


@needs_compiler
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("grad", [False, True])
def test_extremes_saturate_and_nan_is_kept(width: int, kind: str, grad: bool) -> None:
    layer = getattr(bnn, kind)(1, 20, dropout=schemes.gal(hidden=0.5, gates="tied"))
    masks = layer.sample_masks(5, seed=0)
    x = torch.tensor([1e4, -1e4, float("inf"), -float("inf"), float("nan")]).view(1, 5, 1).repeat(2, 1, 1)
    got, want = (outcome(path, layer, x, masks, grad=grad)[0].detach() for path in (scan, reference))
    torch.testing.assert_close(got, want, equal_nan=True, rtol=0, atol=1e-6)
    assert got[:, 4].isnan().all()


@needs_compiler
def test_small_values_keep_their_digits(width: int) -> None:
    """The tanh near 0 has a small relative error, not only an absolute one."""
    layer = bnn.RNN(1, 1, bias=False, dropout=schemes.gal(hidden=0.5))
    with torch.no_grad():
        layer.weight_ih_l0.fill_(1.0), layer.weight_hh_l0.fill_(0.0)
        x = torch.logspace(-30, 1, 200).view(1, -1, 1)
        out, _ = layer.eval()(x, masks=layer.sample_masks(200, seed=0))
    torch.testing.assert_close(out, x.double().tanh().float(), rtol=5e-7, atol=0)


@needs_compiler
def test_what_it_does_not_serve_goes_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the compiled kernel ran")

    monkeypatch.setattr(library, "_loaded", dict.fromkeys(library._loaded, refuse))
    for layer, x in (
        (bnn.LSTM(3, 4, dropout=schemes.zoneout(0.3, 0.3)), torch.randn(5, 2, 3)),
        (bnn.LSTM(3, 4, dropout=schemes.semeniuta(0.3)), torch.randn(5, 2, 3)),
        (bnn.LSTM(3, 4, dropout=schemes.gal(0.3), dtype=torch.float64), torch.randn(5, 2, 3).double()),
    ):
        layer(x, masks=layer.sample_masks(2, seed=0, steps=5))


@needs_compiler
def test_threads_of_python_do_not_disturb_each_other() -> None:
    layer = bnn.GRU(8, 32, dropout=SCHEMES["tied"])
    x, masks = torch.randn(10, 50, 8), layer.sample_masks(50, seed=0)
    with torch.no_grad():
        want, wrong = layer(x, masks=masks)[0], []

        def work() -> None:
            with torch.no_grad():
                wrong.extend(i for i in range(20) if not torch.equal(layer(x, masks=masks)[0], want))

        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert not wrong


def test_the_structure_is_that_of_the_header() -> None:
    """The fields of the C++ struct, in their order."""
    text = (SOURCES / "layer.h").read_text(encoding="utf-8")
    body = text.split("struct Layer {")[1].split("};")[0]
    names = [
        name.strip(" *")
        for line in body.splitlines()
        for declared in [line.split("//")[0].strip().rstrip(";")]
        if declared
        for name in declared.removeprefix("const ").split(" ", 1)[1].split(",")
    ]
    assert names == [field[0] for field in sequence._Layer._fields_]
