"""Passes of predictions that are recorded and played back: the same numbers as plain passes, and only where it fits.

The tape stands for a CUDA graph: the operations of one call, traced, then applied to other inputs. What a graph would
take for granted (a mask or an input that is not handed to it, a decision in Python) a tape takes for granted too.
"""

import copy
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal
from torch.fx.experimental.proxy_tensor import make_fx

import bayesrnn as br
from bayesrnn import schemes
from bayesrnn.inference import recording
from bayesrnn.nn.cuda_graph import Recorded

SCHEMES = {
    "tied": schemes.gal(0.3),
    "untied": schemes.gal(0.3, gates="untied"),
    "naive": schemes.naive(0.3),
    "zaremba": schemes.zaremba(0.3),
    "weight drop": schemes.weight_drop(0.3),
    "zoneout": schemes.zoneout(0.3, 0.2),
}


class Forecaster(nn.Module):
    def __init__(self, scheme: Any, cell: Any = br.nn.LSTM) -> None:
        super().__init__()
        self.recurrent = cell(3, 5, dropout=scheme, batch_first=True, bidirectional=True)
        self.drop = br.nn.Dropout(0.2)
        self.readout = nn.Linear(10, 2)
        self.scale = 1.0

    def forward(self, x: Tensor) -> Any:
        out = self.readout(self.drop(self.recurrent(x)[0][:, -1]))
        return Normal(out[:, 0] * self.scale, torch.nn.functional.softplus(out[:, 1]))


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Play back tapes on the CPU; count the playbacks."""
    played: list[int] = []

    def call(self: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        self._calls += 1
        if self._calls == 1:
            return self.function(*inputs)
        if self._graph is None and not self.failed:
            try:
                self._graph = make_fx(self.function)(*inputs)
            except RuntimeError:  # it looks at a number
                self.failed = True
        if self.failed:
            return self.function(*inputs)
        played.append(1)
        return tuple(self._graph(*inputs))

    monkeypatch.setattr(Recorded, "__call__", call)
    monkeypatch.setattr(recording, "_DEVICES", ("cpu",))
    return played


def series(count: int = 5, rows: int = 4) -> list[Tensor]:
    return list(torch.randn(count, rows, 6, 3, generator=torch.Generator().manual_seed(1)))


def predicted(model: nn.Module, inputs: list[Tensor], **options: Any) -> list[Tensor]:
    results = [br.predict(model, x, seed=seed, **{"draws": 16} | options) for seed, x in enumerate(inputs)]
    return [value for result in results for value in (result.mean, result.epistemic, result.aleatoric)]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_playing_back_is_the_plain_prediction(scheme: str, tape: list[int]) -> None:
    model = Forecaster(SCHEMES[scheme])
    want = predicted(model, series())
    with br.inference.recorded_passes():
        got = predicted(model, series())
    torch.testing.assert_close(got, want)
    assert len(tape) >= 3
    count = len(tape)
    predicted(model, series())
    assert len(tape) == count  # only within the block


@pytest.mark.parametrize(
    "options",
    [
        {"draws": 0},
        {"sharing": "pass"},
        {"sampling": "independent", "max_memory": 1 << 14},
        {"keep_draws": False},
        {"likelihood": lambda out: br.inference.point(out.mean)},
    ],
    ids=lambda o: next(iter(o)),
)
def test_options_of_a_prediction(options: dict[str, Any], tape: list[int]) -> None:
    model = Forecaster(SCHEMES["tied"], br.nn.GRU)
    want = predicted(model, series(), **options)
    with br.inference.recorded_passes():
        got = predicted(model, series(), **options)
    torch.testing.assert_close(got, want)
    assert tape


def test_a_loader_of_batches_is_recorded_in_one_call(tape: list[int]) -> None:
    model = Forecaster(SCHEMES["tied"])
    loader = torch.utils.data.DataLoader(torch.cat(series(6)), batch_size=4)
    want = br.predict(model, loader, draws=8)
    with br.inference.recorded_passes():
        got = br.predict(model, loader, draws=8)
    torch.testing.assert_close(got.mean, want.mean)
    torch.testing.assert_close(got.epistemic, want.epistemic)
    assert len(tape) == 4


def changes() -> dict[str, Callable[[Any], Any]]:
    def weights(m: Any) -> None:
        m.readout.weight.data.mul_(2.0)  # in place: seen by the recording

    def replaced(m: Any) -> None:
        m.readout.weight = nn.Parameter(m.readout.weight.detach() * 2.0)

    def rates(m: Any) -> None:
        m.drop.p = 0.6

    def attribute(m: Any) -> None:
        m.scale = 3.0

    return {"weights": weights, "replaced": replaced, "rates": rates, "attribute": attribute}


@pytest.mark.parametrize("change", changes())
def test_what_changes_between_predictions_is_followed(change: str, tape: list[int]) -> None:
    model = Forecaster(SCHEMES["tied"])
    other = copy.deepcopy(model)
    want = predicted(model, series(4))
    changes()[change](model)
    want += predicted(model, series(4, rows=3)) + predicted(model, series(4))
    with br.inference.recorded_passes():
        got = predicted(other, series(4))
        changes()[change](other)
        got += predicted(other, series(4, rows=3)) + predicted(other, series(4))
    torch.testing.assert_close(got, want)
    assert tape


class Counting(Forecaster):
    """Decides in Python, from pass to pass, in a place that nothing looks at."""

    calls_so_far: ClassVar[list[int]] = [0]

    def forward(self, x: Tensor) -> Any:
        self.calls_so_far[0] += 1
        out = super().forward(x)
        return Normal(out.mean + float(self.calls_so_far[0]), out.stddev)


def test_a_model_that_decides_from_pass_to_pass_is_left_alone(tape: list[int]) -> None:
    model = Counting(SCHEMES["tied"])
    with br.inference.recorded_passes(), pytest.warns(UserWarning, match="differs from the plain pass"):
        predicted(model, series(5), rows_interact="allow", draws=3)
    assert len(tape) == 1


class Sentences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = br.nn.Embedding(9, 3, dropout=0.3)
        self.readout = nn.Linear(3, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.readout(self.words(tokens).mean(1))[:, 0]


def test_what_cannot_be_recorded_runs_as_ever(tape: list[int]) -> None:
    model, hooked = Forecaster(SCHEMES["tied"]), Forecaster(SCHEMES["tied"])
    seen: list[int] = []
    hooked.readout.register_forward_hook(lambda *_: seen.append(1))
    tokens = torch.randint(0, 9, (4, 5))
    point: Any = {"likelihood": br.inference.point, "draws": 8}
    sentences = Sentences()
    want = br.predict(sentences, tokens, **point).mean
    with br.inference.recorded_passes():
        for _ in range(4):
            br.predict(hooked, series()[0], draws=8)
            br.predict(model.recurrent, series()[0], lengths=[6, 5, 3, 2], **point | {"likelihood": last})
            br.predict(model, series()[0], draws=8, control="linear")
            got = br.predict(sentences, tokens, **point).mean
    torch.testing.assert_close(got, want)
    assert not tape
    assert len(seen) >= 4


def last(output: Any) -> Any:
    return br.inference.point(output[0][:, -1])


def test_parameters_that_torch_refuses_are_refused_in_a_playback(
    tape: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Distribution, "_validate_args", True)
    model = Forecaster(SCHEMES["tied"])

    def signed(out: Any) -> Normal:
        return Normal(out.mean, -out.mean.square())

    with br.inference.recorded_passes():
        for _ in range(4):
            with pytest.raises(ValueError, match="to satisfy the constraint"):
                br.predict(model, series()[0], draws=8, likelihood=signed)


def test_a_bare_tensor_is_warned_of_in_a_playback(tape: list[int]) -> None:
    layer = nn.Sequential(br.nn.Dropout(0.3), nn.Linear(3, 1))
    with br.inference.recorded_passes():
        for _ in range(4):
            with pytest.warns(br.inference.NoLikelihoodWarning):
                br.predict(layer, torch.ones(4, 3), draws=8)
    assert tape


def test_recordings_are_few(tape: list[int]) -> None:
    model = Forecaster(SCHEMES["tied"])
    with br.inference.recorded_passes():
        for rows in range(1, 14):
            br.predict(model, series(1, rows)[0], draws=8)
        held = recording._open.get()
        assert held is not None
        assert len(held.passes) == recording._MOST


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("precision", [None, "bf16"])
def test_a_device_plays_back_the_plain_prediction(scheme: str, precision: str | None) -> None:
    model = Forecaster(SCHEMES[scheme]).cuda()
    inputs = [x.cuda() for x in series(8)]
    want = predicted(model, inputs, precision=precision)
    with br.inference.recorded_passes():
        got = predicted(model, inputs, precision=precision)
        held = recording._open.get()
        assert held is not None
        assert any(one.recorded.plays for one in held.passes.values())
        assert not held.refused
    tolerance = 1e-3 if precision is None else 3e-2  # without recordings, cuDNN's products may be TF32
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_device_goes_on_where_a_pass_cannot_be_recorded() -> None:
    class Looking(Forecaster):
        def forward(self, x: Tensor) -> Any:
            return super().forward(x * float(x.abs().amax()))

    model = Looking(SCHEMES["tied"]).cuda()
    inputs = [x.cuda() for x in series(8)]
    want = predicted(model, inputs)
    with br.inference.recorded_passes(), pytest.warns(UserWarning, match="prediction cannot be recorded"):
        got = predicted(model, inputs)
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)
    with br.inference.recorded_passes():  # lengths stay on the CPU: plain, without a word
        for _ in range(8):
            br.predict(model.recurrent, inputs[0], lengths=[6, 5, 3, 2], draws=8, likelihood=last)
