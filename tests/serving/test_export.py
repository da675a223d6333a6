"""Exported graphs say what `predict` says, for other rows and steps than the example's; the sampler has its bits."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn import schemes
from bayesrnn.masks import stream
from bayesrnn.serving.sampler import dropped
from tests.serving.graphs import Anything, agrees, in_torch, sampler

DRAWS, SEED = 18, 3  # more than one stratified block


def in_onnxruntime(path: Path, inputs: list[Tensor], masks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    named = dict(zip([i.name for i in session.get_inputs()], [x.numpy() for x in inputs]))
    outputs = session.run(None, named | masks)
    return dict(zip([o.name for o in session.get_outputs()], outputs))


def regressor(cell: str, **options: Any) -> tuple[nn.Module, tuple[Tensor, Tensor], list[Tensor]]:
    torch.manual_seed(0)
    model = br.models.SequenceRegressor(3, 4, dropout=0.3, cell=cell, **options)  # type: ignore[arg-type]
    example = torch.randn(2, 5, 3), torch.tensor([5, 2])
    return model, example, [torch.randn(4, 9, 3), torch.tensor([9, 2, 5, 1])]


TWO = {"num_layers": 2, "bidirectional": True}
STACKS: list[tuple[str, dict[str, Any]]] = [("lstm", {}), ("gru", TWO)]
EVERY = [*STACKS, *(pytest.param(*case, marks=pytest.mark.slow) for case in [("lstm", TWO), ("gru", {})])]


@pytest.mark.parametrize(("cell", "options"), EVERY)
def test_a_graph_of_torch_with_masks_is_predict(cell: str, options: dict[str, Any], tmp_path: Path) -> None:
    model, example, inputs = regressor(cell, **options)
    path = br.export(model, example, tmp_path / "net.pt2", "torch", masks=True)
    agrees(model, path, inputs, in_torch, 9)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("cell", "options"), EVERY)
def test_onnxruntime_gives_the_moments_of_predict(cell: str, options: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    model, example, inputs = regressor(cell, **options)
    path = br.export(model, example, tmp_path / "net.onnx", masks=True)
    agrees(model, path, inputs, in_onnxruntime, 9)
    plain = br.export(model, example[:1], tmp_path / "plain.onnx")
    got = in_onnxruntime(plain, inputs[:1], {})
    want = br.predict(model, inputs[0], draws=0)
    np.testing.assert_allclose(got["loc"], want.mean, atol=1e-5)
    np.testing.assert_allclose(got["scale"] ** 2, want.variance, atol=1e-5)
    assert not (tmp_path / "plain_masks.py").exists()


@pytest.mark.parametrize(
    ("cell", "scheme"),
    [
        ("LSTM", schemes.zoneout(0.4, 0.3)),
        ("LSTM", schemes.moon(0.4)),
        ("LSTM", schemes.semeniuta(0.4)),
        ("RNN", schemes.naive(0.4, gates="untied")),
        ("GRU", schemes.gal(0.4, gates="tied")),
    ],
    ids=str,
)
def test_every_kind_of_mask_can_be_an_input(cell: str, scheme: schemes.Scheme, tmp_path: Path) -> None:
    torch.manual_seed(1)
    options = {"proj_size": 2} if scheme.name == "zoneout" else {"bidirectional": True}
    model = Anything(cell, scheme, **options)
    path = br.export(model, torch.randn(2, 4, 3), tmp_path / "net.pt2", "torch", masks=True)
    agrees(model, path, [torch.randn(3, 6, 3)], in_torch, 6, likelihood=br.inference.point)
    agrees(model, path, [torch.randn(1, 1, 3)], in_torch, 1, likelihood=br.inference.point)


def test_words_are_masked_by_type(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = br.models.SequenceClassifier(vocabulary=9, hidden_size=4, dropout=0.3, cell="gru", classes=3)
    path = br.export(model, (torch.zeros(2, 5, dtype=torch.long),), tmp_path / "net.pt2", "torch", masks=True)
    agrees(model, path, [torch.randint(0, 9, (3, 7))], in_torch, 7)
    assert sampler(path).sample_masks(3, 2)["encoder.embedding.word"].shape == (6, 9)


def test_the_sampler_has_the_bits_of_the_stream() -> None:
    draws, sequences = np.array([0, 3, 17, 40]), np.array([0, 5, 2**40])
    for sampling in ("stratified", "independent"):
        for rate in (0.25, 0.3, 0.9999, 1 - 2**-33, 0.001):
            for units in (1, 7):
                want = stream(sampling, 11).dropped(
                    "a.b", torch.from_numpy(draws), torch.from_numpy(sequences), units, rate
                )
                assert np.array_equal(dropped("a.b", draws, sequences, units, rate, 11, sampling), want.numpy())


def test_the_sampler_gives_the_masks_of_a_draw(tmp_path: Path) -> None:
    model = Anything("LSTM", schemes.naive(0.3))
    path = br.export(model, torch.randn(2, 4, 3), tmp_path / "net.pt2", "torch", masks=True)
    code = sampler(path)
    want = model.rnn.sample_masks(2, seed=5, draw=7, steps=4, sequence_ids=[3, 8])
    got = code.sample_masks([3, 8], [7], 5, 4, "independent")
    assert {f"rnn.{key}" for key in want} == set(got)
    for key in ("input_l0", "hidden_l0"):
        exact = dropped_mask(f"rnn.{key}", want[key])
        np.testing.assert_array_equal(got[f"rnn.{key}"], exact)
    with pytest.raises(ValueError, match="changes each step: say how many with steps="):
        code.sample_masks(2, 4)
    with pytest.raises(ValueError, match="sampling must be"):
        code.sample_masks(2, 4, steps=3, sampling="sobol")


def dropped_mask(name: str, like: Tensor) -> np.ndarray:
    steps, rows, features = like.shape
    fallen = stream("independent", 5).dropped(name, torch.tensor([7]), torch.tensor([3, 8]), steps * features, 0.3)
    return ((~fallen[0]).view(rows, steps, features).transpose(0, 1).float() * (1 / 0.7)).numpy()


def test_a_file_runs_without_this_library(tmp_path: Path) -> None:
    model, example, _ = regressor("lstm")
    path = br.export(model, example, tmp_path / "net.pt2", "torch", masks=True)
    code = f"""
import sys, torch
sys.path.insert(0, {str(tmp_path)!r})
from net_masks import sample_masks
masks = {{name: torch.from_numpy(mask) for name, mask in sample_masks(1, 20).items()}}
out = torch.export.load({str(path)!r}).module()(torch.ones(20, 3, 3), torch.full((20,), 3), masks=masks)
print(tuple(out["loc"].shape), bool(out["loc"].std() > 0), "bayesrnn" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.split("\n")[0] == "(20,) True False", done.stderr
