"""Write folders of results in one step: the old folder stays until the new one is complete."""

import ctypes
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from glob import escape
from importlib import metadata
from pathlib import Path

from bayesrnn._documents import read_document, write_document
from bayesrnn._files import locked, umask, writing

MANIFEST, _FORMAT, _KEYS = "manifest.json", "bayesrnn.manifest/1", ("files", "made_with")


@contextmanager
def atomic_folder(path: str | os.PathLike[str], replaces: Collection[str] | None = None) -> Iterator[Path]:
    """Yield a new folder; on success it takes the place of `path` in one step, on failure it vanishes.

    `manifest.json` in it lists the files with their checksums, and what they were made with. Of the old folder
    everything is kept that its manifest does not list. A mount point, or the folder in which the process
    works, cannot be exchanged: there the files are replaced one by one.

    Args:
        path: The folder.
        replaces: Names in the old folder that go, if the caller knows them; then no manifest is written.

    Raises:
        ValueError: If `path` is a file, its parent does not exist, or the disk is full or read-only.

    Example:
        >>> import tempfile, pathlib
        >>> target = pathlib.Path(tempfile.mkdtemp()) / "results"
        >>> with atomic_folder(target) as folder:
        ...     _ = (folder / "table.csv").write_text("1,2")
        >>> [file.name for file in target.glob("*.csv")]
        ['table.csv']
    """
    path = Path(path).absolute()
    if path.exists() and not path.is_dir():
        raise ValueError(f"cannot write the folder {path}: it is a file. Give another name.")
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: the folder {path.parent} does not exist. Create it first.")
    stays = path.is_mount() or Path.cwd().is_relative_to(path.resolve()) or not os.access(path.parent, os.W_OK)
    with writing(path):
        _finish_or_remove(path)
        staged = Path(tempfile.mkdtemp(prefix=f".{path.name}.part-", dir=path if stays else path.parent))
        try:
            with locked(staged, "it is being written"):  # so that nobody takes it for a leftover
                yield staged
                if replaces is None:
                    _write_manifest(staged)
                if stays:
                    for name in sorted(file.name for file in staged.iterdir()):
                        os.replace(staged / name, path / name)
                else:
                    staged.chmod(0o777 & ~umask())
                    _keep_foreign(path, staged, _listed(path) if replaces is None else replaces)
                    _exchange(staged, path)
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def _write_manifest(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {}
    for path in files:
        with path.open("rb") as file:
            sums[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    write_document(folder / MANIFEST, _FORMAT, {"files": sums, "made_with": versions()})


def versions() -> dict[str, str]:
    """Return the versions of Python, of bayesrnn and of what it computes with."""
    return {"python": platform.python_version()} | {name: _version(name) for name in ("bayesrnn", "torch", "numpy")}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "?"


def _listed(folder: Path) -> set[str]:
    """Return the names that the manifest of a folder lists; none if there is no manifest."""
    try:
        return {name.partition("/")[0] for name in read_document(folder / MANIFEST, _FORMAT, _KEYS)["files"]}
    except (ValueError, TypeError):
        return set()


def _keep_foreign(old: Path, new: Path, ours: Collection[str]) -> None:
    """Link the files that bayesrnn did not write into the new folder."""
    for entry in old.iterdir() if old.is_dir() else ():
        place = new / entry.name
        if entry.name in ours or place.exists():
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, place, symlinks=True, copy_function=_link)
        else:
            _link(entry, place)


def _link(old: str | Path, new: str | Path, *, follow_symlinks: bool = False) -> None:
    try:
        os.link(old, new, follow_symlinks=False)
    except OSError:  # a disk without hard links
        shutil.copy2(old, new, follow_symlinks=False)


def _exchange(new: Path, old: Path) -> None:
    """Exchange two folders, in one step if the system can; then `new` holds the old folder, if any."""
    if not old.exists():
        os.rename(new, old)
        return
    change = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if change is not None and change(here, os.fsencode(new), here, os.fsencode(old), exchange) == 0:
        return
    os.rename(old, _aside(old))
    os.rename(new, old)
    shutil.rmtree(_aside(old), ignore_errors=True)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.part-old")


def _finish_or_remove(path: Path) -> None:
    """Take back a folder that was being exchanged when its process was killed; remove unfinished ones."""
    if _aside(path).is_dir() and not path.exists():
        os.rename(_aside(path), path)
    pattern = f".{escape(path.name)}.part-????????"
    for leftover in (*path.parent.glob(pattern), *path.glob(pattern)):
        try:
            with locked(leftover, "it is being written"):
                shutil.rmtree(leftover, ignore_errors=True)
        except (ValueError, OSError):  # another process is at work there
            continue
    shutil.rmtree(_aside(path), ignore_errors=True)
