"""Inputs that people have: groups of one row, counts, names with markup, few sequences."""

import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sklearn.metrics
import torch
from torch import distributions as D

from bayesrnn import plots
from bayesrnn.comparison import compare_predictives
from bayesrnn.metrics.registry import measures_for
from bayesrnn.predictive import Predictive
from bayesrnn.report import calibration_report
from bayesrnn.report.format import fixed

NAMES = ["cost_$_per_$", "_hidden", r"a_{1}^2 \frac", "$", "<b>&amp;"]


def normal(rows: int, *steps: int) -> tuple[Predictive, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (rows, *steps)
    return Predictive.from_gaussian(torch.zeros(shape), torch.ones(shape)), torch.randn(shape, generator=generator)


@pytest.mark.parametrize("steps", [(), (4,)])
def test_a_group_of_one_row_is_reported(steps: tuple[int, ...]) -> None:
    p, y = normal(60, *steps)
    report = calibration_report(p, y, groups=["north"] * 59 + ["south"], resamples=50)
    lone = report.tables["group"][1]
    assert (lone["part"], lone["sequences"], lone["off"]) == ("south", 1, None)
    assert lone["coverage"] == pytest.approx(float((y[-1].abs() <= 1.6449).double().mean()))
    assert report.picture("coverage_by_group").get_yticklabels()[0].get_text() == "south (1 rows)"


@pytest.mark.parametrize("rate", [0.2, 1.0, 3.0])
def test_calibrated_counts_are_not_called_too_wide(rate: float) -> None:
    rates = torch.full((600,), rate)
    p = Predictive.from_draws(D.Poisson(rates.expand(16, -1)))
    y = torch.poisson(rates, generator=torch.Generator().manual_seed(1))
    report = calibration_report(p, y, groups=[k % 3 for k in range(600)], resamples=200)
    counts = torch.arange(60.0)
    below = D.Poisson(rate).log_prob(counts).exp().double().cumsum(0)
    ends = [int((below < q).sum()) for q in (0.05, 0.95)]
    exact = float(below[ends[1]] - (below[ends[0] - 1] if ends[0] else 0))
    (coverage,) = (m for m in measures_for(p) if m.key == "coverage_90")
    assert coverage.ideal == pytest.approx(exact, abs=1e-6)
    assert "no miscalibration is detected" in report.sentence
    assert "whole numbers let a calibrated model hold" in report.sentence
    assert not any(row["off"] for row in report.tables["group"])
    wide = Predictive.from_draws(D.Poisson((4 * rates + 2).expand(16, -1)))
    assert calibration_report(wide, y, resamples=200).findings[0].tone == "bad"


@pytest.mark.parametrize("name", NAMES)
def test_names_with_markup_are_drawn_as_they_are(name: str) -> None:
    p, y = normal(60, 3)
    groups = [name if k % 2 else "other" for k in range(60)]
    report = calibration_report(p, y, groups=groups, units=name, title=name, resamples=20)
    for picture in report.picture_names:
        report.picture(picture).figure.canvas.draw()
    comparison = compare_predictives({name: p, "other": p.moment_matched()}, y, units=name, resamples=20)
    for picture in comparison.picture_names:
        comparison.picture(picture).figure.canvas.draw()
    plots.fan_chart(p, y, title=name, ylabel=name, units=name).figure.canvas.draw()
    strip = plots.token_strip([name, "x"], torch.tensor([1.0, 2.0]), label=name, title=name)
    strip.figure.canvas.draw()
    assert len(strip.patches) == 4
    curves = plots.learning_curves({name: [1.0, 0.5]}, ylabel=name, xlabel=name)
    curves.figure.canvas.draw()
    assert [t.get_text().strip() for t in curves.get_legend().get_texts()] == [name]
    classes = Predictive.from_probabilities(torch.rand(60, 3).softmax(-1))
    judged = calibration_report(classes, torch.arange(60) % 3, groups=groups, resamples=20)
    for picture in judged.picture_names:
        judged.picture(picture).figure.canvas.draw()


def test_few_sequences_are_warned_of_in_words() -> None:
    p, y = normal(60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        options: dict[str, Any] = {"sequences": torch.arange(60) // 10, "resamples": 50}
        report = calibration_report(p, y, **options)
        comparison = compare_predictives({"a": p, "b": p.moment_matched()}, y, **options)
    assert any("Only 6 independent sequences" in warning for warning in report.warnings)
    assert "Only 6 independent sequences" in str(comparison)
    assert "6 independent sequences" in comparison.page(dict.fromkeys(comparison.picture_names, b"x")).html()


def test_tables_fit_eighty_columns() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(240, 6, generator=generator)
    draws = x + 0.3 * torch.randn(64, 240, 6, generator=generator)
    y = x + 1.3 * torch.randn(240, 6, generator=generator)
    classes = Predictive.from_probabilities((2 * torch.randn(64, 240, 4, generator=generator)).softmax(-1))
    labels = torch.arange(240) % 4
    for scale in (1.0, 1e4):
        p = Predictive.from_draws(D.Normal(scale * draws, scale), block_size=16, seed=0)
        report = calibration_report(p, scale * y, units="MWh", resamples=50)
        plain = Predictive.from_gaussian(scale * x, torch.full_like(x, scale))
        both = compare_predictives({"one": plain, "two": p}, scale * y, resamples=50)
        assert_fits(report, "figure")
        assert_fits(both, "metric")
    assert_fits(calibration_report(classes, labels, resamples=50), "figure")
    with_errors = {line.split("  ")[0]: line for line in str(report).splitlines()}
    assert "±" in with_errors["CRPS"]
    assert " % " in with_errors["coverage of 90 % intervals"]


def assert_fits(exhibit: Any, head: str) -> None:
    lines = str(exhibit).splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith(head))
    assert len(lines) - start > 12
    assert max(map(len, lines[start:])) <= 80


@pytest.mark.parametrize(
    ("value", "interval", "expected"),
    [
        (0.75094, (0.72271, 0.78552), ("0.751", "[0.723, 0.786]")),
        (-0.04617, (-0.1171, 0.0187), ("−0.05", "[−0.12, 0.02]")),
        (12345.6, (11000.0, 13500.0), ("12346", "[11000, 13500]")),
        (0.5, None, ("0.5", "")),
        (1.0, (1.0, 1.0), ("1", "[1, 1]")),
    ],
)
def test_values_have_the_decimals_of_their_interval(value: float, interval: Any, expected: tuple[str, str]) -> None:
    assert fixed(value, interval) == expected


@pytest.mark.parametrize("classes", [3, 18])
def test_classes_keep_their_names_from_target_to_page(classes: int, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    names = [*NAMES[:2], *(f"k{k}" for k in range(classes - 2))]
    logits = 2 * torch.randn(300, classes, generator=generator)
    y = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    p = Predictive.from_probabilities(logits.softmax(-1), class_names=names)
    report = calibration_report(p, [names[k] for k in y], resamples=50)
    assert report.scores == calibration_report(p, y, resamples=50).scores
    page = report.save(tmp_path).read_text()
    assert "By class" in page
    assert all(f">{name}</td>" in page for name in names[:2])
    assert ("The most frequent confusions" in page) == (classes == 18)
    kept = pd.read_csv(tmp_path / "confusion_matrix.csv", index_col=0)
    counts = sklearn.metrics.confusion_matrix(y, logits.argmax(-1), labels=range(classes))
    assert (kept.to_numpy() == counts).all()
    assert list(kept.columns) == list(kept.index) == names
    assert [row["class"] for row in report.to_dict()["by_class"]] == names
    assert report.picture("confusion_matrix").get_yticklabels()[0].get_text() == names[0]
    lone = calibration_report(p[y == 1], [names[1]] * int((y == 1).sum()), resamples=50)
    assert f"Only class {names[1]} is present" in " ".join(lone.warnings)
