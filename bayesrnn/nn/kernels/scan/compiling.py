"""Compiles the C++ kernels. The build of a wheel runs this file by its path, so it needs nothing but Python."""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "cpp"
_FLAGS = (
    *("-O3", "-std=c++17", "-shared", "-fPIC", "-fopenmp-simd"),
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-w"),
)
_COMPILERS = ("g++", "clang++", "c++")


def library_name() -> str:
    """Return the name of the shared library of these sources and flags on this kind of machine."""
    files = sorted(path for path in SOURCES.glob("*.*") if path.suffix in (".h", ".cpp"))
    parts = [path.read_text(encoding="utf-8") for path in files]
    key = hashlib.sha256("\n".join([*parts, *_FLAGS, platform.system(), platform.machine()]).encode()).hexdigest()[:16]
    return f"kernels-{key}.so"


def compile_library(path: Path) -> None:
    """Write the shared library to `path`, in one step.

    Raises:
        RuntimeError: If there is no C++ compiler, or it fails.
    """
    compiler = os.environ.get("CXX") or next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        raise RuntimeError(
            f"the compiled kernels need a C++ compiler, but none of {', '.join(_COMPILERS)} was found and CXX is not "
            "set: install one (or a wheel that holds the kernels), or set BAYESRNN_COMPILED=0 to go without."
        )
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    os.close(handle)
    try:
        command = [*compiler.split(), *_FLAGS, str(SOURCES / "kernels.cpp"), "-o", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{compiler} could not compile the kernels: {_first_error(done.stderr)}.")
        Path(name).chmod(0o755)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _first_error(text: str) -> str:
    lines = text.strip().splitlines()
    return next((line for line in lines if "error" in line), lines[-1] if lines else "no message")[:300]
