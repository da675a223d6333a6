"""How long a command takes is said before it begins, from a small piece of the work."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bayesrnn._progress import timed
from bayesrnn.cli import main, studies
from bayesrnn.data import mauna_loa_co2


def timed_as(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    def once(work: Callable[[], object]) -> float:
        work()
        return seconds

    monkeypatch.setattr("bayesrnn._progress.timed", once)


def test_the_second_of_two_calls_is_timed_and_random_states_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, calls = iter([3.0, 7.5]), []
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    torch.manual_seed(3)
    assert timed(lambda: calls.append(torch.rand(2))) == 4.5
    assert len(calls) == 2
    after, _ = torch.rand(2), torch.manual_seed(3)
    assert torch.equal(after, torch.rand(2))


def test_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun: list[object] = []
    monkeypatch.setattr(studies, "show_study", lambda *a, **k: begun.append(a))
    timed_as(monkeypatch, 0.2)
    learned = int((mauna_loa_co2().times < "1982").sum())
    steps, chunks = 2 * 30 * -(-learned // 32), 2 * (len(mauna_loa_co2()) - learned) / 32
    assert main(["demo", "-o", str(tmp_path / "demo"), "--draws", "2"]) == 0
    minutes = round((1.6 * 0.2 * (steps + chunks) + 8) / 60)
    said = f"Training and judging take about {minutes} minutes on this machine; --quick takes seconds.\n"
    assert capsys.readouterr().out == said
    assert main(["demo", "-o", str(tmp_path / "demo"), "--quick"]) == 0
    assert capsys.readouterr().out == ""
    assert len(begun) == 2


def test_the_evaluation_of_a_text(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, run = tmp_path / "text.txt", tmp_path / "run"
    words = random.Random(0).choices(("a", "cat", "sees", "the", "moon"), k=3000)
    text.write_text("\n".join(" ".join(words[k : k + 9]) for k in range(0, 3000, 10)) + "\n", encoding="utf-8")
    small = ["--hidden", "8", "--embedding", "8", "--layers", "1", "--epochs", "1", "--batch-size", "4"]
    assert main(["lm", "train", str(text), str(run), *small]) == 0
    command = ["lm", "evaluate", str(run), str(text), "--whole", "--batch-size", "2", "--window", "4"]
    timed_as(monkeypatch, 2.0)
    capsys.readouterr()
    assert main([*command, "--draws", "16"]) == 0
    minutes = round(2.0 * 3000 / 9 / 60)  # 300 lines of nine words and an end; a window of two rows
    assert (
        f"Evaluating takes about {minutes} minutes on this machine; --draws 2 takes a tenth." in capsys.readouterr().out
    )
    assert main([*command, "--draws", "0"]) == 0
    assert "on this machine" not in capsys.readouterr().out
