"""Floods: many sequences, long series, many draws, many threads, a lost rank; each in a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

import bayesrnn as br
from bayesrnn.data import read_series
from evaluation.faults.trials import scratch

_STEPS, _DRAWS = 20, 16


def loads() -> dict[str, Callable[[], dict[str, Any]]]:
    """Return every flood by name."""
    return {
        "100,000 sequences through a DataLoader": lambda: _apart(lambda: _loader(100_000)),
        "a series of a million rows": lambda: _apart(lambda: _series(1_000_000)),
        "10,000 draws": lambda: _apart(_draws),
        "1,000 calls from threads": lambda: _apart(lambda: _threads(1000)),
        "a rank is killed": _rank,
    }


def _apart(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do work in a process of its own, and add the most memory that it took."""
    read, write = os.pipe()
    process = os.fork()
    if not process:
        torch.set_num_threads(1)
        before, start = _highest(reset=True), time.perf_counter()
        try:
            result = work()
        except Exception as error:
            result = {"failed": f"{type(error).__name__}: {error}"[:500]}
        result |= {"seconds": round(time.perf_counter() - start, 2), "memory_mb": round(_highest() - before, 1)}
        os.write(write, json.dumps(result).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read()
    os.waitpid(process, 0)
    return json.loads(text) if text else {"failed": "the process died"}


def _highest(reset: bool = False) -> float:
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))


class _Sequences(Dataset):  # type: ignore[type-arg]
    """Sequences of 1 to 20 steps, made as they are asked for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        steps = 1 + index % _STEPS
        return torch.sin(torch.arange(float(steps)) * (1 + index % 7))[:, None]


def _batch(rows: list[torch.Tensor]) -> torch.Tensor:
    return pad_sequence(rows, batch_first=True)


def _model() -> torch.nn.Module:
    torch.manual_seed(0)
    return br.models.SequenceRegressor(1, 16, dropout=0.2).eval()


def _loader(count: int) -> dict[str, Any]:
    model, data = _model(), _Sequences(count)
    big = _batch([data[k] for k in range(4000)])
    options: dict[str, Any] = {"draws": _DRAWS, "keep_draws": False}
    lengths = 1 + torch.arange(count) % _STEPS
    br.predict(model, big[:64], lengths=lengths[:64], **options)
    start = time.perf_counter()
    once = br.predict(model, big, lengths=lengths[:4000], **options)
    rate = 4000 / (time.perf_counter() - start)
    before, start = _highest(reset=True), time.perf_counter()
    result = br.predict(model, DataLoader(data, batch_size=4000, collate_fn=_batch), lengths=lengths, **options)
    taken = time.perf_counter() - start
    same = torch.allclose(result.mean[:4000], once.mean, rtol=1e-5, atol=1e-6)
    return {
        "rows": len(result), "as one batch": same, "above_the_model_mb": round(_highest() - before, 1),
        "rows_per_second": round(count / taken), "rows_per_second_of_one_batch": round(rate),
    }  # fmt: skip


def _series(count: int) -> dict[str, Any]:
    import pandas as pd

    with scratch() as folder:
        path = Path(folder) / "long.csv"
        times = pd.date_range("2010-01-01", periods=count, freq="5min")
        values = torch.sin(torch.arange(count) / 288).numpy()
        pd.DataFrame({"t": times, "y": values}).to_csv(path, index=False)
        start = time.perf_counter()
        series = read_series(path, time="t", target="y")
        return {"rows": len(series), "reading_s": round(time.perf_counter() - start, 2)}


def _draws() -> dict[str, Any]:
    model, x = _model(), torch.randn(8, _STEPS, 1, generator=torch.Generator().manual_seed(0))
    kept, streamed = (br.predict(model, x, draws=10_000, keep_draws=keep) for keep in (True, False))
    return {"agree": torch.allclose(kept.mean, streamed.mean, rtol=1e-5, atol=1e-6), "draws": kept.draws_used}


def _threads(count: int) -> dict[str, Any]:
    model, x = _model(), torch.randn(4, _STEPS, 1, generator=torch.Generator().manual_seed(0))
    right, outcomes, words = br.predict(model, x, draws=16).mean, Counter[str](), set[str]()

    def call(_: int) -> None:
        try:
            answer = br.predict(model, x, draws=16).mean
            outcomes["right" if torch.equal(answer, right) else "wrong"] += 1
        except (ValueError, RuntimeError) as error:
            outcomes["refused"] += 1
            words.add(str(error)[:300])

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(call, range(count)))
    return {"outcomes": dict(outcomes), "refusals": sorted(words)[:3]}


_RANK = """
import os, sys, time, torch, bayesrnn as br
torch.manual_seed(0)
model, x = br.models.SequenceRegressor(1, 8, dropout=0.2).eval(), torch.ones(8, 5, 1)
br.predict(model, x, draws=16)
print("ready", flush=True)
time.sleep(60 if os.environ["RANK"] == "1" else 3)
br.predict(model, x, draws=16)
"""


def _rank() -> dict[str, Any]:
    """Kill rank 1 of two between two predictions: how long until rank 0 ends with an error, and what it says."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [
        subprocess.Popen([sys.executable, "-c", _RANK], env=shared | {"RANK": str(k), "LOCAL_RANK": str(k)}, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for k in range(2)
    ]  # fmt: skip
    for rank in ranks:
        assert rank.stdout is not None  # noqa: S101 - it was asked for
        rank.stdout.readline()
    ranks[1].send_signal(signal.SIGKILL)
    start = time.monotonic()
    try:
        words = ranks[0].communicate(timeout=100)[1]
    except subprocess.TimeoutExpired:
        ranks[0].kill()
        return {"failed": "the other rank was still waiting after 100 s"}
    finally:
        ranks[1].communicate()
    lines = words.strip().splitlines() or [""]
    return {"seconds": round(time.monotonic() - start, 1), "exit": ranks[0].returncode, "says": lines[-1][:300]}
