"""The tables of the benchmarks are those of their JSON."""

import shutil
from pathlib import Path

import pytest

from evaluation.records import RESULTS
from evaluation.speed import tables, timing, train
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
