"""The shape of the package: a light import, floors that only go down, and nothing that could run foreign code."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import bayesrnn

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bayesrnn"
FILES = sorted(PACKAGE.rglob("*.py"))
HEAVY = (
    "lightning", "pyro", "sklearn", "scipy", "matplotlib", "seaborn", "statsmodels", "pandas", "typer", "rich",
    "torch._dynamo",
)  # fmt: skip


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_takes_no_time_and_its_names_are_light() -> None:
    code = f"""
import sys
import bayesrnn as br
print([name for name in ("torch", "numpy", *{HEAVY!r}) if name in sys.modules])
import random, numpy, torch
def states():
    return torch.get_rng_state().tolist(), numpy.random.get_state()[1].tolist(), random.getstate()
before = states()
print([name for name in br.__all__ if name not in ("estimators", "forecasting", "pyro") and not hasattr(br, name)])
print([name for name in {HEAVY!r} if name in sys.modules], states() == before)
x = torch.randn(8, 3, 1)
br.fit(br.models.SequenceRegressor(1, 2, dropout=0.1), (x, x.sum((1, 2))), epochs=1, progress=False)
print([name for name in {HEAVY[:-1]!r} if name in sys.modules])
print([name for name in br.__all__ if not hasattr(br, name)], set(br.__all__) <= set(dir(br)))
print(br.inference.point.__name__, br.training.History.__name__)
try:
    br.nonsense
except AttributeError as error:
    print(error)
"""
    assert run(code).splitlines() == [
        "[]",  # nothing but the package itself
        "[]",  # names that need no heavy library
        "[] True",  # load none, and touch no random state
        "[]",  # nor does a training, but torch's compiler, which its optimizers load
        "[] True",  # all names there
        "point History",
        "module 'bayesrnn' has no attribute 'nonsense'",
    ]


def test_names_are_what_type_checkers_see() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If)).body
    static = {a.name: node.module for node in block if isinstance(node, ast.ImportFrom) for a in node.names}
    assert sorted(static) == sorted(bayesrnn.__all__)
    for name, module in static.items():
        assert getattr(bayesrnn, name) is getattr(import_module(str(module)), name), name


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


def test_no_foreign_code_no_print_no_assert() -> None:
    found = {str(path.relative_to(PACKAGE)): offences(path) for path in FILES}
    assert len(found) > 50
    assert not {name: lines for name, lines in found.items() if lines}


def offences(path: Path) -> list[str]:
    """What could run foreign code, speaks on its own, imports the root, or vanishes under -O."""
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
    return found


def test_the_check_sees_what_it_looks_for(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import pickle\nimport torch\nassert torch.load('x')\nprint(eval('1'))\nfrom bayesrnn import predict\n"
    )
    assert sorted(offences(bad)) == [
        "line 1: import pickle",
        "line 3: assert",
        "line 3: torch.load",
        "line 4: eval",
        "line 4: print",
        "line 5: imports the root",
    ]


def _banned(module: str) -> bool:
    return module.split(".")[0] in {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


def _is_public_root(name: str) -> bool:
    """Whether `from bayesrnn import name` reads the root's own namespace, not a submodule."""
    return not (PACKAGE / name).is_dir() and not (PACKAGE / f"{name}.py").is_file()
