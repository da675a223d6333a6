"""Steps that are recorded on a CUDA device: what such a step may not do, and that playing it back changes nothing."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import bayesrnn as br
from bayesrnn import schemes
from bayesrnn.models import LanguageModel
from bayesrnn.nn.devices import to_be_played_back
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
