"""Where a result comes from: what counts as an uncommitted change, and that a record replaces another in one step."""

import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from evaluation import records


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository that holds nothing but the records module, a result and a page."""
    for name in ("evaluation/results/old.md", "docs/images/old.txt", "README.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("old\n", encoding="utf-8")
    shutil.copy(Path(records.__file__), tmp_path / "evaluation" / "records.py")
    author = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def copied(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("copied_records", project / "evaluation" / "records.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(shutil.which("git") is None, reason="no git here")
@pytest.mark.parametrize(
    ("name", "uncommitted"),
    [("evaluation/results/old.md", False), ("docs/images/old.txt", False), ("README.md", True)],
)
def test_what_a_run_writes_is_no_uncommitted_change(project: Path, name: str, uncommitted: bool) -> None:
    module = copied(project)
    assert module.provenance()["uncommitted_changes"] is False
    (project / name).write_text("new\n", encoding="utf-8")
    assert module.provenance()["uncommitted_changes"] is uncommitted


def test_a_record_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = records.save("kept", {"number": 1}, seed=3, folder=tmp_path)
    with pytest.raises(ValueError, match="JSON"):
        records.save("kept", {"number": float("nan")}, folder=tmp_path)
    assert json.loads(path.read_text(encoding="utf-8"))["number"] == 1
    assert records.load("kept", tmp_path)["provenance"]["seed"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["kept.json"]


def test_a_copy_says_of_which_commit_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAYESRNN_COMMIT", "0123456789ab")
    told = records.provenance()
    assert told["commit"] == "0123456789ab"
    assert told["uncommitted_changes"] is None
    monkeypatch.delenv("BAYESRNN_COMMIT")
    assert records.provenance()["commit"] != "0123456789ab"


def test_a_result_carries_the_checksums_of_its_files_and_folders(tmp_path: Path) -> None:
    for name in ("one.csv", "texts/one.csv", "texts/deep/two.txt", "other.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    places = [tmp_path / "one.csv", tmp_path / "texts"]
    path = records.save("x", {}, folder=tmp_path / "results", data=places)
    expected = {"one.csv": "one.csv", "two.txt": "texts/deep/two.txt", "texts/one.csv": "texts/one.csv"}
    sums = json.loads(path.read_text(encoding="utf-8"))["provenance"]["data"]
    assert sums == {name: hashlib.sha256(text.encode()).hexdigest() for name, text in expected.items()}


def test_every_experiment_that_reads_the_data_folder_saves_their_checksums() -> None:
    folder = Path(records.__file__).parent
    rooms = {path.parent if path.parent != folder else path for path in folder.rglob("*.py")
             if re.search(r"environ.*BAYESRNN_DATA", path.read_text(encoding="utf-8"))}  # fmt: skip
    assert len(rooms) >= 6
    for room in rooms:
        for path in room.glob("*.py") if room.is_dir() else [room]:
            calls = re.findall(
                r"(?<![\w.])(?:records\.)?save\((?:[^()]|\([^()]*\))*\)", path.read_text(encoding="utf-8")
            )
            assert all("data=" in call or "smoke" in call for call in calls), (path.name, calls)


def test_a_command_is_recorded_without_the_folders_of_a_machine() -> None:
    given = [
        "--seeds",
        "0",
        "--results",
        "r3",
        "--data=/tmp/ptb.txt",
        "/tmp/words.txt",
        "--work=w",
        "--checkpoints",
        "/c",
    ]
    assert " ".join(records.shown(given)) == (
        "--seeds 0 --results FOLDER --data=ptb.txt words.txt --work=FOLDER --checkpoints FOLDER"
    )
