"""Several processes give the numbers of one; a rank that dies or differs ends the job with an error that says so."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import bayesrnn as br
from bayesrnn.inference.distributed import Ranks
from tests.problems import problem

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, sys, torch
torch.set_num_threads(1)
import bayesrnn as br
from bayesrnn.inference import alone
from bayesrnn.inference import distributed as ranks
from bayesrnn.inference.outputs import point
from safetensors.torch import save_file
from tests.problems import problem
mode, out = sys.argv[1], sys.argv[2]
found = {}
def keep(name, p):
    mean = p.mean if hasattr(p, "mean") else p.probabilities
    found[name] = torch.cat([mean.flatten(), p.standard_error.flatten(), p.epistemic.flatten()])
for task in ("regression", "classes"):
    exact = problem("lstm", task)
    for rows in (6, 1):
        x = exact.inputs[:rows]
        keep(f"{task} {rows} kept", br.predict(exact.model, x, draws=100))
        keep(f"{task} {rows} streamed", br.predict(exact.model, x, draws=100, keep_draws=False))
        keep(f"{task} {rows} tolerance", br.predict(exact.model, x, draws=400, tolerance=0.01))
rank = int(os.environ["RANK"])
masks = br.nn.Dropout(0.3)
found["masks"] = br.predict(masks, torch.ones(5, 7), draws=40, likelihood=point).draws
save_file(found, f"{out}.{rank}")
if mode == "alone":
    with alone():
        br.predict(exact.model, exact.inputs + rank, draws=4)
if mode == "differ":
    br.predict(exact.model, exact.inputs + rank, draws=4)
if mode in ("die", "fail"):
    print("ready", flush=True)
    likelihood = (lambda distribution: 1 / 0) if mode == "fail" and rank == 1 else None
    options = {"draws": 50_000_000, "keep_draws": False, "max_memory": 10_000, "likelihood": likelihood}
    if rank == 0:
        options["draws"] = 16  # it waits for the other
    br.inference.distributed.Ranks.agree = lambda *facts: None
    br.predict(exact.model, exact.inputs, **options)
"""
pytestmark = pytest.mark.slow


def start(mode, out, size):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    common = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    common |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, mode, str(out)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    return [subprocess.Popen(command, env=common | {"RANK": str(rank)}, **options) for rank in range(size)]


def ends(processes):
    return [(p.communicate(timeout=200), p.returncode) for p in processes]


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_give_the_numbers_of_one_process(tmp_path, size):
    for (_, error), code in ends(start("alone", tmp_path / "r", size)):
        assert code == 0, error
    single = {"masks": br.predict(br.nn.Dropout(0.3), torch.ones(5, 7), draws=40, likelihood=br.inference.point).draws}
    for task in ("regression", "classes"):
        exact = problem("lstm", task)
        for rows in (6, 1):
            for name, options in {
                "kept": {"draws": 100},
                "streamed": {"draws": 100, "keep_draws": False},
                "tolerance": {"draws": 400, "tolerance": 0.01},
            }.items():
                p = br.predict(exact.model, exact.inputs[:rows], **options)
                mean = p.mean if task == "regression" else p.probabilities
                parts = [mean.flatten(), p.standard_error.flatten(), p.epistemic.flatten()]
                single[f"{task} {rows} {name}"] = torch.cat(parts)
    for rank in range(size):
        found = load_file(tmp_path / f"r.{rank}")
        assert torch.equal(found["masks"], single["masks"])
        for name, value in single.items():
            torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", ["die", "fail"])
def test_a_rank_that_dies_or_fails_ends_the_job(tmp_path, mode):
    processes = start(mode, tmp_path / "r", 2)
    for p in processes:
        assert p.stdout.readline() == "ready\n"
    time.sleep(1)
    if mode == "die":
        processes[1].send_signal(signal.SIGKILL)
    began = time.monotonic()
    (_, error), code = ends(processes)[0]
    assert time.monotonic() - began < 60
    assert code != 0
    assert "rank 0 of 2 waited for the others in vain" in error


def test_ranks_that_differ_are_named(tmp_path):
    found = ends(start("differ", tmp_path / "r", 2))
    assert all(code != 0 for _, code in found)
    assert "ranks [1] differ from rank 0" in found[0][0][1]


def test_ranks_cover_all_rows():
    for size in (1, 2, 3, 8):
        for rows in (1, 2, 6, 50):
            parts = {tuple(Ranks(rank, size).rows(rows).tolist()) for rank in range(size)}
            assert sorted(row for part in parts for row in part) == list(range(rows))
