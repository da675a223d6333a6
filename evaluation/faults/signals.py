"""Requests to stop: the seconds from SIGTERM or SIGINT in the midst of a training to the end of the process."""

import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evaluation.faults.trials import scratch

_LONGEST = 300.0  # seconds until a command trains
_START = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from bayesrnn.cli import run; run()"
_COMMANDS = {
    "classify": "classify {file} --text text --target label -o {run} --epochs 500 --patience 500",
    "forecast": "forecast {file} --target y --time ds --horizon 6 -o {run}",
    "lm train": "lm train {file} {run} --hidden 12 --embedding 12 --layers 1 --batch-size 4 --window 8 --epochs 2000",
}


def signals(command: str, count: int = 10) -> dict[str, Any]:
    """Stop a command `count` times once it has written a checkpoint, by SIGTERM and SIGINT in turn."""
    seconds, right = [], 0
    for number in range(count):
        stop = (signal.SIGTERM, signal.SIGINT)[number % 2]
        took, code = _stopped(command, stop, 0.1 * number)
        seconds.append(took)
        right += code == 128 + stop
    return {
        "stops": count, "right_exit_codes": right, "median_s": round(statistics.median(seconds), 2),
        "largest_s": round(max(seconds), 2), "busy_per_core": round(os.getloadavg()[0] / (os.cpu_count() or 1), 1),
    }  # fmt: skip


def _stopped(command: str, stop: int, wait: float) -> tuple[float, int]:
    """Return the seconds from the signal to the end, and the exit code."""
    with scratch() as place:
        file, run = Path(place) / "data", Path(place) / "run"
        words = _COMMANDS[command].format(file=_written(file, command), run=run).split()
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([sys.executable, "-c", _START, *words], **quiet)  # type: ignore[call-overload]
        until = time.monotonic() + _LONGEST
        while not any(run.rglob("checkpoint.safetensors")):
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                raise RuntimeError(f"bayesrnn {command} did not come to train")
            time.sleep(0.05)
        time.sleep(wait)
        sent = time.monotonic()
        process.send_signal(stop)
        code = process.wait(_LONGEST)
        return time.monotonic() - sent, int(code)


def _written(file: Path, command: str) -> Path:
    """Write the data of a command, and return the file."""
    make = np.random.default_rng(0)
    if command == "lm train":
        file = file.with_suffix(".txt")
        file.write_text("the cat sees the moon .\na dog hears some rain .\n" * 200, encoding="utf-8")
        return file
    file = file.with_suffix(".csv")
    if command == "classify":
        texts = [" ".join(make.choice(list("abcdefgh"), 30)) for _ in range(2000)]
        table = pd.DataFrame({"text": texts, "label": make.choice(["x", "y"], 2000)})
    else:
        days = np.arange(700)
        table = pd.DataFrame({"ds": pd.date_range("2022-01-01", periods=700), "y": days % 7 + make.normal(size=700)})
    table.to_csv(file, index=False)
    return file


COMMANDS = tuple(_COMMANDS)
