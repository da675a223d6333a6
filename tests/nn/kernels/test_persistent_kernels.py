"""All steps of a small layer in one Triton kernel, run by Triton's interpreter on the CPU, against the plain loop."""

import os
from typing import Any

import pytest
import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.cells import CELLS
from bayesrnn.nn.kernels.reference import reference
from bayesrnn.nn.kernels.scan import backward, forward, fused_loop, scan
from bayesrnn.nn.kernels.scan.layer import Layer

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when the kernels are first imported

tl = pytest.importorskip("triton.language", reason="the kernels need Triton")

from bayesrnn.nn.kernels.scan import persistent  # noqa: E402

interpreted = pytest.mark.skipif(torch.cuda.is_available(), reason="compiled kernels are tested on the device")
STEPS, ROWS, FEATURES, UNITS = 3, 19, 3, 10  # more rows than a program has, and neither they nor the units fill it
KINDS = ["none", "tied", "shared", "untied", "steps", "steps untied", "cell", "one number"]


def masks_of(kind: str, gates: int, units: int) -> SiteMasks:
    generator = torch.Generator().manual_seed(5)

    def mask(steps: int, copies: int, rows: int, features: int) -> Tensor:
        kept = torch.full((steps, copies, rows, features), 0.7)
        return torch.bernoulli(kept, generator=generator) / 0.7

    inward, hidden = {
        "none": (None, None),
        "tied": (mask(1, 1, ROWS, FEATURES), mask(1, 1, ROWS, units)),
        "shared": (mask(1, 1, 1, FEATURES), mask(1, 1, 1, units)),
        "untied": (mask(1, gates, ROWS, FEATURES), mask(1, gates, ROWS, units)),
        "steps": (mask(STEPS, 1, ROWS, FEATURES), mask(STEPS, 1, ROWS, units)),
        "steps untied": (mask(STEPS, gates, ROWS, FEATURES), mask(STEPS, gates, ROWS, units)),
        "cell": (None, mask(1, 1, ROWS, units)),
        "one number": (None, mask(1, 1, ROWS, 1)),
    }[kind]
    return SiteMasks(input=inward, hidden=hidden, cell=mask(STEPS, 1, ROWS, units) if kind == "cell" else None)


def run(
    path: Any, name: str, kind: str, device: str = "cpu", low: bool = False, units: int = UNITS, **options: Any
) -> Any:
    """Outputs, last states, and what they came from."""
    generator, cell = torch.Generator().manual_seed(0), CELLS[name]

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).mul_(0.5).to(device).requires_grad_()

    gates = cell.gates * units
    weights = (normal(gates, FEATURES), normal(gates, units), normal(gates), normal(gates))
    x, state = normal(STEPS, ROWS, FEATURES), tuple(normal(ROWS, units) for _ in cell.states)
    masks = masks_of(kind, cell.gates, units).on(torch.device(device), torch.float32)
    with torch.autocast(device, torch.bfloat16, enabled=low):
        out, last = path(cell, x, state, weights, masks, **options)
    return [out, *last], [x, *state, *weights]


def passed(path: Any, *arguments: Any, **options: Any) -> list[Tensor]:
    """Outputs, last states and gradients of one layer."""
    (out, *last), leaves = run(path, *arguments, **options)
    weighing = torch.linspace(-1.0, 1.0, out.numel(), device=out.device).view_as(out)
    ((out * weighing).sum() + sum(s.square().sum() for s in last)).backward()
    return [value.detach().cpu() for value in (out, *last, *(leaf.grad for leaf in leaves))]


@pytest.fixture(autouse=True)
def _bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the interpreter's product know bfloat16, whose bits it takes for whole numbers."""
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    plain = interpreter.InterpreterBuilder.create_dot

    def dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        return plain(self, *(self.cast_impl(v, tl.float32) for v in (a, b)), *rest)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", dot)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Take the kernels on the CPU, and say how often."""
    calls: list[str] = []

    def noted(layer: Layer, like: Tensor) -> Any:
        calls.append(layer.name)
        return persistent

    monkeypatch.setattr(fused_loop, "persistent_of", noted)
    for module in (forward, backward):
        monkeypatch.setattr(module, "kernels_for", lambda *_: None)
    return calls


CASES = [(name, kind) for name in ("lstm", "gru") for kind in KINDS if kind != "cell" or name == "lstm"]
CASES.append(("lstm_capped", "untied"))
LENGTHS = torch.tensor([2, 3, 1, 2] * 5)[:ROWS]


@interpreted
@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_kernels_are_the_plain_loop(name: str, kind: str, lengths: Tensor | None, taken: list[str]) -> None:
    for reverse in (False, True) if lengths is not None else (False,):
        want = passed(reference, name, kind, lengths=lengths, reverse=reverse)
        got = passed(scan, name, kind, lengths=lengths, reverse=reverse)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=2e-5)
    assert taken


@interpreted
@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("kind", ["tied", "untied"])
def test_products_in_bfloat16(name: str, kind: str, taken: list[str]) -> None:
    want, got = passed(reference, name, kind), passed(scan, name, kind, low=True)
    gaps = [float((a - b).norm() / a.norm()) for a, b in zip(want, got, strict=True)]
    assert 0.0 < max(gaps) < 0.02


@interpreted
@pytest.mark.parametrize("name", ["lstm", "gru"])
@pytest.mark.parametrize("kind", ["tied", "steps untied", "cell"])
def test_spans_of_steps_and_weights_read_anew(
    name: str, kind: str, taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "steps" if name == "gru" and kind == "cell" else kind
    want = passed(reference, name, kind, lengths=LENGTHS)
    monkeypatch.setattr(persistent, "_PROJECTED_BYTES", ROWS * 4 * UNITS * 4 * 2)  # two steps at once
    monkeypatch.setattr(persistent, "_HELD_BYTES", 0)
    monkeypatch.setattr(persistent, "_TILE", 4)
    torch.testing.assert_close(passed(scan, name, kind, lengths=LENGTHS), want, rtol=1e-4, atol=2e-5)
    with torch.no_grad():  # spans are cut where nothing is kept
        got, _ = run(scan, name, kind, lengths=LENGTHS)
    torch.testing.assert_close(got, want[: len(got)], rtol=1e-4, atol=2e-5)


@interpreted
def test_a_kernel_is_tried_before_it_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    persistent.agrees.cache_clear()
    for name in ("lstm", "gru"):
        assert persistent.agrees(name, 10, torch.float32, "highest", cpu)
    assert 1e-6 < persistent._largest_gap("gru", 10, torch.bfloat16, cpu) < 5e-2
    plain = persistent.persistent_backward

    def wrong(*arguments: Any) -> tuple[Any, ...]:
        blocks, low, by_hidden, by_memory = plain(*arguments)
        return blocks, low, by_hidden * 1.01, by_memory

    monkeypatch.setattr(persistent, "persistent_backward", wrong)
    with pytest.warns(UserWarning, match="differ by 0.01 of their size"):
        assert not persistent.agrees("lstm", 12, torch.float32, "highest", cpu)

    def broken(*_: Any) -> None:
        raise RuntimeError("out of resource: shared memory\nmore")

    monkeypatch.setattr(persistent, "persistent_forward", broken)
    with pytest.warns(UserWarning, match=r"RuntimeError: out of resource: shared memory\)"):
        assert not persistent.agrees("gru", 12, torch.float32, "highest", cpu)
    persistent.agrees.cache_clear()


def test_which_layers_the_kernels_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_loop, "_triton_works", lambda: True)
    monkeypatch.setattr(persistent, "agrees", lambda *_: True)

    def served(name: str = "lstm", masks: SiteMasks | None = None, **other: Any) -> bool:
        like: Any = type("Like", (), {"dtype": torch.float32, "device": torch.device("cuda"), "shape": (3, 8)} | other)
        none = torch.empty(0)
        layer = Layer(name, none, none, None, None, masks or SiteMasks(), [3, 2], torch.float32)
        return fused_loop.persistent_of(layer, like) is not None

    assert served()
    assert served("gru", shape=(3, 128))
    assert not served(shape=(3, 129))
    assert not served("rnn_tanh")
    assert not served(dtype=torch.float64)
    assert not served(device=torch.device("cpu"))
    assert not served(masks=SiteMasks(keep_hidden=torch.ones(1, 1, 3, 8)))
    monkeypatch.setattr(persistent, "agrees", lambda *_: False)
    assert not served()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    ("name", "kind", "units", "lengths"),
    [  # few, since each is compiled: weights held and in tiles, all kinds of masks
        ("lstm", "none", 10, None),
        ("lstm", "tied", 32, None),
        ("lstm", "cell", 50, LENGTHS),
        ("lstm", "steps untied", 128, LENGTHS),
        ("lstm_capped", "untied", 64, None),
        ("gru", "tied", 20, LENGTHS),
        ("gru", "untied", 100, None),
    ],
)
def test_a_device_is_the_plain_loop(
    name: str, kind: str, units: int, lengths: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    plain = persistent.persistent_forward
    monkeypatch.setattr(persistent, "persistent_forward", lambda *a: (calls.append(1), plain(*a))[1])
    want = passed(reference, name, kind, units=units, lengths=lengths)
    got = passed(scan, name, kind, device="cuda", units=units, lengths=lengths)
    assert calls, "the kernels were not used"
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)
    low = passed(scan, name, kind, device="cuda", low=True, units=units, lengths=lengths)
    gaps = [float((a - b).norm() / b.norm()) for a, b in zip(low, want, strict=True)]
    assert max(gaps) < 0.03
