"""Predictions written chunk by chunk: the lines of one call, whatever was cut, killed or shared."""

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import bayesrnn as br
from bayesrnn import _progress

PARQUET = importlib.util.find_spec("pyarrow") is not None
OPTIONS = {"draws": 16, "seed": 3, "format": "csv"}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return br.models.SequenceRegressor(1, 4, dropout=0.2, every_step=True)


@pytest.fixture
def x():
    return torch.randn(25, 3, 1, generator=torch.Generator().manual_seed(1))


def read(folder, format="csv"):
    reader = pd.read_csv if format == "csv" else pd.read_parquet
    return pd.concat([reader(file) for file in sorted(folder.glob("part-*"))], ignore_index=True)


def expected(model, x, **options):
    return br.predict(model, x, draws=16, seed=3, **options).to_frame((0.5, 0.8, 0.95))


def close(a, b):
    pd.testing.assert_frame_equal(a, b, check_dtype=False, rtol=1e-4, atol=1e-5)


def test_the_lines_are_those_of_one_prediction(model, x, tmp_path):
    assert br.predict_to(tmp_path / "a", model, x, chunk=10, **OPTIONS) == tmp_path / "a"
    close(read(tmp_path / "a"), expected(model, x))
    loader = DataLoader(TensorDataset(x), 7)
    close(read(br.predict_to(tmp_path / "b", model, loader, **OPTIONS)), expected(model, x))
    ids = torch.arange(25).flip(0)
    found = read(br.predict_to(tmp_path / "c", model, x, sequence_ids=ids, chunk=8, **OPTIONS))
    close(found, expected(model, x, sequence_ids=ids))
    lengths = torch.arange(25) % 3 + 1
    found = read(br.predict_to(tmp_path / "d", model, x, lengths=lengths, chunk=8, **OPTIONS))
    close(found, expected(model, x, lengths=lengths))
    both = [model, br.models.SequenceRegressor(1, 4, dropout=0.2, every_step=True)]
    assert "between_networks" in read(br.predict_to(tmp_path / "e", both, x, **OPTIONS))


@pytest.mark.skipif(not PARQUET, reason="pyarrow is not installed")
def test_parquet_is_read_as_a_folder(model, x, tmp_path):
    folder = br.predict_to(tmp_path / "a", model, x, chunk=10, **{**OPTIONS, "format": "parquet"})
    found = pd.read_parquet(folder)
    close(found, expected(model, x))
    back = br.Predictive.from_frame(found)
    low = br.predict(model, x, draws=16, seed=3).interval(0.8)[0]
    torch.testing.assert_close(back.interval(0.8)[0].to(low), low, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(PARQUET, reason="pyarrow is installed")
def test_without_pyarrow_it_says_so(model, x, tmp_path):
    with pytest.raises(ImportError, match="pip install pyarrow, or format='csv'"):
        br.predict_to(tmp_path / "a", model, x)


def test_a_killed_job_loses_a_chunk_and_repeats_nothing(model, x, tmp_path, monkeypatch):
    module = sys.modules["bayesrnn.inference._predict_to"]
    original, calls = module.predict, []

    def predict(*args, **options):
        calls.append(len(options["sequence_ids"]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args, **options)

    monkeypatch.setattr(module, "predict", predict)
    with pytest.raises(KeyboardInterrupt):
        br.predict_to(tmp_path, model, x, chunk=5, **OPTIONS)
    assert len(list(tmp_path.glob("part-*"))) == 2
    assert not (tmp_path / "_manifest.json").exists()
    (tmp_path / f".{next(tmp_path.glob('part-*')).stem}-12345678.csv").write_text("half")
    br.predict_to(tmp_path, model, x, chunk=5, **OPTIONS)
    assert len(calls) == 3 + 3  # two chunks were there
    br.predict_to(tmp_path, model, x, chunk=5, **OPTIONS)
    assert len(calls) == 6
    close(read(tmp_path), expected(model, x))


def test_ranks_write_their_own_files_and_the_last_one_the_manifest(model, x, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, files in ((0, 3), (1, 5)):
        monkeypatch.setenv("RANK", str(rank))
        br.predict_to(tmp_path, model, x, chunk=5, **OPTIONS)
        assert len(list(tmp_path.glob("part-*"))) == files
        assert (tmp_path / "_manifest.json").exists() == (rank == 1)
    close(read(tmp_path), expected(model, x))


@pytest.mark.slow
def test_a_kill_by_the_system(tmp_path):
    code = f"""
import os, signal, torch, bayesrnn as br
torch.manual_seed(0)
model, x = br.models.SequenceRegressor(1, 4, dropout=0.2), torch.linspace(-1, 1, 60).reshape(20, 3, 1)
from bayesrnn.inference import _predict_to as module
original, left = br.predict, [int(os.environ["CHUNKS"])]
def predict(*args, **options):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **options)
import sys
sys.modules["bayesrnn.inference._predict_to"].predict = predict
br.predict_to({str(tmp_path)!r}, model, x, draws=16, chunk=4, format="csv")
"""
    root = Path(__file__).parents[2]
    for chunks, files in ((2, 2), (2, 4), (1, 5)):
        env = os.environ | {"CHUNKS": str(chunks), "PYTHONPATH": str(root)}
        subprocess.run([sys.executable, "-c", code], env=env, cwd=root, check=False)
        assert len(list(tmp_path.glob("part-*"))) == files
    assert len(read(tmp_path)) == 20


def test_progress_goes_to_the_log(model, x, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(_progress, "_EVERY", 0.0)
    with caplog.at_level(logging.INFO, "bayesrnn"):
        br.predict_to(tmp_path / "out", model, x, chunk=10, **OPTIONS)
    assert any("out: rows: 80% done" in line for line in caplog.messages)
    assert caplog.messages[-1].endswith("all 25 rows are written")


def test_it_says_what_is_wrong(model, x, tmp_path):
    br.predict_to(tmp_path / "a", model, x, chunk=10, **OPTIONS)
    with pytest.raises(ValueError, match="begun with another draws, seed"):
        br.predict_to(tmp_path / "a", model, x, chunk=10, draws=32, format="csv")
    with pytest.raises(ValueError, match="begun with another weights"):
        br.predict_to(tmp_path / "a", br.models.SequenceRegressor(1, 4, dropout=0.2), x, chunk=10, **OPTIONS)
    with pytest.raises(ValueError, match="was made of other inputs"):
        br.predict_to(tmp_path / "a", model, x + 1, chunk=10, **OPTIONS)
    with pytest.raises(ValueError, match="format must be one of"):
        br.predict_to(tmp_path / "b", model, x, format="xlsx")
    with pytest.raises(ValueError, match="the model has several outputs"):
        br.predict_to(tmp_path / "c", model, x, likelihood=lambda out: (out, out), **OPTIONS)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "part-1.csv").write_text("")
    with pytest.raises(ValueError, match="holds files of another writer"):
        br.predict_to(tmp_path / "d", model, x, **OPTIONS)
