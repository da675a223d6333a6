"""Steps that are recorded on a CUDA device: what such a step may not do, and that playing it back changes nothing."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import bayesrnn as br
from bayesrnn import schemes
from bayesrnn.models import LanguageModel
from bayesrnn.nn.devices import played_back, to_be_played_back
from bayesrnn.training import SGD, AdamW, Recipe, StepDecay, train_language_model
from bayesrnn.training.recorded import Recorded
from tests.simulated_device import moved, simulated_device

SCHEMES = {
    "none": schemes.none(),
    "tied": schemes.gal(0.3),
    "untied": schemes.gal(0.3, gates="untied"),
    "zaremba": schemes.zaremba(0.3),
    "naive": schemes.naive(0.3),
    "moon": schemes.moon(0.3),
    "semeniuta": schemes.semeniuta(0.3),
    "weight drop": schemes.weight_drop(0.3),
    "zoneout": schemes.zoneout(0.3, 0.2),
}


class _Looks(TorchDispatchMode):
    """Counts the looks at numbers, for which a device would have to be waited for."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("cell", "scheme"), [("lstm", s) for s in SCHEMES] + [("gru", "tied"), ("gru", "untied")])
def test_a_window_looks_at_no_number(cell: str, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesrnn.nn.embedding.watched", lambda: True)
    looks: list[int] = []

    def spied(self: Recorded, *inputs: Tensor) -> tuple[Tensor, ...]:
        with _Looks() as mode:
            found = self.function(*inputs)
        looks.append(mode.count)
        return found

    monkeypatch.setattr(Recorded, "__call__", spied)
    with simulated_device() as device:
        model = moved(LanguageModel(20, 6, 6, cell=cell, dropout=SCHEMES[scheme]))
        stream = torch.randint(0, 20, (90,)).to(device)
        train_language_model(model, stream, Recipe(1, batch_size=2, window=8))
    assert looks
    assert not any(looks)


class _Graph:
    """In the place of torch's: counts how often it is played."""

    played = 0

    def replay(self) -> None:
        self.played += 1


class _Pretended(Tensor):
    """A tensor that says it is on a CUDA device."""

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return torch.device("cuda")


@contextmanager
def _nothing(*_: Any) -> Iterator[None]:
    yield


class _Stream:
    def wait_stream(self, other: Any) -> None:
        """There is one stream."""


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let recordings run on the CPU: the function is computed when it is recorded, and playing it does nothing."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", _Graph)
    monkeypatch.setattr(torch.cuda, "graph", _nothing)
    monkeypatch.setattr(torch.cuda, "Stream", _Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", _Stream)
    monkeypatch.setattr(torch.cuda, "stream", _nothing)


def doubled(parameter: nn.Parameter) -> Any:
    def function(x: Tensor) -> tuple[Tensor]:
        assert played_back()
        loss = (x.as_subclass(Tensor) * parameter).sum()
        loss.backward()
        return (loss.detach(),)

    return function


def test_gradients_are_found_after_each_playing(pretended: None) -> None:
    parameter = nn.Parameter(torch.tensor([2.0, 3.0]))
    recorded = Recorded(doubled(parameter), [parameter])
    for call in range(6):
        (loss,) = recorded(torch.tensor([1.0, 5.0]).as_subclass(_Pretended))
        assert float(loss) == 17.0
        assert parameter.grad is not None
        assert parameter.grad.tolist() == [1.0, 5.0], call
        parameter.grad = None  # as an optimizer leaves it
    assert recorded._graph is not None
    assert recorded._graph.played == 3
    assert not played_back()


def test_another_shape_is_not_recorded(pretended: None) -> None:
    parameter = nn.Parameter(torch.ones(()))
    recorded = Recorded(lambda x: ((x.as_subclass(Tensor) * parameter).sum().detach(),), [])
    for _ in range(5):
        recorded(torch.ones(3).as_subclass(_Pretended))
    assert float(recorded(torch.ones(4).as_subclass(_Pretended))[0]) == 4.0
    assert float(recorded(torch.ones(3).as_subclass(_Pretended))[0]) == 3.0


def test_what_cannot_be_recorded_goes_on_without(pretended: None, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def refused(*_: Any) -> Iterator[None]:
        raise RuntimeError("operation not permitted when stream is capturing")
        yield

    monkeypatch.setattr(torch.cuda, "graph", refused)
    parameter = nn.Parameter(torch.tensor([2.0, 3.0]))
    recorded = Recorded(doubled(parameter), [parameter])
    given = torch.tensor([1.0, 5.0]).as_subclass(_Pretended)
    for call in range(6):
        parameter.grad = None
        if call == 3:
            with pytest.warns(UserWarning, match="cannot be recorded as a CUDA graph"):
                (loss,) = recorded(given)
        else:
            (loss,) = recorded(given)
        assert float(loss) == 17.0
        assert parameter.grad is not None
        assert parameter.grad.tolist() == [1.0, 5.0]


def trained(model: nn.Module, stream: Tensor, recipe: Recipe) -> list[float]:
    history = train_language_model(model, stream, recipe, valid=stream[:60], seed=3)
    return [epoch["train_nll"] for epoch in history]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("precision", [None, "bf16"])
@pytest.mark.parametrize("optimizer", [SGD(StepDecay(1.0, 1, 1.3), weight_decay=1e-6), AdamW()])
def test_a_recorded_training_is_the_one_that_is_not(
    scheme: str, precision: str | None, optimizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = LanguageModel(40, 16, 16, dropout=SCHEMES[scheme]).cuda()
    other = copy.deepcopy(model)
    stream = torch.randint(0, 40, (600,))
    recipe = Recipe(3, optimizer, batch_size=4, window=10, precision=precision)
    played: list[bool] = []
    plain = Recorded.__call__

    def spied(self: Recorded, *inputs: Tensor) -> tuple[Tensor, ...]:
        found = plain(self, *inputs)
        played.append(self._graph is not None)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Recorded, "__call__", spied)
        got = trained(model, stream, recipe)
    assert sum(played) > 30

    def launched(self: Recorded, *inputs: Tensor) -> tuple[Tensor, ...]:
        with to_be_played_back():  # the same kernels
            return self.function(*inputs)

    monkeypatch.setattr(Recorded, "__call__", launched)
    want = trained(other, stream, recipe)
    assert got == pytest.approx(want, rel=1e-4)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_device_trains_and_judges_as_the_cpu_does() -> None:
    torch.manual_seed(0)
    model = LanguageModel(40, 16, 16)
    there = copy.deepcopy(model).cuda()
    stream = torch.randint(0, 40, (600,))
    recipe = Recipe(2, batch_size=4, window=10)
    assert trained(there, stream, recipe) == pytest.approx(trained(model, stream, recipe), rel=1e-3)
    masked = LanguageModel(40, 16, 16, dropout=0.3)
    options: dict[str, Any] = {"draws": 8, "seed": 1, "window": 10}
    want = br.perplexity(masked, stream, **options)
    got = br.perplexity(copy.deepcopy(masked).cuda(), stream, **options)
    assert got.perplexity == pytest.approx(want.perplexity, rel=1e-4)
