"""The shape of the package: a light import, floors that only go down, and nothing that could run foreign code."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bayesrnn"
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("lightning", "pyro", "sklearn", "matplotlib", "seaborn", "statsmodels", "pandas", "typer", "rich")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_is_light() -> None:
    code = f"import bayesrnn, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run(code) == "[]"


def test_import_touches_no_random_state() -> None:
    code = (
        "import torch, numpy, random; before = torch.get_rng_state(), numpy.random.get_state()[1].tolist(), "
        "random.getstate(); import bayesrnn; after = torch.get_rng_state(), numpy.random.get_state()[1].tolist(), "
        "random.getstate(); print(torch.equal(before[0], after[0]), before[1:] == after[1:])"
    )
    assert run(code) == "True True"


def test_lazy_names_are_listed_and_unknown_ones_refused() -> None:
    code = (
        "import bayesrnn as br\n"
        "missing = [n for n in br.__all__ if not hasattr(br, n)]\n"
        "print(missing, set(br.__all__) <= set(dir(br)))\n"
        "try:\n    br.nonsense\nexcept AttributeError as error:\n    print(error)"
    )
    assert run(code).splitlines() == ["[] True", "module 'bayesrnn' has no attribute 'nonsense'"]


def test_floors() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_foreign_code_no_print_no_assert(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assert) and "# noqa: S101 (" not in lines[node.lineno - 1]:  # no reason is given
            found.append(f"line {node.lineno}: assert")
        if isinstance(node, ast.Import):
            found += [f"line {node.lineno}: import {a.name}" for a in node.names if _banned(a.name)]
        if isinstance(node, ast.ImportFrom):
            if _banned(node.module or ""):
                found.append(f"line {node.lineno}: from {node.module}")
            if node.module == "bayesrnn" and any(_is_public_root(a.name) for a in node.names):
                found.append(f"line {node.lineno}: imports the root")
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"torch.load", "torch.save", "eval", "exec", "compile", "__import__"}:
                found.append(f"line {node.lineno}: {called}")
            if called == "print" and "cli" not in path.parts:
                found.append(f"line {node.lineno}: print")
    assert not found


def test_the_check_sees_what_it_looks_for(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import pickle\nimport torch\nassert torch.load('x')\nprint(eval('1'))\nfrom bayesrnn import predict\n")
    with pytest.raises(AssertionError) as error:
        test_no_foreign_code_no_print_no_assert(bad)
    for text in ("import pickle", "assert", "torch.load", "print", "eval", "imports the root"):
        assert text in str(error.value)


def _banned(module: str) -> bool:
    return module.split(".")[0] in {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def _is_public_root(name: str) -> bool:
    """Whether `from bayesrnn import name` reads the root's own namespace, not a submodule."""
    return not (PACKAGE / name).is_dir() and not (PACKAGE / f"{name}.py").is_file()
