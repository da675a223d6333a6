"""The tables of the benchmarks are those of their JSON."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from evaluation import records
from evaluation.records import RESULTS
from evaluation.speed import gpu, people, tables, timing, train
from evaluation.speed.__main__ import main

NAMES = sorted(path.stem for path in RESULTS.glob("speed_*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_the_table_that_is_kept_is_that_of_its_json(name: str, tmp_path: Path) -> None:
    shutil.copy(RESULTS / f"{name}.json", tmp_path)
    assert tables.report(tmp_path) == [name]
    assert (tmp_path / f"{name}.md").read_text() == (RESULTS / f"{name}.md").read_text()


def test_report_names_what_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(RESULTS / "speed_train.json", tmp_path)
    monkeypatch.setattr(tables.report, "__defaults__", (tmp_path,))
    assert main(["report"]) == 0
    assert capsys.readouterr().out == "written speed_train.md\n"
    text = (tmp_path / "speed_train.md").read_text()
    assert "| LSTM | gal tied, scan | ratio |" in text
    assert "met |" in text


def test_a_rival_that_cannot_run_is_named_and_left_out() -> None:
    def impossible() -> None:
        raise RuntimeError("no bfloat16 here\nmore")

    kept, left_out = timing.runnable({"ours": int, "theirs": impossible}, rivals=["theirs"])
    assert list(kept) == ["ours"]
    assert left_out == {"theirs": "no bfloat16 here"}
    table = train._table("LSTM", [{"candidate": "theirs", "left_out": "no bfloat16 here"}])
    assert "| theirs | left out: no bfloat16 here |" in table
    with pytest.raises(RuntimeError, match="no bfloat16"):
        timing.interleaved({"ours": impossible})


def test_people_can_be_held_to_avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a child process with the variables set, which names the instruction set in its result."""
    calls: list[tuple[list[str], dict[str, str]]] = []
    done = SimpleNamespace(returncode=3)
    monkeypatch.setattr(people.subprocess, "run", lambda command, env, check: (calls.append((command, env)), done)[1])
    assert main(["people", "--isa", "avx2"]) == 3
    (command, variables), *_ = calls
    assert command[1:] == ["-m", "evaluation.speed", "people", "--isa", "avx2"]
    assert variables.items() >= people.HELD["avx2"].items()
    for name, value in people.HELD["avx2"].items():
        monkeypatch.setenv(name, value)
    saved: dict[str, Any] = {}
    monkeypatch.setattr(people, "_speed", lambda: people.Speed(1e9, 1e-9))
    monkeypatch.setattr(people, "_predict", lambda *_: {})
    monkeypatch.setattr(people, "_train", lambda *_: {})
    monkeypatch.setattr(records, "save", lambda name, result, seed: saved.update({name: result}) or Path(name))
    assert people.run(quick=True) == "speed_people_avx2_quick"
    (result,) = saved.values()
    assert "held to AVX2" in people.markdown(result | {"predict": [], "train": []})
    assert "held" not in people.markdown(result | {"predict": [], "train": [], "isa": None})


def test_versions_needs_a_checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["versions", "--other", str(tmp_path)]) == 2
    assert "versions needs --other" in capsys.readouterr().err


def test_two_versions_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This version beside itself: each process answers with a time, and the table has a line per workload."""
    from evaluation.speed import versions

    saved: dict[str, object] = {}
    monkeypatch.setattr(records, "save", lambda name, result, seed: saved.update(result))
    monkeypatch.setattr(versions, "_names", lambda: ["train GRU 1x32, 32x24"])
    versions.run(quick=True, other=Path(__file__).parent.parent.parent)
    (row,) = saved["rows"]
    assert row["this"] > 0
    assert row["ratio"] > 0
    assert "| train GRU 1x32, 32x24 |" in versions.markdown(saved)


def test_rows_of_a_gpu_run_anywhere_and_say_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Small sizes on whatever there is: no figure is kept, but a difference would show."""
    saved: dict[str, Any] = {}
    monkeypatch.setattr(records, "save", lambda name, result, seed: (saved.update(result), Path(name))[1])
    assert gpu.run(quick=True) == "speed_gpu_quick"
    assert all(row["difference"] < 1e-4 for part in ("predict", "layers") for row in saved[part])
    assert "| LSTM 1 x 8, 5 x 3 |" in gpu.markdown(saved)
    if not torch.cuda.is_available():
        assert main(["gpu"]) == 0
        assert capsys.readouterr().out == f"{gpu.ABSENT}\n"
