"""What cannot be exported, and the page about serving."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn import schemes
from tests.serving.graphs import Anything, agrees, in_torch

DRAWS, SEED = 18, 3  # more than one stratified block


class InALoop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = br.nn.GRUCell(3, 4, dropout=0.3)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), 4)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return h


class Fixed(nn.Module):
    """Reads the steps of the example as a number that stays, where no check of torch sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = br.nn.GRU(3, 4, batch_first=True, dropout=0.3)
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        scale = 5.0 if torch.compiler.is_exporting() else float(x.shape[1])
        return self.rnn(x)[0] / scale


def test_what_cannot_be_a_graph_is_refused(tmp_path: Path) -> None:
    x, path = torch.randn(2, 5, 3), tmp_path / "net.pt2"
    with pytest.raises(ValueError, match=r"masks \['rnn.weight_hh_l0'\] are of weights"):
        br.export(Anything("LSTM", schemes.weight_drop(0.3)), x, path, "torch", masks=True)
    with pytest.raises(ValueError, match=r"learned by a ConcreteDropout.*wrapped.settle\(\)"):
        br.export(br.nn.ConcreteDropout(Anything("LSTM", schemes.gal(0.3))), x, path, "torch", masks=True)
    with pytest.raises(ValueError, match="no mask that could be an input"):
        br.export(nn.Linear(3, 4), x, path, "torch", masks=True)
    with pytest.raises(ValueError, match="cannot be written as a graph for any number of rows and steps"):
        br.export(InALoop(), x, path, "torch")
    with pytest.raises(ValueError, match=r"not right for 5 rows of 7 steps: Its numbers differ"):
        br.export(Fixed(), x, path, "torch")
    with pytest.raises(ValueError, match="at least two steps"):
        br.export(Anything("GRU", schemes.gal(0.3)), x[:, :1], path, "torch")
    with pytest.raises(ValueError, match="example must be a tensor or a tuple"):
        br.export(Anything("GRU", schemes.gal(0.3)), [x, "text"], path, "torch")
    with pytest.raises(ValueError, match=r"ends in '.onnx', but"):
        br.export(Anything("GRU", schemes.gal(0.3)), x, path)
    with pytest.raises(TypeError, match="takes a torch module"):
        br.export("model", x, path, "torch")  # type: ignore[arg-type]
    assert not path.exists()
    settled = br.nn.ConcreteDropout(Anything("LSTM", schemes.gal(0.3))).settle()
    assert br.export(settled, x, path, "torch", masks=True).exists()


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError, match="needs the packages onnx and onnxscript"):
        br.export(Anything("GRU", schemes.gal(0.3)), torch.randn(2, 5, 3), tmp_path / "net.onnx")


def test_the_page_serve_it_in_20_lines_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime", "onnxscript"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    torch.manual_seed(0)
    page = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "serve.py"))
    x, lengths = torch.from_numpy(page["x"]), torch.from_numpy(page["lengths"])
    predictive = br.predict(page["model"], x, lengths, draws=100)
    np.testing.assert_allclose(page["mean"], predictive.mean, atol=1e-5)
    np.testing.assert_allclose(page["variance"], predictive.variance, atol=1e-5)


class Tagger(nn.Module):
    """A convolution, a batch norm, a recurrent layer that is called twice, and attention, as torch has them."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.norm, self.drop = nn.Conv1d(3, 8, 3, padding=1), nn.BatchNorm1d(8), nn.Dropout(0.3)
        self.rnn = nn.GRU(8, 8, batch_first=True)
        self.again, self.attention = self.rnn, nn.MultiheadAttention(8, 2, batch_first=True)
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(self.norm(self.front(x.transpose(1, 2)))).transpose(1, 2)
        y = self.again(self.rnn(y)[0])[0]
        return self.out(y + self.attention(y, y, y)[0])


@pytest.mark.filterwarnings("ignore:layers were called more than once")
def test_a_converted_network_is_exported_after_another(tmp_path: Path) -> None:
    torch.manual_seed(0)
    forecaster = br.models.Forecaster(8, 3, hidden_size=4, dropout=0.3)
    path = br.export(forecaster, torch.randn(2, 8), tmp_path / "forecaster.pt2", "torch", masks=True)
    agrees(forecaster, path, [torch.randn(4, 8)], in_torch, 8)
    model = br.convert(Tagger(), 0.3)
    path = br.export(model, torch.randn(2, 5, 3), tmp_path / "net.pt2", "torch", masks=True)
    agrees(model, path, [torch.randn(4, 11, 3)], in_torch, 11, likelihood=br.inference.point)
