"""Write files in one step: an interrupted write never leaves half a file."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

_LEFT_BY_SAFETENSORS = ".tmp??????"  # safetensors writes beside the file that it is given


@contextmanager
def writing(path: str | os.PathLike[str], need: int | None = None) -> Iterator[None]:
    """Within the block, raise a disk error as one line that names `path` and the bytes needed.

    Raises:
        ValueError: In place of an OSError: a full disk, a folder that is read-only, ...
    """
    try:
        yield
    except OSError as error:
        needs = f" It needs {max(need / 1e6, 0.1):,.1f} MB there." if need else ""
        raise ValueError(
            f"cannot write {path} ({error.strerror or error}).{needs} What was there before is untouched: make room, "
            "or give a folder that can be written to."
        ) from error


@contextmanager
def atomic_path(path: str | os.PathLike[str], need: int | None = None) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it replaces `path`, on failure it vanishes.

    The suffix of `path` is kept, because many writers choose a format by it.

    Args:
        path: The file.
        need: How many bytes will be written, if known: an error names them.

    Raises:
        ValueError: If the folder of `path` does not exist, cannot be written to, or has no room.

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
    with writing(path, need):
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.part-", suffix=path.suffix, dir=path.parent)
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
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(path, len(data) if isinstance(data, bytes) else None) as temporary:
        if isinstance(data, bytes):
            temporary.write_bytes(data)
        else:
            data(temporary)


@contextmanager
def locked(folder: Path, reason: str) -> Iterator[None]:
    """Lock a folder for this process during the block; the lock also ends if the process is killed.

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
    """Remove the temporary files that killed processes left of `path`; nobody else may be writing in its folder."""
    for pattern in (f".{escape(path.stem)}.part-????????{escape(path.suffix)}", _LEFT_BY_SAFETENSORS):
        for leftover in path.parent.glob(pattern):
            leftover.unlink(missing_ok=True)


def umask() -> int:
    """Return which permissions new files of this process lack."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
