"""Scores of the forecasting comparison by hand, and its tables from made-up cells."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bayesrnn.predictive import Predictive
from evaluation import records
from evaluation.forecasting import libraries, report
from evaluation.forecasting.peers import OURS, PRESENT, RAW
from evaluation.forecasting.scores import geometric_mean, paired_error, scores
from evaluation.forecasting.tasks import TASKS
from tests.forecasting.test_backtest import toy


def test_scores_of_a_gaussian_are_those_of_the_closed_form() -> None:
    target = torch.randn(300, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    result = scores(Predictive.from_gaussian(torch.zeros(300, 4), torch.ones(300, 4)), target, scale=2.0)
    z = target.numpy()
    cdf = 0.5 * (1 + torch.erf(target / math.sqrt(2))).numpy()
    exact = z * (2 * cdf - 1) + 2 * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) - 1 / math.sqrt(math.pi)
    assert result["crps"] == pytest.approx(exact.mean() / 2, rel=0.02)
    assert result["coverage_80"] == pytest.approx((np.abs(z) < 1.2816).mean())
    assert result["width_95"] == pytest.approx(2 * 1.959964 / 2, rel=1e-4)
    outside = np.maximum(np.abs(z) - 1.959964, 0)
    assert result["interval_score_95"] == pytest.approx((2 * 1.959964 + 40 * outside).mean() / 2, rel=1e-4)
    assert len(result["crps_by_origin"]) == 300


def test_paired_errors_are_over_blocks() -> None:
    rng = np.random.default_rng(0)
    mine, other = rng.normal(1, 0.1, 60), rng.normal(1.2, 0.1, 60)
    mean, error = paired_error({"crps_by_origin": mine}, {"crps_by_origin": other}, overlap=3)
    blocks = (mine - other).reshape(10, 6).mean(1)
    assert mean == pytest.approx((mine - other).mean())
    assert error == pytest.approx(blocks.std(ddof=1) / math.sqrt(10))
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)


def test_origins_walk_through_the_season_and_stay_in_the_held_out_span() -> None:
    series = toy(3000)
    task = TASKS["co2"]
    origins = task.origins(series)
    assert int(origins[0]) == 2399
    assert int(origins[-1]) + task.horizon < 3000
    every = int(origins[1] - origins[0])
    assert series.period % every != 0
    assert every % series.period != 0


def test_the_tables_are_drawn_from_the_cells(tmp_path: Path) -> None:
    for series, factor in (("a", 1.0), ("b", 2.0), ("c", 2.0)):
        for name, crps in ((OURS, 0.5), ("other", 1.0)):
            cell = {
                "forecast": name, "crps": crps * factor,
                "crps_by_origin": [crps * (factor + 0.01 * k) for k in range(9)],
                "coverage_80": 0.79, "coverage_95": 0.96, "interval_score_95": 3.0, "cpu_seconds": 2.0,
                "horizon": 4, "every": 2,
            }  # fmt: skip
            if name == "other":
                cell["setup"] = "its defaults" + (", 9 epochs" if series == "b" else "")
            records.save(f"{series}-{name[:2].lower()}", cell, seed=0, folder=tmp_path)
    report.write(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert f"| {OURS} | 0.500 | 1.000 | 1.000 | 0.794 | 2 |" in text
    assert "\n- other, a, c: its defaults.\n- other, b: its defaults, 9 epochs.\n" in text
    row = next(line for line in text.splitlines() if line.startswith("| other | -5"))
    assert row.endswith("| -50.0 % |")
    assert "79.0, 96.0 | 79.0, 96.0 | 79.0, 96.0 | 1.0, 1.0 | 3.00 |" in text


def test_a_peer_whose_library_is_missing_is_left_out_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    here, missing = ("json", lambda problem: None), ("no_such_library.torch", lambda problem: None)
    monkeypatch.setattr(libraries, "LIBRARIES", {"here": here, "elsewhere": missing})
    lines: list[str] = []
    assert libraries.installed(lines.append) == {"here": here[1]}
    assert lines == [
        "elsewhere is left out: no_such_library.torch cannot be imported (No module named 'no_such_library')."
    ]


def test_what_was_asked_stands_beside_what_was_reached(tmp_path: Path) -> None:
    crps = {OURS: 0.8, RAW: 0.9, PRESENT: 1.6, "deterministic pass": 0.7, "peer": 1.0}
    for series, seed in (("a", 0), ("b", 0), ("a", 1), ("b", 1)):
        for k, (name, value) in enumerate(crps.items()):
            behind = 1.0 if (series, name) == ("b", OURS) else 0.0  # on b ours is behind the peer
            cell = {
                "forecast": name, "crps": value + behind,
                "crps_by_origin": [value + behind + 0.01 * (i % (2 + k)) for i in range(9)], "horizon": 4, "every": 2,
                "coverage_80": 0.79 if series == "a" else 0.84, "coverage_95": 0.96, "cpu_seconds": 2.0,
                "interval_score_95": 3.03 if name == OURS else 3.0,
            }  # fmt: skip
            end = f"_seed{seed}" if seed else ""
            records.save(f"{series}-{k}{end}", cell, seed=seed, folder=tmp_path)
    report.write(tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert f"the forecaster before | -12 % or lower | {100 * ((0.8 * 1.8) ** 0.5 / 1.6 - 1):+.1f} % |" in text
    assert f"the best single peer | -12 % or lower | {100 * ((0.8 * 1.8) ** 0.5 - 1):+.1f} % |" in text
    assert "by more than a standard error | none | b (" in text
    assert "[points] | 2 and 1 at most | 2.5 and 1.0 |" in text
    assert "worst series | +1 % at most | +1.0 % |" in text
    assert f"| {OURS}, seed 1 | 0.800 | 1.800 | 1.200 |" in text
