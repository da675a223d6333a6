"""Every example in a docstring, in the README and in the guide runs and gives what it says."""

import doctest
import importlib
import inspect
import pkgutil
import re
import runpy
from pathlib import Path

import pytest
import torch

import bayesrnn

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    m.name for m in pkgutil.walk_packages(bayesrnn.__path__, "bayesrnn.") if not m.name.endswith("__main__")
)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    failures, _ = doctest.testmod(module, optionflags=flags)
    assert failures == 0, f"{failures} examples of {name} do not give what they say (run python -m doctest)"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_code_blocks_of_pages_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize("name", sorted(runpy.run_path(str(ROOT / "docs" / "site" / "hooks.py"))["REFERENCE"]))
def test_every_public_name_says_what_it_is(name: str) -> None:
    module = importlib.import_module(name)
    public = {n: getattr(module, n) for n in module.__all__}
    empty = [
        n for n, value in public.items() if (inspect.isroutine(value) or inspect.isclass(value)) and not value.__doc__
    ]
    assert not empty
    assert module.__doc__


def test_links_of_pages_lead_somewhere() -> None:
    broken = []
    for page in [*PAGES, *(ROOT / "docs").glob("*/*.md"), ROOT / "CHANGES.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://", "reference/")) and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert not broken


def test_the_page_on_reports_names_the_rows_that_reports_have() -> None:
    page = (ROOT / "docs" / "reading-a-report.md").read_text(encoding="utf-8")
    tables = [part for part in page.split("## ") if "| row |" in part]
    numbers = bayesrnn.Predictive.from_gaussian(torch.linspace(-1, 1, 60), torch.linspace(0.5, 2, 60))
    classes = bayesrnn.Predictive.from_probabilities(torch.softmax(torch.randn(5, 60, 3), -1))
    for text, predictive in zip(tables, (numbers, classes), strict=True):
        target = torch.arange(60) % 3 if predictive is classes else torch.linspace(-1, 1, 60).flip(0)
        report = str(bayesrnn.calibration_report(predictive, target))
        cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        rows = [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]
        assert rows
        assert [name for name in rows if name not in report] == []
