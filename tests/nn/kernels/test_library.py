"""The kernels are compiled once, by default, and what goes wrong is said in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bayesrnn.nn.kernels.scan import compiling, library

needs_compiler = pytest.mark.skipif(library.kernels() is None, reason="there is no C++ compiler")
SCRIPT = """
import os, torch
import bayesrnn as br
layer = br.nn.LSTM(3, 8, dropout=0.3)
x, masks = torch.randn(5, 4, 3), layer.sample_masks(4, seed=0)
torch.set_num_threads(2)
with torch.no_grad():
    big = torch.randn(50, 200, 3)
    layer(big, masks=layer.sample_masks(200, seed=0))
    out = layer(x, masks=masks)[0]
    if os.environ.get("FORK"):
        if not (child := os.fork()):
            layer(big, masks=layer.sample_masks(200, seed=0))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    from bayesrnn.nn.kernels.scan.library import kernels
    print("compiled" if kernels() else "plain")
"""


def start(folder: Path, **variables: str) -> "subprocess.Popen[str]":
    own = {key: value for key, value in os.environ.items() if key not in ("CXX", "BAYESRNN_COMPILED")}
    own |= {"XDG_CACHE_HOME": str(folder)} | variables
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", SCRIPT], env=own, text=True, **pipes)


@pytest.fixture
def not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(library, "_loaded", {})
    monkeypatch.setattr(library, "_reason", "")
    monkeypatch.setattr(library, "_wanted", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@needs_compiler
def test_processes_that_start_together_compile_once(tmp_path: Path) -> None:
    outcomes = [process.communicate() for process in [start(tmp_path), start(tmp_path)]]
    assert [out for out, _ in outcomes] == ["compiled\n"] * 2
    lines = [line for _, error in outcomes for line in error.splitlines() if "bayesrnn:" in line]
    assert len(lines) == 1 and "once" in lines[0] and "BAYESRNN_COMPILED=0" in lines[0]  # noqa: PT018
    assert [path.suffix for path in (tmp_path / "bayesrnn").iterdir() if path.suffix != ""] == [".so"]


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_goes_on() -> None:
    process = start(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"), FORK="1")
    assert process.communicate(timeout=120)[0] == "compiled\n"


def test_the_environment_says_no(tmp_path: Path) -> None:
    out, error = start(tmp_path, BAYESRNN_COMPILED="0").communicate()
    assert (out, "bayesrnn:" in error) == ("plain\n", False)
    assert not (tmp_path / "bayesrnn").exists()


@needs_compiler
@pytest.mark.parametrize(("said", "width"), [("avx2", 8), ("1", 16)])
def test_the_environment_holds_to_avx2(said: str, width: int) -> None:
    script = """if True:
        import ctypes
        from bayesrnn.nn.kernels.scan import library
        both = library.kernels(), library._load(WIDTH)
        used, wanted = (ctypes.cast(own["forward"], ctypes.c_void_p).value for own in both)
        assert used == wanted"""
    own = os.environ | {"BAYESRNN_COMPILED": said}
    subprocess.run([sys.executable, "-c", script.replace("WIDTH", str(width))], env=own, check=True)


def test_without_a_compiler_one_line_says_what_is_lost(
    not_loaded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiling.shutil, "which", lambda _: None)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(library, "_shipped", lambda name: not_loaded / name)
    assert library.kernels() is None
    assert library.kernels() is None
    assert capsys.readouterr().err.count("need a C++ compiler") == 1
    with pytest.raises(RuntimeError, match=r"need a C\+\+ compiler.*install one"):
        library.use_compiled()


def test_a_failed_compilation_leaves_nothing(not_loaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "SOURCES", not_loaded)
    monkeypatch.setattr(library, "SOURCES", not_loaded)
    (not_loaded / "kernels.cpp").write_text("this is no C++", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"could not compile|need a C\+\+ compiler"):
        library.use_compiled()
    assert [path.name for path in (not_loaded / "cache" / "bayesrnn").iterdir()] == ["lock"]


@needs_compiler
def test_a_library_beside_the_sources_needs_no_compiler(not_loaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a wheel holds is taken."""
    compiling.compile_library(not_loaded / compiling.library_name())
    monkeypatch.setattr(library, "_shipped", lambda name: not_loaded / name)
    monkeypatch.setattr(library, "compile_library", lambda path: pytest.fail("compiled anew"))
    assert library.kernels()
    assert not (not_loaded / "cache").exists()
