"""Predictives as xarray and ArviZ read them."""

import importlib.util
import sys

import numpy as np
import pytest
import torch

import bayesrnn as br
from bayesrnn.predictive import Predictive
from tests.problems import problem

needs_xarray = pytest.mark.skipif(importlib.util.find_spec("xarray") is None, reason="xarray is not installed")


def predictive(task="regression", count=2):
    problems = [problem("lstm", task, seed=k) for k in range(count)]
    return br.predict([p.model for p in problems], problems[0].inputs, draws=50, sequence_ids=range(10, 16))


@needs_xarray
@pytest.mark.parametrize("task", ["regression", "classes"])
def test_xarray_has_the_columns_and_the_draws(task):
    p = predictive(task)
    data = p.to_xarray()
    for name in ("aleatoric", "epistemic", "between_networks"):
        np.testing.assert_allclose(data[name], getattr(p, name))
    assert data["sequence_id"].to_numpy().tolist() == list(range(10, 16))
    np.testing.assert_allclose(data["draws"].sel(network=1).isel(draw=7), p.draws[7 * 2 + 1])
    assert data["draws"].dims == ("network", "draw", "row", *(["class"] if task == "classes" else []))
    assert data.attrs["seed"] == 0
    steps = Predictive.from_gaussian(torch.arange(6.0).reshape(2, 3), 1.0).to_xarray()
    assert steps["mean"].dims == ("row", "step")
    np.testing.assert_allclose(steps["mean"], [[0, 1, 2], [3, 4, 5]])


@needs_xarray
@pytest.mark.parametrize("task", ["regression", "classes"])
def test_arviz_has_a_chain_for_each_network(task):
    p = predictive(task)
    y = torch.arange(6) % 3 if task == "classes" else torch.zeros(6)
    tree = p.to_arviz(y)
    draws = tree["posterior"]["probabilities" if task == "classes" else "mean"]
    assert draws.dims[:3] == ("chain", "draw", "row")
    np.testing.assert_allclose(draws.isel(chain=1, draw=3), p.draws[3 * 2 + 1])
    samples = tree["posterior_predictive"]["y"]
    assert samples.sizes["chain"] == 2
    np.testing.assert_array_equal(tree["observed_data"]["y"], y)
    if task == "regression":
        np.testing.assert_allclose(samples.mean(("chain", "draw")), p.mean, atol=1.5)
        assert np.isfinite(p.to_arviz()["posterior_predictive"]["y"].to_numpy()).all()
    with pytest.raises(ValueError, match="does not fit"):
        p.to_arviz(y[:3])
    with pytest.raises(ValueError, match="wants draws"):
        Predictive.from_quantiles([0.1, 0.9], [[0.0], [1.0]]).to_arviz()


@pytest.mark.skipif(importlib.util.find_spec("arviz") is None, reason="ArviZ is not installed")
@pytest.mark.filterwarnings("ignore")
def test_arviz_reads_it():
    import arviz

    p = predictive()
    tree = p.to_arviz()
    if not arviz.__version__.startswith("1"):  # before 1.0 it has a class of its own
        tree = arviz.InferenceData(**{name: group.to_dataset() for name, group in tree.children.items()})
    summary = arviz.summary(tree, group="posterior")
    np.testing.assert_allclose(summary["mean"].to_numpy(dtype=float), p.mean, atol=0.02)


def test_without_xarray_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match="pip install xarray"):
        Predictive.from_gaussian(torch.zeros(2), 1.0).to_xarray()
