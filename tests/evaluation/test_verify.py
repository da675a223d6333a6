"""A result is run again by its own command and compared number by number."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from evaluation import records, verify


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = records.save("x", {"scores": {"rmse": 1.5, "names": ["a"]}, "seconds": 3.0}, seed=1, folder=tmp_path)
    content = json.loads(path.read_text())
    content["provenance"]["command"] = "python -m evaluation.posterior --quick"
    path.write_text(json.dumps(content))
    return path


def test_what_comes_again_is_said_and_what_does_not_is_refused(
    result: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now: dict[str, Any] = {"scores": {"rmse": 1.5000001, "names": ["a"]}, "seconds": 9.0}
    monkeypatch.setattr(verify, "rerun", lambda command, name: now)
    assert verify.main([str(result)]) == 0
    assert "x.json comes again, every number to 0.0001" in capsys.readouterr().out
    now["scores"] = {"rmse": 1.6, "names": ["b"], "more": 1}
    assert verify.main([str(result)]) == 2
    error = capsys.readouterr().err
    assert "scores.rmse: 1.5 then, 1.6 now" in error
    assert "scores.names[0]: 'a' then, 'b' now; scores.more" not in error.split("rmse")[0]
    assert "scores.more: None then, 1 now" in error


def test_a_command_that_cannot_be_run_again_is_one_line(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(result.read_text())
    content["provenance"]["command"] = "python -m evaluation.options --no-such-option"
    result.write_text(json.dumps(content))
    assert verify.main([str(result)]) == 2
    assert "did not write x.json again" in capsys.readouterr().err
    content["provenance"]["command"] = "rm everything"
    result.write_text(json.dumps(content))
    assert verify.main([str(result)]) == 2
    assert "does not say which command of evaluation/ wrote it" in capsys.readouterr().err


def test_a_manifest_says_what_a_result_was_made_of(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1,2")
    path = records.save("x", {}, folder=tmp_path, data=[tmp_path / "data.csv"])
    came_from = json.loads(path.read_text())["provenance"]
    assert came_from["data"]["data.csv"] == hashlib.sha256(b"1,2").hexdigest()
    assert set(came_from["machine"]["versions"]) == set(records.PACKAGES)
    assert list(verify.changes(came_from, came_from)) == []
    later = came_from | {"commit": "other"}
    assert list(verify.changes(came_from, later)) == [f"commit: {came_from['commit']} then, other now"]


def test_finished_stages_are_kept_by_their_settings(tmp_path: Path) -> None:
    calls: list[int] = []

    def work() -> dict[str, Any]:
        calls.append(1)
        return {"calls": len(calls)}

    results = [records.kept(tmp_path, "seed0", settings, work) for settings in ({"a": 1}, {"a": 1}, {"a": 2})]
    assert results == [{"calls": 1}, {"calls": 1}, {"calls": 2}]
