"""Reports by horizon, group, position and frequency."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Categorical

from bayesrnn import metrics
from bayesrnn.metrics.pairs import pair
from bayesrnn.predictive import Origin, Predictive, TokenPredictive
from bayesrnn.report import calibration_report
from bayesrnn.report.breakdown import _off, by_frequency
from tests.report.examples import QUICK, forecast, generator


def test_by_horizon_and_group_equal_the_metrics_of_the_parts() -> None:
    predictive, target = forecast()
    labels = ["a" if i < 20 else "b" for i in range(60)]
    report = calibration_report(predictive, target, labels, monte_carlo=False, **QUICK)
    low, high = predictive.interval(0.9)
    inside = ((low <= target) & (target <= high)).double()
    horizon = report.tables["horizon"]
    assert [row["part"] for row in horizon] == ["1", "2", "3", "4", "5"]
    assert [row["coverage"] for row in horizon] == pytest.approx(inside.mean(0).tolist())
    group = {row["part"]: row for row in report.tables["group"]}
    assert group["a"]["coverage"] == pytest.approx(float(inside[:20].mean()))
    assert group["b"]["crps"] == pytest.approx(metrics.crps(predictive[20:], target[20:]).value)
    assert (group["a"]["targets"], group["a"]["sequences"]) == (100, 20)
    assert {"coverage_by_horizon", "coverage_by_group"} <= set(report.picture_names)


def test_a_group_that_is_off_is_found_and_no_other() -> None:
    rows = 1200
    target = torch.randn(rows, generator=generator())
    target[:300] *= 3
    labels = ["off" if i < 300 else f"fine {i % 3}" for i in range(rows)]
    report = calibration_report(
        Predictive.from_gaussian(torch.zeros(rows), torch.ones(rows)), target, labels, monte_carlo=False, **QUICK
    )
    assert {row["part"] for row in report.tables["group"] if row["off"]} == {"off"}


def stream() -> TokenPredictive:
    g = generator()
    logits = torch.randn(30, 24, 20, generator=g) * 1.5
    target = Categorical(logits=logits).probs.flatten(0, 1).multinomial(1, generator=g).view(30, 24)
    draws = (logits / 0.6 + 0.3 * torch.randn(6, 30, 24, 20, generator=g)).log_softmax(-1)
    mean = draws.exp().mean(0)
    entropy, aleatoric = -(mean * mean.log()).sum(-1), -(draws.exp() * draws).sum(-1).mean(0)
    return TokenPredictive.from_blocks(
        draws.gather(-1, target.expand(6, 30, 24)[..., None])[..., 0], origin=Origin(6), entropy=entropy,
        aleatoric=aleatoric, epistemic=entropy - aleatoric, target=target, confidence=mean.amax(-1),
        correct=mean.argmax(-1) == target,
    )  # fmt: skip


def test_token_streams_by_position_and_frequency(tmp_path: Path) -> None:
    predictive = stream()
    counts = torch.tensor([5] * 10 + [500] * 10)
    report = calibration_report(predictive, token_counts=counts, **QUICK)
    assert f"{predictive.perplexity:.4g}" in report.sentence
    assert any("overconfident" in f.text for f in report.findings)
    bands = {row["part"]: row for row in report.tables["frequency"]}
    assert set(bands) == {"below 10", "100–999"}
    rare = (predictive.target < 10) & predictive.mask  # type: ignore[operator]
    assert bands["below 10"]["nll"] == pytest.approx(-float(predictive.log_prob[rare].mean()), rel=1e-6)
    assert len(report.tables["horizon"]) == 24
    report.save(tmp_path)
    assert (tmp_path / "nll_by_frequency.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="token_counts has 3 entries"):
        calibration_report(predictive, token_counts=torch.ones(3))


def test_of_many_parts_each_must_be_further_off() -> None:
    """Bonferroni: the share of replicates beyond the ideal counts against one tail of 2.5 % over all parts."""
    replicates = np.linspace(0.0, 1.0, 1001)
    score = metrics.Score("coverage", 0.5, "", 9, 9, 9, replicates=replicates)
    for ideal, parts, off in ((0.96, 1, False), (0.99, 1, True), (0.99, 5, False), (0.999, 5, True), (0.001, 5, True)):
        assert _off(score, ideal, 0.95, parts) is off


def test_bands_of_frequency_begin_at_their_first_number() -> None:
    target = torch.arange(8).expand(5, 8)
    predictive = TokenPredictive(-torch.ones(5, 8), Origin(1), target=target)
    counts = torch.tensor([0, 9, 10, 99, 100, 999, 1000, 10_000])
    parts = by_frequency(pair(predictive, None, {}), counts)
    found = {part.label: target[part.mask].unique().tolist() for part in parts}
    expected = {"below 10": [0, 1], "10–99": [2, 3], "100–999": [4, 5], "1000–9999": [6], "10000 and more": [7]}
    assert found == expected


def test_groups_of_few_sequences_say_little() -> None:
    predictive = Predictive.from_gaussian(torch.zeros(80), torch.ones(80))
    groups = ["few"] * 40 + ["many"] * 40
    which = torch.cat([torch.arange(40) // 20, torch.arange(40) + 2])
    report = calibration_report(predictive, torch.linspace(-1, 1, 80), groups, sequences=which, **QUICK)
    assert any("few (40 of 2)" in warning for warning in report.warnings)
