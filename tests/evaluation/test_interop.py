"""Examples with other libraries: each runs where its library is installed, and is skipped with a word elsewhere."""

import importlib

import numpy as np
import pytest

from evaluation.interop import __main__ as interop
from evaluation.interop.data import HORIZON, task, windows

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]


def needs(name):
    if interop.installed(name) is None:
        pytest.skip(f"{name.removeprefix('ours in ')} is not installed: {interop.INSTALL}")


def test_the_task_is_what_it_says():
    data = task(series=2, months=40)
    assert data.target.shape == (2, HORIZON)
    assert list(data.long().columns) == ["unique_id", "ds", "y"]
    x, y = windows(np.arange(20.0), 3)
    assert x[4, :, 0].tolist() == [4, 5, 6]
    assert y[4] == 7


@pytest.mark.slow
@pytest.mark.parametrize("name", interop.examples())
def test_a_forecast_is_judged(name):
    needs(name)
    line = interop.sentence(interop.examples()[name], task())
    assert "90 % intervals hold" in line
    assert float(line.split("crps ")[1].split(",")[0]) < 0.8  # the season has an amplitude of 1


def test_what_is_not_installed_is_said(capsys, monkeypatch):
    monkeypatch.setattr(interop, "installed", lambda name: "0.15" if name == "statsmodels" else None)
    assert interop.main(["statsmodels", "darts"]) == 0
    statsmodels, darts = capsys.readouterr().out.splitlines()
    assert statsmodels.startswith("statsmodels 0.15: The 90 % intervals hold")
    assert darts == "darts: not installed (pip install -r evaluation/interop/requirements.txt)"
    assert interop.main(["prophet"]) == 2
    assert "there are no examples ['prophet']" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("library", "module", "name"), [
    ("sktime", "with_sktime", "RecurrentForecaster"),
    ("skpro", "with_skpro", "RecurrentRegressor"),
])  # fmt: skip
def test_adapters_pass_the_checks_of_their_library(library, module, name):
    needs(library)
    adapter = getattr(importlib.import_module(f"evaluation.interop.{module}"), name)
    check = importlib.import_module(f"{library}.utils.estimator_checks").check_estimator
    failed = {key: result for key, result in check(adapter, verbose=False).items() if result != "PASSED"}
    assert not failed


@pytest.mark.slow
def test_darts_paths_differ_by_their_masks():
    needs("darts")
    from evaluation.interop.with_darts import forecast

    predictive, target = forecast(task(series=1), epochs=1, samples=40)
    assert tuple(predictive.shape) == target.shape
    assert len(predictive.draws.unique(dim=0)) == 40
