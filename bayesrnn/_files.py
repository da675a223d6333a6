"""Writing files so that nothing half done is ever left behind."""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["atomic_path", "atomic_write", "locked", "read_json", "remove_leftovers", "umask"]

_LARGEST_JSON = 2**26  # bytes: more than any file that is written here


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it replaces `path`, on failure it vanishes.

    The suffix of `path` is kept, because many writers choose a format by it.

    Raises:
        ValueError: If the folder of `path` does not exist.

    Example:
        >>> import tempfile, pathlib
        >>> target = pathlib.Path(tempfile.mkdtemp()) / "numbers.txt"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("1 2 3")
        >>> target.read_text()
        '1 2 3'
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: the folder {path.parent} does not exist. Create it first.")
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: str | os.PathLike[str], content: str | bytes | Callable[[Path], object]) -> None:
    """Write text, bytes or whatever a writer function puts at the path it is given, in one step."""
    with atomic_path(path) as temporary:
        if callable(content):
            content(temporary)
        elif isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            temporary.write_text(content, encoding="utf-8")


@contextmanager
def locked(folder: Path, reason: str) -> Iterator[None]:
    """Hold a folder for this process during the block; the lock ends with the process, however that ends.

    Where the system or the disk knows no such locks (Windows, some network disks), nothing is held.

    Raises:
        ValueError: If another process, or another block of this one, holds it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{folder} is in use: {reason}. Wait for its end, stop it, or give another folder."
            ) from None
        except OSError:  # the disk has no locks
            pass
        yield
    finally:
        os.close(handle)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files that killed processes left of `path`; nobody else may be writing it."""
    for leftover in path.parent.glob(f".{path.stem}-????????{path.suffix}"):
        leftover.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, read strictly: no NaN, no infinity, no size or depth without bound.

    Raises:
        ValueError: If the file is not JSON, or too large or too deep.
    """
    if path.stat().st_size > _LARGEST_JSON:
        raise ValueError(f"{path} is not JSON that was written here: it has {path.stat().st_size:,} bytes.")
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"{path} is not JSON that was written here: it is nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}). It must be written again.") from None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is beyond the largest number")
    return number


def umask() -> int:
    """Return which permissions new files lack."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
