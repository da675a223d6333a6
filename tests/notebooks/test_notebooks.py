"""The notebooks run top to bottom, ship with their outputs, and speak of nothing but themselves."""

import json
import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = (
    "predict_with_intervals",
    "calibration",
    "mc_versus_standard",
    "language_model",
    "speech",
    "translation",
    "forecast_your_csv",
    "classify_texts",
    "ensembles",
    "judge_other_forecasts",
    "your_own_cell",
)


def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    notebook = read(name)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FOLDER.parent), os.environ.get("PYTHONPATH", "")]))
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute()
    return notebook


def kinds(notebook: Any) -> list[list[str]]:
    """What each code cell shows: pictures, tables, text."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            data = [o.get("data", {}) for o in cell.outputs]
            shown = {"picture" if "image/png" in d else "table" if "text/html" in d else "" for d in data}
            found.append(sorted(shown - {""}))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_shipped_with_the_outputs_of_one_run(name: str) -> None:
    notebook = read(name)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 2
    text = json.dumps(notebook)
    assert not re.search(r"/(work|tmp|home|root)/", text)
    assert "SMOKE" in text


def test_the_layer_of_your_own_is_the_one_of_the_guide() -> None:
    (layer,) = [c.source for c in read("your_own_cell").cells if c.source.startswith("class LayerNormLSTM")]
    assert layer in (FOLDER.parent / "docs" / "cells.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_runs_top_to_bottom(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BAYESRNN_SMOKE", raising=False)
    assert kinds(run(name, tmp_path, monkeypatch)) == kinds(read(name))


def test_smoke_run_of_the_first_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAYESRNN_SMOKE", "1")
    assert kinds(run("predict_with_intervals", tmp_path, monkeypatch)) == kinds(read("predict_with_intervals"))


@pytest.mark.parametrize("name", NAMES[1:])
@pytest.mark.slow
def test_smoke_run_of_the_others(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAYESRNN_SMOKE", "1")
    assert kinds(run(name, tmp_path, monkeypatch)) == kinds(read(name))
