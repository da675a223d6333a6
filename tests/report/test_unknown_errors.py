"""Errors of finite draws that are not known are left out of reports and comparisons, never printed as 0."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bayesrnn.comparison import compare_predictives
from bayesrnn.predictive import Origin, TokenPredictive
from bayesrnn.report import calibration_report


@pytest.fixture
def tokens() -> TokenPredictive:
    distributions = torch.log_softmax(2 * torch.randn(8, 40, 10, 5), -1)
    target = torch.randint(5, (40, 10))
    mean = distributions.exp().mean(0)
    statistics: dict[str, Any] = {
        "entropy": torch.special.entr(mean).sum(-1),
        "confidence": mean.amax(-1),
        "correct": mean.argmax(-1) == target,
        "target": target,
        "deterministic_log_prob": distributions[0].gather(-1, target[..., None])[..., 0],
    }
    blocks = distributions.gather(-1, target.expand(8, 40, 10)[..., None])[..., 0]
    return TokenPredictive.from_blocks(blocks, origin=Origin(8), **statistics)


def test_report_of_tokens_leaves_unknown_errors_out(tokens: TokenPredictive, tmp_path: Path) -> None:
    report = calibration_report(tokens, resamples=50)
    said = {m.key: line for m in report.measures for line in str(report).splitlines() if line.startswith(m.label + " ")}
    assert "±" in said["nll"]
    assert "±" not in said["confidence_gap"]
    table = report.table.set_index("metric")["standard_error"]
    assert table.isna()["confidence_gap"]
    assert table["nll"] > 0
    page = report.save(tmp_path)
    saved = json.loads((page.parent / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    assert saved["confidence_gap"]["standard_error"] is None
    assert saved["nll"]["standard_error"] == pytest.approx(tokens.standard_error)


def test_comparison_of_tokens_leaves_unknown_errors_out(tokens: TokenPredictive, tmp_path: Path) -> None:
    result = compare_predictives({"first": tokens, "second": tokens.keep_draws([0, 1, 2, 3])}, resamples=50)
    errors = {d.measure.key: d.score.standard_error for d in result.differences}
    assert errors["ppl_mc_micro"] is not None
    result.save(tmp_path)
    assert (tmp_path / "comparison.html").exists()
