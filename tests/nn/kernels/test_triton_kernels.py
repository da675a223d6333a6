"""The kernels of the CUDA loops, run by Triton's interpreter on the CPU, against the plain scan."""

import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.cells import CELLS
from bayesrnn.nn.kernels.scan import backward, forward, fused_loop, scan
from bayesrnn.nn.kernels.scan.layer import Layer

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are first imported

triton = pytest.importorskip("triton", reason="the kernels need Triton")
tl = pytest.importorskip("triton.language")

from bayesrnn.nn.kernels.scan.triton_backend import TritonBackend  # noqa: E402
from bayesrnn.nn.kernels.scan.triton_kernels import _tanh  # noqa: E402

interpreted = pytest.mark.skipif(torch.cuda.is_available(), reason="compiled kernels are tested on the device")

STEPS, ROWS, FEATURES, UNITS = 3, 2, 7, 130  # neither of the sizes is a whole number of 16 bytes


@triton.jit
def tanh_of(x, out, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.arange(0, BLOCK)
    tl.store(out + place, _tanh(tl.load(x + place)))


def inputs(name: str, seed: int = 0) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).mul_(0.3).requires_grad_()

    gates = CELLS[name].gates * UNITS
    weights = (normal(gates, FEATURES), normal(gates, UNITS), normal(gates), normal(gates))
    return normal(STEPS, ROWS, FEATURES), tuple(normal(ROWS, UNITS) for _ in CELLS[name].states), weights


def mask(*shape: int) -> Tensor:
    return (
        torch.bernoulli(torch.full(shape, 0.7), generator=torch.Generator().manual_seed(sum(d for d in shape if d > 1)))
        / 0.7
    )


def masks_of(kind: str, name: str) -> SiteMasks:
    gates = CELLS[name].gates
    return {
        "none": SiteMasks(),
        "input": SiteMasks(input=mask(1, 1, ROWS, FEATURES)),
        "tied": SiteMasks(input=mask(1, 1, ROWS, FEATURES), hidden=mask(1, 1, ROWS, UNITS)),
        "shared": SiteMasks(input=mask(1, 1, 1, FEATURES), hidden=mask(1, 1, 1, UNITS)),
        "untied": SiteMasks(input=mask(1, gates, ROWS, FEATURES), hidden=mask(1, gates, ROWS, UNITS)),
        "steps": SiteMasks(input=mask(STEPS, 1, ROWS, FEATURES), hidden=mask(STEPS, 1, ROWS, UNITS)),
        "steps untied": SiteMasks(input=mask(STEPS, gates, ROWS, FEATURES), hidden=mask(STEPS, gates, ROWS, UNITS)),
        "cell": SiteMasks(hidden=mask(1, 1, ROWS, UNITS), cell=mask(1, 1, ROWS, UNITS)),
        "cell steps": SiteMasks(cell=mask(STEPS, 1, ROWS, UNITS)),
    }[kind]


def passed(name: str, kind: str) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs and gradients of one layer."""
    x, state, weights = inputs(name)
    out, last = scan(CELLS[name], x, state, weights, masks_of(kind, name))
    weighing = torch.linspace(-1.0, 1.0, out.numel()).view_as(out)
    ((out * weighing).sum() + sum(s.square().sum() for s in last)).backward()
    return [out, *last], [value.grad for value in (x, *state, *weights)]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the Triton kernels on the CPU."""
    taken = lambda layer, like: TritonBackend() if layer.name in ("lstm", "lstm_capped", "gru") else None  # noqa: E731
    monkeypatch.setattr(fused_loop, "backend_of", taken)
    for module in (forward, backward):  # else the kernels in C++ would do it
        monkeypatch.setattr(module, "kernels_for", lambda *_: None)


KINDS = ["none", "input", "tied", "shared", "untied", "steps", "steps untied"]
CASES = [(name, kind) for name in ("lstm", "lstm_capped", "gru") for kind in KINDS] + [
    ("lstm", "cell"),
    ("lstm", "cell steps"),
]


@interpreted
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_kernels_are_the_plain_scan(name: str, kind: str, request: pytest.FixtureRequest) -> None:
    want, by_want = passed(name, kind)
    request.getfixturevalue("launched")
    got, by_got = passed(name, kind)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(by_got, by_want, rtol=1e-4, atol=5e-5)


@interpreted
@pytest.mark.parametrize("name", ["lstm", "lstm_capped", "gru"])
@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_low_products_and_passes_that_keep_nothing(
    name: str, kind: str, launched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, state, weights = inputs(name)
    want, _ = passed(name, kind)
    monkeypatch.setattr(TritonBackend, "held_bytes", ROWS * 4 * UNITS * 4 * 2)  # two steps at once
    with torch.no_grad():
        out, last = scan(CELLS[name], x, state, weights, masks_of(kind, name))
        torch.testing.assert_close([out, *last], [w.detach() for w in want])
        with torch.autocast("cpu", torch.bfloat16):
            low, _ = scan(CELLS[name], x, state, weights, masks_of(kind, name))
    assert 0.0 < float((low - out).norm() / out.norm()) < 0.02
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = scan(CELLS[name], x, state, weights, masks_of(kind, name))
    out.square().sum().backward()
    by_low = weights[1].grad.clone()
    weights[1].grad = None
    scan(CELLS[name], x, state, weights, masks_of(kind, name))[0].square().sum().backward()
    assert float((by_low - weights[1].grad).norm() / weights[1].grad.norm()) < 0.02


@interpreted
@pytest.mark.parametrize("name", ["lstm", "lstm_capped", "gru"])
@pytest.mark.parametrize("kind", ["none", "steps", "steps untied"])
def test_rows_in_blocks_and_steps_in_spans(
    name: str, kind: str, launched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, state, weights = inputs(name)
    want, _ = passed(name, kind)
    monkeypatch.setattr(TritonBackend, "held_bytes", ROWS * 4 * UNITS * 4 * 2)  # two steps at once
    torch.testing.assert_close(passed(name, kind)[0], want, rtol=1e-5, atol=1e-5)
    monkeypatch.setattr("bayesrnn.nn.kernels.scan.forward._BLOCK_ROWS", 1)
    with torch.no_grad():
        out, last = scan(CELLS[name], x, state, weights, masks_of(kind, name))
    torch.testing.assert_close([out, *last], [w.detach() for w in want], rtol=1e-5, atol=1e-5)


@interpreted
def test_a_loss_of_the_last_memory_alone(request: pytest.FixtureRequest) -> None:
    def gradients() -> list[Tensor]:
        x, state, weights = inputs("lstm")
        _, last = scan(CELLS["lstm"], x, state, weights, masks_of("tied", "lstm"))
        last[1].square().sum().backward()
        return [value.grad for value in (x, *state, *weights)]

    want = gradients()
    request.getfixturevalue("launched")
    torch.testing.assert_close(gradients(), want, rtol=1e-4, atol=5e-5)


@interpreted
@pytest.mark.parametrize("name", ["lstm", "lstm_capped", "gru"])
@pytest.mark.parametrize("units", [1, 4, 6])
def test_masks_as_they_lie(name: str, units: int, request: pytest.FixtureRequest) -> None:
    """One unit, masks that are not contiguous, masks that are one number; what lies beside them is not read."""
    generator = torch.Generator().manual_seed(3)
    gates = CELLS[name].gates * units

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    weights = (normal(gates, 2), normal(gates, units), normal(gates), normal(gates))
    x, state = normal(4, ROWS, 2), tuple(normal(ROWS, units) for _ in CELLS[name].states)
    beside = torch.full((ROWS, 16), float("nan"))
    beside[:, :units] = normal(ROWS, units)
    cases = [
        SiteMasks(hidden=beside[None, None, :, :units]),
        SiteMasks(hidden=normal(1, 1, units, ROWS).mT),
        SiteMasks(hidden=normal(1, 1, ROWS, 1)),
        SiteMasks(hidden=normal(1, CELLS[name].gates, units, ROWS).mT),
    ]
    want = [scan(CELLS[name], x, state, weights, masks)[0] for masks in cases]
    request.getfixturevalue("launched")
    got = [scan(CELLS[name], x, state, weights, masks)[0] for masks in cases]
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    assert all(out.is_contiguous() for out in got)


@interpreted
def test_tanh_keeps_its_digits() -> None:
    size = torch.logspace(-6, 1.5, 2048, dtype=torch.float64)
    x = torch.cat([size, -size]).float()
    out = torch.empty_like(x)
    tanh_of[(1,)](x, out, BLOCK=4096)
    torch.testing.assert_close(out.double(), x.double().tanh(), rtol=1e-6, atol=0.0)


def test_which_cases_the_kernels_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_loop, "_triton_works", lambda: True)
    nothing = SiteMasks()
    there = SimpleNamespace(dtype=torch.float32, device=torch.device("cuda"), shape=(3, 4))

    weight = torch.empty(0)

    def served(name: str = "lstm", masks: SiteMasks = nothing, sizes: tuple[int, ...] = (), **other: Any) -> bool:
        like: Any = SimpleNamespace(**{**vars(there), **other})
        layer = Layer(name, weight, weight, None, None, masks, list(sizes), torch.float32)
        return fused_loop.backend_of(layer, like) is not None

    some = torch.ones(1, 1, 3, 4)
    assert served()
    assert served("gru", sizes=(3, 3))
    assert served(masks=replace(nothing, input=some, hidden=some, cell=some))
    assert not served("rnn_tanh")
    assert not served(sizes=(3, 2))
    assert not served(dtype=torch.float64)
    assert not served(device=torch.device("cpu"))
    for site in ("candidate", "keep_cell", "keep_hidden"):
        assert not served(masks=replace(nothing, **{site: some}))
    monkeypatch.setattr(fused_loop, "_triton_works", lambda: False)
    assert not served()


def test_a_triton_that_cannot_launch_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    monkeypatch.setattr(fused_loop, "_touch", broken)
    fused_loop._triton_works.cache_clear()
    with pytest.warns(UserWarning, match="Failed to find C compiler"):
        assert not fused_loop._triton_works()
    assert not fused_loop._triton_works()  # said once
    fused_loop._triton_works.cache_clear()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_device_is_the_cpu(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    want, by_want = passed(name, kind)
    calls = []
    plain = fused_loop.fused_forward
    monkeypatch.setattr(fused_loop, "fused_forward", lambda *a: (calls.append(1), plain(*a)))
    x, state, weights = inputs(name)
    leaves = [t.detach().cuda().requires_grad_() for t in (x, *state, *weights)]
    at, masks = 1 + len(state), masks_of(kind, name)
    moved = masks.on(torch.device("cuda"), torch.float32)
    out, last = scan(CELLS[name], leaves[0], tuple(leaves[1:at]), tuple(leaves[at:]), moved)
    weighing = torch.linspace(-1.0, 1.0, out.numel()).view_as(out).cuda()
    ((out * weighing).sum() + sum(s.square().sum() for s in last)).backward()
    assert calls, "the kernels were not used"
    torch.testing.assert_close([v.cpu() for v in (out, *last)], want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close([v.grad.cpu() for v in leaves], by_want, rtol=1e-4, atol=1e-4)
