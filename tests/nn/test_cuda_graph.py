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
from bayesrnn.models.encoder import Encoder
from bayesrnn.nn.cuda_graph import Recorded
from bayesrnn.nn.devices import to_be_played_back
from bayesrnn.nn.kernels.reference import reference
from bayesrnn.training import SGD, AdamW, History, Recipe, StepDecay, train_language_model
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


def test_a_recording_that_could_not_follow_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Recorded] = []
    plain = Recorded.__init__

    def counted(self: Recorded, *arguments: Any) -> None:
        made.append(self)
        plain(self, *arguments)

    monkeypatch.setattr(Recorded, "__init__", counted)
    model = LanguageModel(20, 4, 4, dropout=0.3)
    seen: list[int] = []

    def change(history: History) -> None:
        seen.append(len(made))
        if history.epochs == 2:
            model.output_dropout.p = 0.1
        if history.epochs == 3:
            model.embedding.register_forward_hook(lambda *_: None)

    train_language_model(model, torch.randint(0, 20, (90,)), Recipe(5, batch_size=2, window=8), on_epoch=change)
    assert seen == [1, 1, 2, 3, 3]


@pytest.mark.parametrize("carry", [True, False])
def test_the_state_goes_on_or_begins_anew(carry: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[bool] = []

    def spied(self: Recorded, inputs: Tensor, targets: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        states.append(any(bool(s.any()) for s in state))
        return self.function(inputs, targets, *state)

    monkeypatch.setattr(Recorded, "__call__", spied)
    train_language_model(
        LanguageModel(20, 4, 4), torch.randint(0, 20, (60,)), Recipe(2, batch_size=2, window=9, carry_state=carry)
    )
    assert states == [False, carry, carry] * 2


def test_layers_without_masks_take_the_scan_where_they_are_played_back(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    monkeypatch.setattr("bayesrnn.nn.kernels.dispatch.scan", lambda *a, **k: taken.append("scan") or reference(*a, **k))
    for scheme in (schemes.none(), schemes.zaremba(0.3)):
        layer = br.nn.LSTM(3, 4, dropout=scheme)
        x = torch.randn(5, 2, 3)
        taken.clear()
        with to_be_played_back():
            got = layer(x, masks=layer.sample_masks(2, seed=0, steps=5))[0]
        assert taken == ["scan"]
        want = layer(x, masks=layer.sample_masks(2, seed=0, steps=5))[0]
        torch.testing.assert_close(got, want)


def test_an_encoder_looks_at_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesrnn.models.encoder.watched", lambda: True)
    model = br.models.SequenceRegressor(input_size=2, hidden_size=4, dropout=0.3)
    encoder = next(m for m in model.modules() if isinstance(m, Encoder))
    with _Looks() as mode:
        encoder(torch.randn(3, 5, 2))
    assert mode.count == 0


def trained(model: nn.Module, stream: Tensor, recipe: Recipe) -> list[float]:
    history = train_language_model(model, stream, recipe, validation=stream[:60], seed=3)
    return list(history.train)


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
def test_a_device_goes_on_after_a_recording_that_failed() -> None:
    recorded = Recorded(lambda x: (x + torch.rand(3, device="cuda").sum().item(),), [])
    before = torch.cuda.current_stream()
    found = []
    for call in range(6):
        torch.manual_seed(call)
        if call == 3:
            with pytest.warns(UserWarning, match="cannot be recorded"):
                found.append(float(recorded(torch.zeros(1, device="cuda"))[0]))
        else:
            found.append(float(recorded(torch.zeros(1, device="cuda"))[0]))
    assert len(set(found)) == 6
    assert torch.cuda.current_stream() == before


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_the_second_device_trains_as_the_first() -> None:
    torch.manual_seed(0)
    model = LanguageModel(40, 16, 16, dropout=0.3)
    stream, recipe = torch.randint(0, 40, (600,)), Recipe(2, batch_size=4, window=10)
    one, two = copy.deepcopy(model).to("cuda:0"), model.to("cuda:1")
    assert trained(two, stream, recipe) == pytest.approx(trained(one, stream, recipe), rel=1e-3)


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
