"""Files and folders appear whole or not at all; leftovers are cleared; errors of the disk are one line."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bayesrnn import _files, _folders
from bayesrnn._documents import parse_json, read_document, sealed_text, write_document
from bayesrnn._files import atomic_path, atomic_write, locked
from bayesrnn._folders import MANIFEST, atomic_folder


def fill(folder: Path, mark: str, *names: str) -> None:
    with atomic_folder(folder) as staged:
        for name in names:
            (staged / name).write_text(mark)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): p.read_text()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != MANIFEST
    }


def test_a_folder_is_exchanged_as_a_whole_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    fill(folder, "old", "a", "b")
    (folder / "notes.txt").write_text("mine")
    (folder / "run").mkdir()
    (folder / "run" / "weights").write_text("kept")
    fill(folder, "new", "b", "c")
    assert contents(folder) == {"b": "new", "c": "new", "notes.txt": "mine", "run/weights": "kept"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert folder.stat().st_mode == tmp_path.joinpath("out").stat().st_mode


@pytest.mark.parametrize("system", ["exchanges", "renames"])
def test_a_block_that_stops_anywhere_leaves_the_old_folder_or_the_new_one(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if system == "renames":
        monkeypatch.setattr(_folders.ctypes, "CDLL", lambda *_, **__: object())
    folder, calls = tmp_path / "out", 0

    def stopping_at(number: int, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                raise KeyboardInterrupt
            return function(*arguments, **options)

        return call

    for number in range(1, 20):
        fill(folder, "old", "a", "b")
        (folder / "notes.txt").write_text("mine")
        calls = 0
        with monkeypatch.context() as patch:
            for name in ("rename", "chmod", "link"):
                patch.setattr(os, name, stopping_at(number, getattr(os, name)))
            patch.setattr(_folders.shutil, "rmtree", stopping_at(number, _folders.shutil.rmtree))
            try:
                fill(folder, "new", "a", "c")
            except KeyboardInterrupt:
                pass
            else:
                break
        _folders._finish_or_remove(folder)
        assert contents(folder) in (
            {"a": "old", "b": "old", "notes.txt": "mine"},
            {"a": "new", "c": "new", "notes.txt": "mine"},
        )
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert number > 4


def test_a_failed_block_changes_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "out", "old", "a")

    def work() -> None:
        with atomic_folder(tmp_path / "out") as staged:
            (staged / "a").write_text("new")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        work()
    assert contents(tmp_path / "out") == {"a": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_folder_one_works_in_keeps_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    before = tmp_path.stat().st_ino
    fill(Path(), "new", "a")
    assert tmp_path.stat().st_ino == before
    assert contents(tmp_path) == {"a": "new", "notes.txt": "mine"}


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="it is a file"):
        fill(tmp_path / "file", "x", "a")
    with pytest.raises(ValueError, match=r"does not exist\. Create it first"):
        fill(tmp_path / "no" / "out", "x", "a")


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path: Path) -> None:
    for name in ("dead0000", "alive000"):
        (tmp_path / f".out.part-{name}").mkdir()
    with locked(tmp_path / ".out.part-alive000", "a test"):
        fill(tmp_path / "out", "new", "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.part-alive000", "out"]


def test_a_full_disk_is_one_line_with_path_and_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "numbers.txt"
    atomic_write(path, "1 2 3")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("write_bytes", "chmod"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, name, full)
            with pytest.raises(ValueError, match=r"numbers\.txt \(No space left on device\)\. It needs 2\.0 MB there"):
                atomic_write(path, b"x" * 2_000_000)
    with monkeypatch.context() as patch:
        patch.setattr(_files.tempfile, "mkstemp", full)
        with pytest.raises(ValueError, match=r"cannot write .*No space"), atomic_path(path):
            pass
        patch.setattr(_folders.tempfile, "mkdtemp", full)
        with pytest.raises(ValueError, match=r"out \(No space left on device\)\. What was there before is untouched"):
            fill(tmp_path / "out", "x", "a")
    assert path.read_text() == "1 2 3"
    assert [p.name for p in tmp_path.iterdir()] == ["numbers.txt"]


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only an administrator mounts a disk")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        fill(disk / "out", "old", "a")
        with pytest.raises(ValueError, match=r"cannot write .*out \(No space left on device\)"):
            fill(disk / "out", "x" * 3_000_000, "a", "b")
        with pytest.raises(ValueError, match=r"It needs 3\.0 MB there"):
            atomic_write(disk / "numbers", b"x" * 3_000_000)
        assert contents(disk) == {"out/a": "old"}
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for work in (lambda: fill(disk / "out", "x", "a"), lambda: atomic_write(disk / "numbers", "1")):
            with pytest.raises(ValueError, match="Read-only file system"):
                work()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_document_comes_back_and_no_flipped_bit_does(tmp_path: Path) -> None:
    path, values = tmp_path / "x.json", {"a": [1, 2.5, "ü", None, True], "b": {"c": 1e-300}}
    write_document(path, "bayesrnn.test/1", values)
    assert read_document(path, "bayesrnn.test/1", ("a", "b")) == values
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"x\.json"):
            read_document(path, "bayesrnn.test/1", ("a", "b"))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"x\.json"):
            read_document(path, "bayesrnn.test/1", ("a", "b"))


def test_documents_say_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for text, message in {
        sealed_text("bayesrnn.other/1", {"a": 1}): "does not describe a test",
        sealed_text("bayesrnn.test/2", {"a": 1}): "has the format version 2, but this bayesrnn reads 1",
        sealed_text("bayesrnn.test/1", {"b": 1}): "lacks 'a' and has the unknown 'b'",
        sealed_text("bayesrnn.test/1", {"a": 1}).replace(": 1", ":  1"): "is damaged",
        sealed_text("bayesrnn.test/1", {"a": 1}).replace('"a": 1', '"a": 1, "a": 1'): "a key comes twice",
        "[]": "does not describe a test",
    }.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_document(path, "bayesrnn.test/1", ("a",))
    with pytest.raises(ValueError, match=r"is too long\. Keep fewer values"):
        write_document(path, "bayesrnn.test/1", {"a": [0] * 100}, most=50)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[" * 20_000, "too long"),
        (b"[" * 16_000, "nested too deeply|Expecting value"),
        (b"[" + b"0," * 300_000 + b"0]", "too long"),
        (b"{" + b",".join(b'"%d":0' % n for n in range(70_000)) + b"}", "too many keys"),
        (b"1" * 5000, "digit"),
        (b"1e999", "beyond the largest"),
        (b"NaN", "no JSON number"),
        (b"\xff", "decode"),
    ],
)
def test_json_is_read_strictly(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=rf"it is wrong.*({message})"):
        parse_json(data, "it is wrong")
