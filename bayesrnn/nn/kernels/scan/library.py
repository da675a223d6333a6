"""The C++ kernels: shipped in the wheel, or compiled on first use and kept. They need no header of torch."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import torch

from bayesrnn.nn.kernels.scan.compiling import SOURCES, compile_library, library_name

_OPENMP = ("libgomp", "libiomp5", "libomp")
_SMALL = 1 << 20  # multiplications; with fewer, one thread is as fast
_P, _N, _I, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float
_PRODUCT, _NEXT, _READ, _ARRIVING = (_P, _N, _N), (_P, _P, _N), (_P, _N), (_P, _I, _P, _N, _P)
_SIGNATURES = {  # in the order of cpp/all.h
    "forward": (_P,),
    "backward": (_P,),
    "weight_gradient": (_P,),
    "lstm_forward": (_N, _N, *_PRODUCT, *_PRODUCT, *[_P] * 5, *_READ, *_NEXT, _N),
    "lstm_capped_forward": (_N, _N, *_PRODUCT, *_PRODUCT, *[_P] * 5, *_READ, *_NEXT, _N),
    "gru_forward": (_N, _N, *_PRODUCT, *_PRODUCT, *[_P] * 6, *_NEXT, _N),
    "lstm_backward": (_N, _N, *[_P] * 3, *_READ, *_ARRIVING, *[_P] * 3, _N),
    "lstm_capped_backward": (_N, _N, *[_P] * 3, *_READ, *_ARRIVING, *[_P] * 3, _N),
    "gru_backward": (_N, _N, *[_P] * 3, *_ARRIVING, *[_P] * 3, _N),
    "masked": (_N, _N, _N, _P, _P, _N, _N, _P, _N),
    "vocabulary_loss": (_N, _N, _P, _I, _P, _P, _F, _P, _P, _N),
}
Kernels = dict[str, Callable[..., None]]
_said = os.environ.get("BAYESRNN_COMPILED", "1")  # 0: no kernels; avx2: none with wider vectors
_wanted = _said not in ("", "0")
_widest = 8 if _said == "avx2" else 16  # floats in a vector, where the processor has so many
_loaded: Kernels = {}
_reason = ""  # why there are no kernels, once that is known
_forked = False
_lock = Lock()


def use_compiled(on: bool = True) -> None:
    """Use the compiled kernels of recurrent layers on a CPU, which is the default, or torch's operations.

    A compiled kernel takes a block of rows through all steps of an LSTM, GRU or RNN while weights and states stay in
    the processor's caches. Wheels hold it; else it is compiled on first use where there is a C++ compiler, in some
    seconds, once: the result is kept in the user's cache folder (`XDG_CACHE_HOME`, else `~/.cache`). Results agree with
    torch's operations to the rounding of float32. AVX-512 or AVX2 is chosen at run time, as the processor has it.
    `BAYESRNN_COMPILED=0` in the environment says no from the start, `BAYESRNN_COMPILED=avx2` holds to AVX2.

    Args:
        on: Whether to use them in this process from now on.

    Raises:
        RuntimeError: If there is no C++ compiler, or it fails, or the processor has no AVX2.

    Example:
        >>> use_compiled(False)
        >>> use_compiled()
    """
    global _wanted
    _wanted = on
    if on and kernels() is None:
        raise RuntimeError(_reason)


def kernels() -> Kernels | None:
    """Return the kernels by name, or None where they are not wanted or there are none."""
    global _reason
    if not _wanted:
        return None
    if not _loaded and not _reason:
        with _lock:
            if not _loaded and not _reason:
                try:
                    _loaded.update(_load(_widest))
                except (OSError, RuntimeError) as error:
                    _reason = str(error)
                    _say(
                        f"{_reason} Recurrent layers run in torch's operations: the same numbers, 2 to 5 times slower."
                    )
    return _loaded or None


def threads_for(multiplications: int) -> int:
    """Return how many threads a kernel should use; in a forked process, where OpenMP hangs, one."""
    return 1 if _forked or multiplications < _SMALL else torch.get_num_threads()


def _load(widest: int) -> Kernels:
    library = ctypes.CDLL(str(_library()))
    library.bayesrnn_use(_openmp())
    # glibc keeps freed blocks of up to the largest size freed so far (32 MiB at most), and returns larger ones to the
    # system, whose new pages cost a sixth of the time of a pass. This block is never written to: microseconds, once.
    torch.empty(31 << 20, dtype=torch.uint8)
    library.bayesrnn_kernels.restype = ctypes.POINTER(_P)
    table = library.bayesrnn_kernels(widest)
    if not table:
        raise RuntimeError("the compiled kernels need a processor with AVX2.")
    return {name: ctypes.CFUNCTYPE(None, *types)(table[i]) for i, (name, types) in enumerate(_SIGNATURES.items())}


def _openmp() -> ctypes.c_void_p | None:
    """Return `GOMP_parallel` of the runtime that torch has loaded, or None where there is none."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    names = {line.split()[-1] for line in lines if "omp" in line}
    path = next((name for name in sorted(names) if Path(name).name.startswith(_OPENMP)), None)
    function = None if path is None else getattr(ctypes.CDLL(path), "GOMP_parallel", None)
    return None if function is None else ctypes.cast(function, _P)


def _library() -> Path:
    """Return the shared library made from these sources: from the wheel, from the cache, or compiled now."""
    name = library_name()
    if _shipped(name).is_file():
        return _shipped(name)
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bayesrnn"
    path = folder / name
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / "lock"):
            if not path.is_file():
                _say(f"compiling its kernels, some seconds, once (kept in {folder}; BAYESRNN_COMPILED=0: no).")
                compile_library(path)
    return path


def _shipped(name: str) -> Path:
    """Return where a wheel holds the library."""
    return SOURCES / name


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Wait until no other process compiles."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    sys.stderr.write(f"bayesrnn: {text}\n")


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
