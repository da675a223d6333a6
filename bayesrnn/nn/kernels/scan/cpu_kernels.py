"""The pointwise kernels in C++: compiled on the user's machine when asked for, kept, and called by address."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayesrnn.nn.kernels.scan.layer import BackwardStep, ForwardStep, Layer

__all__ = ["CpuBackend", "Kernels", "kernels", "use_compiled"]

_FOLDER = Path(__file__).parent / "cpp"
_SOURCES, _HEADERS = ("native.cpp", "softmax.cpp"), ("arithmetic.h",)
_FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-std=c++17", "-shared", "-fPIC")
_COMPILERS = ("g++", "clang++", "c++")
_P, _N, _I, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_float
_PRODUCT = (_P, _N, _N, _I)
_NEXT = (_P, _P, _N)
_READ = (_P, _N)
_ARRIVING = (_P, _I, _P, _N, _P)
_SIGNATURES = {
    "lstm_forward": (_N, _N, *_PRODUCT, *_PRODUCT, *[_P] * 5, *_READ, *_NEXT),
    "gru_forward": (_N, _N, *_PRODUCT, *_PRODUCT, *[_P] * 6, *_NEXT),
    "lstm_backward": (_N, _N, *[_P] * 3, *_READ, *_ARRIVING, *[_P] * 3),
    "gru_backward": (_N, _N, *[_P] * 3, *_ARRIVING, *[_P] * 3),
    "masked": (_N, _N, _N, _P, _P, _N, _N, _P),
    "vocabulary_loss": (_N, _N, _P, _I, _P, _P, _F, _P, _P, _N),
}
Kernels = dict[str, Callable[..., None]]
_loaded: Kernels = {}
_wanted = os.environ.get("BAYESRNN_COMPILED", "") not in ("", "0")


def use_compiled(on: bool = True) -> None:
    """Compile the pointwise part of LSTM and GRU steps on a CPU, and use it in this process from now on.

    A step of the scan is a matrix product and some ten elementwise operations; compiled, these are one pass over
    memory. It takes a C++ compiler and some seconds, once per machine: the result is kept in the user's cache folder
    (`XDG_CACHE_HOME`, else `~/.cache`). Results agree with the plain scan to the rounding of float32. Setting
    `BAYESRNN_COMPILED=1` in the environment does the same from the first call on.

    Args:
        on: Whether to use it; `False` goes back to torch's operations.

    Raises:
        RuntimeError: If there is no C++ compiler, or it fails.
    """
    global _wanted
    if on:
        _load()
    _wanted = on


def kernels() -> Kernels | None:
    """Return the kernels by name, or None where they are not wanted."""
    if not _wanted:
        return None
    return _loaded or _load()


def _load() -> Kernels:
    if not _loaded:
        library = ctypes.CDLL(str(_library()))
        for name, types in _SIGNATURES.items():
            function = getattr(library, f"bayesrnn_{name}")
            function.argtypes, function.restype = types, None
            _loaded[name] = function
    return _loaded


def _library() -> Path:
    """Return the shared library for this source, compiler, processor and torch; compile it if it is not there."""
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise RuntimeError(
            f"compiled kernels need a C++ compiler, but none of {', '.join(_COMPILERS)} was found and CXX is not set. "
            "Install one, or leave BAYESRNN_COMPILED unset: the plain scan gives the same numbers."
        )
    command = [compiler, *_FLAGS, *_threads()]
    sources = [(_FOLDER / name).read_text(encoding="utf-8") for name in (*_SOURCES, *_HEADERS)]
    parts = [*sources, *command, torch.__version__, platform.machine(), _processor()]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bayesrnn"
    path = folder / f"native-{key}.so"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _compile(command, path)
    return path


def _compile(command: list[str], path: Path) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    try:
        done = subprocess.run(
            [*command, *(str(_FOLDER / source) for source in _SOURCES), "-o", name],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} could not compile the kernels: {done.stderr.strip()[-500:]}")
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _threads() -> tuple[str, ...]:
    """Flags for OpenMP with the runtime that torch itself has loaded: two runtimes would fight for the cores."""
    if platform.system() != "Linux":
        return ()
    root = Path(torch.__file__).parent
    own: list[Any] = [*(root / "lib").glob("libgomp*.so*"), *(root.parent / "torch.libs").glob("libgomp*.so*")]
    return ("-fopenmp", str(own[0])) if own else ("-fopenmp",)


def _processor() -> str:
    """What `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


class CpuBackend:
    """Launches the C++ kernels; see `fused_loop.Backend`."""

    aligned, in_place, held_bytes = False, True, 8 << 20  # what is projected at once is read again from a cache

    def __init__(self, loaded: Kernels) -> None:
        self.kernels = loaded

    def on(self, like: Tensor) -> AbstractContextManager[Any]:
        """Return a context that does nothing."""
        return nullcontext()

    def carried(self, first: Tensor, gates: int, dtype: torch.dtype) -> Tensor | None:
        """Return memory for the masked h in bfloat16; the product masks and rounds h itself in all other cases."""
        return torch.empty(first.shape, dtype=dtype) if dtype == torch.bfloat16 and gates == 1 else None

    def forward(self, layer: Layer, first: Tensor, bias: Tensor, again: Tensor) -> Callable[[ForwardStep], None]:
        """Return the step forward."""
        rows, units = first.shape
        call, ones = self.kernels[f"{layer.name}_forward"], first.new_ones(units)

        cell, bias_at, again_at, ones_at = layer.cell, bias.data_ptr(), again.data_ptr(), ones.data_ptr()
        memory, gates = cell.memory, cell.gates

        def step(now: ForwardStep) -> None:
            pre, place, add, old, before, new, h, act, read, carried, following = now
            front = (rows, units, *_strides(pre, place, rows, gates), *_strides(add, 0, rows, gates), bias_at)
            ahead: tuple[int | None, int, int] = (None, ones_at, 0)
            if carried is not None:
                site = _site(following, ones)
                ahead = (carried.data_ptr(), *_shared(site, ones))
            kept, more = None if act is None else act.data_ptr(), None if new is None else new.data_ptr()
            if memory:
                call(*front, before.data_ptr(), more, h.data_ptr(), kept, *_shared(read, ones), *ahead)
            else:
                call(*front, again_at, old.data_ptr(), h.data_ptr(), kept, more, *ahead)

        return step

    def backward(self, layer: Layer, carried: Tensor, narrow: bool) -> Callable[[BackwardStep], None]:
        """Return the step backward."""
        call = self.kernels[f"{layer.name}_backward"]
        zeros, ones = torch.zeros_like(carried), carried.new_ones(carried.shape[1])

        memory, shape = layer.cell.memory, tuple(carried.shape)
        carried_at, zeros_at = carried.data_ptr(), zeros.data_ptr()

        def step(now: BackwardStep) -> None:
            kept, read, raw, site, arriving, gradient, low = now
            raw = zeros if raw is None else raw
            if site is not None and raw.dim() == 3:
                raw, site = raw.float().mul_(site).sum(0), None
            mask = _site(site, ones)
            call(
                *shape,
                *(value.data_ptr() for value in kept),
                *(_shared(read, ones) if memory else ()),
                raw.data_ptr(),
                raw.dtype == torch.bfloat16,
                *_shared(mask, ones),
                zeros_at if arriving is None else arriving.data_ptr(),
                carried_at,
                gradient.data_ptr(),
                low.data_ptr() if narrow else None,
            )

        return step


def _site(mask: Tensor | None, ones: Tensor) -> Tensor:
    """Return the tied mask of a step, (rows or 1, H) or (H,), contiguous; its memory must be held by a name."""
    return ones if mask is None else mask[0].contiguous()


def _shared(mask: Tensor | None, ones: Tensor) -> tuple[int, int]:
    """Return address and row stride of a mask (rows or 1, H) or (H,); the stride is 0 where all rows share it."""
    mask = ones if mask is None else mask
    return mask.data_ptr(), mask.shape[-1] if mask.dim() == 2 and mask.shape[0] > 1 else 0


def _strides(product: Tensor, place: int, rows: int, gates: int) -> tuple[int, int, int, int]:
    """Return address, strides of rows and gates, and whether it is bfloat16, of one step of a product.

    A product has the shape (steps * rows, gates * H), or (gates, steps * rows, H) where each gate has its own.
    """
    if product.dim() == 3:
        row, gate = product.stride(1), product.stride(0)
    else:
        row, gate = product.stride(0), product.shape[1] // gates
    low = product.dtype == torch.bfloat16
    return product.data_ptr() + place * rows * row * product.element_size(), row, gate, int(low)
