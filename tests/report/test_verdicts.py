"""What a calibration report says in words, against predictives that are wrong by a known factor."""

import re

import pytest
import torch
from torch.distributions import Normal

from bayesrnn import metrics
from bayesrnn.predictive import Predictive
from bayesrnn.report import calibration_report
from tests.report.examples import QUICK, classes, gaussian


@pytest.mark.parametrize("factor", [1.3, 2.0])
def test_too_narrow_by_a_known_factor(factor: float) -> None:
    report = gaussian(1 / factor)
    said = re.search(r"too narrow by a factor of about ([\d.]+)\.", report.sentence)
    assert said is not None, report.sentence
    assert float(said[1]) == pytest.approx(factor, rel=0.07)
    score = metrics.coverage(report.predictive, report.target, level=0.9, interval=0.95, **QUICK)
    low, high = score.interval or (0, 0)
    assert f"hold {100 * score.value:.0f} % [{100 * low:.2g}, {100 * high:.2g}]" in report.sentence


def test_too_wide_by_a_known_factor() -> None:
    said = re.search(r"too wide by a factor of about ([\d.]+)\.", gaussian(2.0).sentence)
    assert said is not None
    assert float(said[1]) == pytest.approx(2.0, rel=0.1)


def test_calibrated_is_said_to_be() -> None:
    report = gaussian(1.0)
    assert "no miscalibration is detected" in report.sentence
    assert report.findings[0].tone == "good"


def test_biased_intervals_are_in_the_wrong_place_not_too_narrow() -> None:
    report = gaussian(1.0, bias=1.0)
    assert "wrong place" in report.sentence
    assert "too high on average" in report.sentence
    assert "too narrow" not in report.sentence
    assert "too low" in gaussian(1.0, bias=-1.0).sentence


def test_small_bias_is_a_second_finding() -> None:
    report = gaussian(0.5, bias=0.1)
    assert "too narrow" in report.sentence
    assert "too high on average" in report.findings[1].text


@pytest.mark.parametrize(
    ("temperature", "word"), [(0.5, "overconfident"), (2.0, "underconfident"), (1.0, "difference is within chance")]
)
def test_confidence_in_words(temperature: float, word: str) -> None:
    report = calibration_report(*classes(temperature), monte_carlo=False, **QUICK)
    assert word in report.sentence
    error = next(f for f in report.findings if "calibration error" in f.text)
    assert ("no miscalibration beyond chance" in error.text) == (temperature == 1.0)


@pytest.mark.parametrize("factor", [1.5, 2.0])
def test_a_skewed_distribution_too_narrow_by_a_known_factor(factor: float) -> None:
    """Errors of a mixture whose upper side is the wide one, stretched about its median."""
    rows = 3000
    means = torch.tensor([0.0, 0.0, 3.0])[:, None].expand(3, rows)
    predictive = Predictive.from_draws(Normal(means, torch.tensor([0.5, 0.5, 2.0])[:, None].expand(3, rows)))
    drawn, median = predictive.sample(1)[0], predictive.quantile(0.5)
    report = calibration_report(predictive, median + factor * (drawn - median), monte_carlo=False, **QUICK)
    said = re.search(r"too narrow by a factor of about ([\d.]+)\.", report.sentence)
    assert said is not None, report.sentence
    assert float(said[1]) == pytest.approx(factor, rel=0.07)


@pytest.mark.parametrize("rows", [10, 40])
def test_ten_hits_of_ten_do_not_make_intervals_too_wide(rows: int) -> None:
    predictive = Predictive.from_gaussian(torch.zeros(rows), torch.ones(rows))
    text = calibration_report(predictive, torch.linspace(-1.5, 1.5, rows), level=0.9, levels=(0.9,)).sentence
    assert ("no miscalibration is detected" in text) == (rows == 10)  # .9 of ten all hold by chance in a third of cases
    assert ("too wide" in text) == (rows == 40)


@pytest.mark.parametrize("sequences", [3, 8])
def test_few_sequences_give_no_verdict(sequences: int) -> None:
    """Of three sequences all lie on one side by chance in a quarter of cases; of eight, in one of 128."""
    rows = 20 * sequences
    predictive = Predictive.from_gaussian(torch.zeros(rows), torch.ones(rows))
    which = torch.arange(rows) % sequences
    text = calibration_report(predictive, torch.linspace(-4.0, 4.0, rows), sequences=which, **QUICK).sentence
    assert ("3 independent sequences are too few to tell" in text) == (sequences == 3), text
    assert ("too narrow" in text) == (sequences == 8), text


@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_targets_that_repeat_each_other_count_once(kind: str) -> None:
    """Ten copies of each target say no more than one: chance adds as much as it adds to the targets themselves."""
    g = torch.Generator().manual_seed(0)
    if kind == "numbers":
        std = torch.rand(200, generator=g) + 0.5
        predictive, target = Predictive.from_gaussian(torch.zeros(200), std), std * torch.randn(200, generator=g)
        key, tens = "ence10", Predictive.from_gaussian(torch.zeros(200, 10), std[:, None].expand(200, 10))
    else:
        p = torch.rand(200, generator=g) * 0.5 + 0.5
        chances = torch.stack([p, 1 - p], -1)
        predictive, target = Predictive.from_probabilities(chances), (torch.rand(200, generator=g) > p).long()
        key, tens = "ece15_left", Predictive.from_probabilities(chances[None, :, None].expand(1, 200, 10, 2))
    once = calibration_report(predictive, target, **QUICK).scores[key]
    many = calibration_report(tens, target[:, None].expand(200, 10), **QUICK).scores[key]
    assert many.floor == pytest.approx(once.floor, rel=0.15)
    assert many.interval[0] == 0.0  # no claim where there is none to make
    assert "does not follow the error" not in str(calibration_report(tens, target[:, None].expand(200, 10), **QUICK))
