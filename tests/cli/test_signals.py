"""Requests to stop: in one line, with the shell's exit code, and the same command goes on."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bayesrnn.cli import main

SMALL = ["--hidden", "12", "--embedding", "12", "--layers", "1", "--batch-size", "4", "--window", "8"]


@pytest.mark.parametrize(
    "name", ["SIGTERM", *(pytest.param(name, marks=pytest.mark.slow) for name in ("SIGHUP", "SIGINT"))]
)
def test_a_signal_stops_the_training_and_the_command_goes_on(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, run = tmp_path / "text.txt", tmp_path / "run"
    text.write_text("the cat sees the moon .\na dog hears some rain .\n" * 200)
    number = getattr(signal, name)
    command = ["lm", "train", str(text), str(run), *SMALL, "--epochs", "2000"]
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from bayesrnn.cli import run; run()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not (run / "checkpoint.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(number)
    sent = time.monotonic()
    error = process.communicate(timeout=60)[1].decode()
    assert time.monotonic() - sent < 10  # a second on a machine that does nothing else: see docs/reliability.md
    assert process.returncode == 128 + number
    assert error == f"bayesrnn: stopped; what was done is in {run}: the same command goes on.\n"
    again = [*command, "--seed", "1"]
    assert main(again) == 2
    assert "--seed: 0 there, 1 now" in capsys.readouterr().err


def test_the_handlers_are_given_back(tmp_path: Path) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)]
    assert main(["lm", "generate", str(tmp_path)]) == 2
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)] == before
