"""The report says what is true of constructed data, carries five things a figure, and its files agree with it."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from bayesrnn import metrics
from bayesrnn.predictive import Predictive
from bayesrnn.recalibration import PerHorizon, VarianceScaling
from bayesrnn.report import calibration_report
from tests.report.examples import QUICK, chances, forecast, gaussian, generator
from tests.report.test_page import assert_stands_alone


def test_every_figure_equals_its_metric_and_carries_five_things() -> None:
    predictive, target = forecast()
    report = calibration_report(predictive, target, seed=3, **QUICK)
    table = report.table.set_index("metric")
    options = {"interval": 0.95, "monte_carlo": True, "floor": True, "seed": 3, **QUICK}
    for key, metric in {
        "crps": metrics.crps, "nll": metrics.nll, "rmse": metrics.rmse, "coverage_90": metrics.coverage,
        "miscalibration_area": metrics.miscalibration_area, "ence10": metrics.expected_normalized_calibration_error,
    }.items():  # fmt: skip
        score = metric(predictive, target, **options)
        row = table.loc[key]
        assert row["value"] == score.value
        assert (row["low"], row["high"]) == score.interval
        assert row["standard_error"] == pytest.approx(score.standard_error or math.nan, nan_ok=True)
        for name in ("corrected", "floor"):
            expected = getattr(score, name)
            assert math.isnan(row[name]) if expected is None else row[name] == expected
        assert (row["n"], row["sequences"], row["draws"]) == (300, 60, 24)
    assert table.loc["crps", "corrected"] > 0
    assert table.loc["miscalibration_area", "floor"] > 0
    assert (table["standard_error"].dropna() >= 0).all()


def test_steps_of_a_sequence_are_resampled_together() -> None:
    rows, steps = 40, 20
    shared = torch.randn(rows, 1, generator=generator()).expand(rows, steps)
    predictive = Predictive.from_gaussian(torch.zeros(rows, steps), torch.ones(rows, steps))
    wide = calibration_report(predictive, shared, monte_carlo=False, **QUICK).scores["coverage_90"].interval
    flat = Predictive.from_gaussian(torch.zeros(rows * steps), torch.ones(rows * steps))
    narrow = calibration_report(flat, shared.reshape(-1), monte_carlo=False, **QUICK).scores["coverage_90"].interval
    given = (
        calibration_report(
            flat, shared.reshape(-1), sequences=torch.arange(rows).repeat_interleave(steps), monte_carlo=False, **QUICK
        )
        .scores["coverage_90"]
        .interval
    )
    assert wide is not None
    assert narrow is not None
    assert given == wide
    assert wide[1] - wide[0] > 3 * (narrow[1] - narrow[0])


def test_masked_and_missing_targets_are_left_out() -> None:
    predictive, target = forecast()
    holes = target.clone()
    holes[:3, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        calibration_report(predictive, holes)
    report = calibration_report(predictive, holes, nan="drop", monte_carlo=False, **QUICK)
    assert "3 missing targets were left out." in report.warnings
    assert report.facts["targets"] == 297
    assert report.tables["horizon"][0]["targets"] == 57
    lengths = torch.full((60,), 2)
    short = calibration_report(predictive, target, lengths=lengths, monte_carlo=False, **QUICK)
    assert [row["part"] for row in short.tables["horizon"]] == ["1", "2"]
    assert short.scores["rmse"].value == pytest.approx(metrics.rmse(predictive, target, lengths=lengths).value)
    short.picture("coverage_by_horizon")


def certain(mean: Tensor, std: Tensor | float = 1.0) -> Predictive:
    return Predictive.from_gaussian(mean, torch.as_tensor(std).expand(mean.shape))


NUMBERS = torch.rand(50, generator=generator())
THREE = torch.arange(60) % 3


WARNINGS: dict[str, tuple[Any, Tensor]] = {
    "Only 12 targets": (certain(torch.arange(12.0)), torch.arange(12.0) + 0.1),
    "The predicted spread is the same everywhere": (certain(NUMBERS), NUMBERS),
    "All predictions are the same": (certain(torch.ones(50), NUMBERS + 1), NUMBERS),
    "No draws": (certain(NUMBERS), NUMBERS),
    "Only 8 draws": (Predictive.from_draws(Normal(torch.randn(8, 50), torch.ones(8, 50))), NUMBERS),
    "10 samples cannot give 90 % intervals, which need at least 19": (
        Predictive.from_samples(torch.randn(10, 50)),
        NUMBERS,
    ),
    "Only class 1 is present": (chances(60), torch.ones(60).long()),
    "probability of exactly 0 or 1": (Predictive.from_probabilities(torch.eye(3)[THREE]), THREE),
    "hold fewer than 30 targets": (chances(60), THREE),
    "All targets belong to one sequence": (certain(NUMBERS[None]), NUMBERS[None]),
    "2 independent sequences: the bootstrap intervals are rough": (certain(NUMBERS.view(2, 25)), NUMBERS.view(2, 25)),
}


@pytest.mark.parametrize("words", WARNINGS)
def test_guard_rails_speak(words: str) -> None:
    report = calibration_report(*WARNINGS[words], resamples=50)
    assert any(words in warning for warning in report.warnings), report.warnings
    assert words in str(report)
    assert np.isfinite([s.value for s in report.scores.values()]).all()
    assert "nan" not in str(report)


def test_one_sequence_still_makes_a_page(tmp_path: Path) -> None:
    report = calibration_report(certain(NUMBERS[None]), NUMBERS[None])
    assert report.scores["crps"].interval is None
    text = report.save(tmp_path).read_text(encoding="utf-8")
    assert "Before you trust these numbers" in text
    assert ">nan<" not in text


def test_a_metric_that_cannot_be_computed_is_named() -> None:
    samples = Predictive.from_samples(torch.randn(40, 60, generator=generator()))
    report = calibration_report(samples, torch.randn(60, generator=generator(1)), resamples=50)
    assert any(note.startswith("Negative log-likelihood is missing: Samples have no density") for note in report.notes)
    assert "nll" not in report.scores


def test_saved_files_agree_with_the_report(tmp_path: Path) -> None:
    predictive, target = forecast()
    report = calibration_report(predictive, target, ["x"] * 60, units="MW", title="Wind & rain", **QUICK)
    page = report.save(tmp_path / "new" / "folder")
    folder = page.parent
    text = page.read_text(encoding="utf-8")
    found = assert_stands_alone(text)
    assert len(found.images) == len(report.picture_names) >= 7
    assert "Wind &amp; rain" in text
    assert report.sentence in text
    data = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert data["sentence"] == report.sentence
    assert data["metrics"]["crps"]["value"] == report.scores["crps"].value
    assert data["metrics"]["crps"]["draws"] == 24
    assert data["by_horizon"][0]["coverage"] == report.tables["horizon"][0]["coverage"]
    rows = list(csv.DictReader((folder / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["metric"] for row in rows] == [m.key for m in report.measures]
    assert float(rows[0]["value"]) == pytest.approx(report.scores["crps"].value)
    for name in report.picture_names:
        assert (folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert "<svg" in (folder / f"{name}.svg").read_text(encoding="utf-8")
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_a_distribution_for_each_step_is_reported() -> None:
    predictive, target = forecast(steps=3)
    predictive = predictive.moment_matched()
    fixed = PerHorizon(VarianceScaling).fit(predictive, target).apply(predictive)
    parts = calibration_report(fixed, target, **QUICK).tables["horizon"]
    assert [part["part"] for part in parts] == ["1", "2", "3"]
    for t, part in enumerate(parts):
        assert part["crps"] == pytest.approx(float(metrics.crps(fixed.at_step(t), target[:, t])))


def test_str_and_pictures() -> None:
    report = gaussian(0.5, rows=200)
    text = str(report)
    assert report.sentence in text
    assert "calibrated model" in text
    ax = report.picture("pit_histogram")
    assert ax.get_title(loc="left") == "PIT histogram"
    with pytest.raises(ValueError, match="there is no picture 'nonsense': legal are interval_reliability"):
        report.picture("nonsense")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 90}, "level must lie strictly between 0 and 1"),
        ({"interval": 1.0}, "interval must lie"),
        ({"groups": ["a"]}, "groups has 1 labels for 200 rows"),
    ],
)
def test_bad_input(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibration_report(Predictive.from_gaussian(torch.zeros(200), torch.ones(200)), torch.zeros(200), **options)
    with pytest.raises(ValueError, match="does not fit"):
        calibration_report(Predictive.from_gaussian(torch.zeros(200), torch.ones(200)), torch.zeros(199))
