"""Predictions of tiny nets against the answers that enumerating all masks gives."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import bayesrnn as br
from bayesrnn.inference import point
from tests.problems import CELLS, TASKS, problem


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("sampling", ["stratified", "independent"])
def test_regression_agrees_with_enumeration(cell, sampling):
    exact = problem(cell, "regression")
    p = br.predict(exact.model, exact.inputs, draws=2048, sampling=sampling)
    error = (p.mean.numpy() - exact.mean) / p.standard_error.numpy()
    assert np.abs(error).max() < 4
    assert p.standard_error.max() < 0.05 * np.sqrt(exact.epistemic.max())
    np.testing.assert_allclose(p.epistemic, exact.epistemic, rtol=0.15)
    np.testing.assert_allclose(p.aleatoric, exact.aleatoric, rtol=0.15)
    torch.testing.assert_close(p.variance, p.aleatoric + p.epistemic)


@pytest.mark.parametrize("cell", CELLS)
def test_classes_agree_with_enumeration(cell):
    exact = problem(cell, "classes")
    p = br.predict(exact.model, exact.inputs, draws=2048)
    error = (p.probabilities.numpy() - exact.probabilities) / p.standard_error.numpy()
    assert np.abs(error).max() < 4
    np.testing.assert_allclose(p.aleatoric, exact.expected_entropy, rtol=0.03)
    np.testing.assert_allclose(p.epistemic, exact.mutual_information, rtol=0.15)
    torch.testing.assert_close(p.entropy, p.aleatoric + p.epistemic)


@pytest.mark.parametrize("sampling", ["stratified", "independent"])
@pytest.mark.parametrize("draws", [128, 100])
def test_standard_errors_cover_what_they_say(sampling, draws):
    exact = problem("lstm", "regression")
    hits = []
    for seed in range(200):
        p = br.predict(exact.model, exact.inputs, draws=draws, seed=seed, sampling=sampling)
        reach = stats.t.ppf(0.975, p.degrees_of_freedom) * p.standard_error.numpy()
        hits.append(np.abs(p.mean.numpy() - exact.mean) <= reach)
    assert 0.93 <= np.mean(hits) <= 0.97


@pytest.mark.parametrize("sampling", ["stratified", "independent"])
def test_error_falls_with_the_square_root_of_the_draws(sampling):
    exact = problem("gru", "regression", rows=8)
    sizes = [64, 128, 256, 512, 1024]
    errors = []
    for draws in sizes:
        found = [br.predict(exact.model, exact.inputs, draws=draws, seed=s, sampling=sampling).mean for s in range(12)]
        errors.append(np.sqrt(np.mean((torch.stack(found).numpy() - exact.mean) ** 2)))
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert -0.62 < slope < -0.38


def test_stratified_draws_beat_independent_ones():
    exact = problem("lstm", "regression", rows=8)
    errors = {}
    for sampling in ("stratified", "independent"):
        found = [br.predict(exact.model, exact.inputs, draws=96, seed=s, sampling=sampling).mean for s in range(30)]
        errors[sampling] = np.mean((torch.stack(found).numpy() - exact.mean) ** 2)
    assert errors["independent"] > 1.5 * errors["stratified"]


@pytest.mark.parametrize("task", TASKS)
def test_tolerance_stops_each_row_below_it(task):
    exact = problem("lstm", task)
    p = br.predict(exact.model, exact.inputs, draws=4000, tolerance=0.01)
    error = p.standard_error if task == "regression" else p.standard_error.amax(-1)
    assert bool((error <= 0.01).all())
    counts = p.draws_per_row
    assert counts is not None
    assert len(set(counts.tolist())) > 1
    assert int(counts.max()) == p.draws_used < 4000
    truth = exact.mean if task == "regression" else exact.probabilities
    value = p.mean if task == "regression" else p.probabilities
    assert np.abs(value.numpy() - truth).max() < 0.05


def test_rows_that_stop_are_as_exact_as_they_say():
    """Stopping where the error looks small must not mean stopping where it looks too small."""
    exact = problem("lstm", "regression", rows=8)
    fixed = [br.predict(exact.model, exact.inputs, draws=160, seed=s).mean.numpy() - exact.mean for s in range(40)]
    tolerance = float(np.sqrt(np.mean(np.square(fixed))))
    found = [br.predict(exact.model, exact.inputs, draws=4000, seed=s, tolerance=tolerance) for s in range(40, 100)]
    actual = np.sqrt(np.mean([(p.mean.numpy() - exact.mean) ** 2 for p in found]))
    claimed = np.sqrt(np.mean([p.standard_error.numpy() ** 2 for p in found]))
    assert actual < 1.1 * tolerance
    assert actual < 1.25 * claimed


def test_a_row_stopped_early_is_the_row_predicted_with_that_many_draws():
    exact = problem("lstm", "regression")
    p = br.predict(exact.model, exact.inputs, draws=4000, tolerance=0.01)
    for row, count in enumerate(p.draws_per_row.tolist()):
        alone = br.predict(exact.model, exact.inputs[row : row + 1], draws=count, sequence_ids=[row])
        torch.testing.assert_close(p.mean[row], alone.mean[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(p.quantile(0.9)[row], alone.quantile(0.9)[0], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(p.log_prob(torch.zeros(6))[row], alone.log_prob(torch.zeros(1))[0])


def test_error_and_transform_of_a_row_stopped_early_are_those_of_that_many_draws() -> None:
    exact = problem("lstm", "regression")
    options: dict[str, Any] = {"likelihood": lambda distribution: point(distribution.mean)}
    p = br.predict(exact.model, exact.inputs, draws=4000, tolerance=0.01, **options)
    assert len(set(p.draws_per_row.tolist())) > 1
    y = p.mean + 0.1
    for row, count in enumerate(p.draws_per_row.tolist()):
        alone = br.predict(exact.model, exact.inputs[row : row + 1], draws=count, sequence_ids=[row], **options)
        torch.testing.assert_close(p.standard_error[row], alone.standard_error[0], rtol=1e-9, atol=1e-12)
        for end, expected in zip(p.distribution.pit(y), alone.distribution.pit(y[row : row + 1])):
            torch.testing.assert_close(end[row], expected[0])


def test_a_row_stops_when_all_its_outputs_are_exact_enough() -> None:
    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout = br.nn.Dropout(0.3)

        def forward(self, x: torch.Tensor) -> dict[str, Any]:
            mask = self.dropout(torch.ones_like(x))
            return {"small": point(1e-3 * mask), "large": point(mask)}

    found = br.predict(Two(), torch.zeros(5, 3), draws=2000, sampling="independent", tolerance=0.05)
    assert float(found["large"].standard_error.max()) <= 0.05
    assert found["small"].draws_used == found["large"].draws_used < 2000
