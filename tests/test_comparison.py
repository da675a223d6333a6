"""Paired comparisons: differences are the metrics', intervals cover, worse is said, costs are counted."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Normal

import bayesrnn as br
from bayesrnn import metrics
from bayesrnn.comparison import Cost, compare, compare_predictives
from bayesrnn.comparison.difference import paired
from bayesrnn.metrics.registry import measures_for
from bayesrnn.predictive import Predictive
from bayesrnn.report.format import fixed
from tests.report.test_page import assert_stands_alone
from tests.small_net import Net, generator

QUICK: dict[str, Any] = {"resamples": 300, "monte_carlo": False}


def pair_of(good: float = 1.0, bad: float = 3.0, rows: int = 300) -> tuple[dict[str, Any], Tensor]:
    target = torch.randn(rows, generator=generator())
    named = {"wide": bad, "sharp": good}
    return {n: Predictive.from_gaussian(torch.zeros(rows), torch.full((rows,), s)) for n, s in named.items()}, target


def test_difference_is_the_paired_difference_of_the_metric() -> None:
    named, target = pair_of()
    result = compare_predictives(named, target, seed=5, **QUICK)
    for key, metric in (("crps", metrics.crps), ("nll", metrics.nll), ("rmse", metrics.rmse)):
        expected = metrics.paired_difference(metric, named["sharp"], named["wide"], target, seed=5, resamples=300)
        found = result.difference(key)
        assert found.value == pytest.approx(expected.value)
        assert found.interval == pytest.approx(expected.interval)
    assert result.reference == "wide"
    assert result.difference("crps").verdict == "better"
    assert result.difference("rmse").verdict == "no clear difference"
    assert result.difference("width_90").verdict == "smaller"
    assert compare_predictives(named, target, reference="sharp", **QUICK).difference("crps").verdict == "worse"


def test_coverage_is_compared_by_its_distance_from_the_promise() -> None:
    named, target = pair_of(good=1.0, bad=0.4)
    result = compare_predictives(named, target, **QUICK)
    found = result.difference("coverage_90")
    assert found.verdict == "better"
    values = [metrics.coverage(named[n], target).value for n in ("sharp", "wide")]
    assert found.loss == pytest.approx(abs(values[0] - 0.9) - abs(values[1] - 0.9))
    assert found.value == pytest.approx(values[0] - values[1])


def test_what_is_shown_is_what_the_verdict_is_about() -> None:
    """Coverages on two sides of the level, equally far: the values differ surely, the distances do not."""
    target = torch.randn(100, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wide, tight = (Predictive.from_gaussian(torch.zeros_like(target), torch.full_like(target, s)) for s in (1.2, 0.84))
    result = compare_predictives({"wide": wide, "tight": tight}, target, reference="tight", levels=[0.8], **QUICK)
    found = result.difference("coverage_80")
    assert found.interval[0] > 0
    assert found.loss_interval[0] <= 0 <= found.loss_interval[1]
    assert found.change == (found.loss, found.loss_interval)
    line = next(line for line in str(result).splitlines() if line.startswith(found.measure.label))
    assert fixed(found.loss, found.loss_interval, sign=True)[1] in line
    assert line.endswith("–")
    assert "in the distance from 0.8" in found.sentence()
    assert found.row(named=False)["difference"].startswith(f"{found.loss:+.3g}".replace("-", "−"))


def test_higher_is_better_for_accuracy() -> None:
    target = torch.arange(90) % 3
    right = torch.full((90, 3), 0.1).scatter(1, target[:, None], 0.8)
    result = compare_predictives(
        {
            "chance": Predictive.from_probabilities(torch.full((90, 3), 1 / 3)),
            "right": Predictive.from_probabilities(right),
        },
        target,
        **QUICK,
    )
    found = result.difference("accuracy")
    assert found.verdict == "better"
    assert found.loss == -found.value
    assert "points" in found.sentence()
    assert any("AUROC of finding errors of right is missing" in note for note in result.notes)


def test_paired_interval_covers_the_true_difference() -> None:
    # errors e and e - 0.4 of unit variance: the expected difference of the mean squared z is 0.16
    (measure,) = (m for m in measures_for(pair_of()[0]["wide"]) if m.key == "mean_squared_z")
    one, inside = torch.ones(40, 5), 0
    zero, off = Predictive.from_gaussian(0 * one, one), Predictive.from_gaussian(0.4 * one, one)
    for seed in range(200):
        g = generator(seed)
        target = torch.randn(40, 5, generator=g) + 0.5 * torch.randn(40, 1, generator=g)
        scores = [measure.score(p, target, interval=0.95, resamples=400, seed=seed) for p in (off, zero)]
        low, high = paired("off", "zero", measure, *scores).interval
        inside += low <= 0.16 <= high
    assert 178 <= inside <= 199  # binomial(200, .95) within 3 standard errors; percentile intervals are a little short


def test_sequences_widen_the_interval() -> None:
    g = generator()
    target = torch.randn(40, 1, generator=g).expand(40, 25).reshape(-1)
    named = {s: Predictive.from_gaussian(torch.zeros(1000), torch.full((1000,), float(s))) for s in ("1.0", "1.5")}
    narrow = compare_predictives(named, target, **QUICK).difference("crps").interval
    wide = compare_predictives(named, target, sequences=torch.arange(40).repeat_interleave(25), **QUICK)
    low, high = wide.difference("crps").interval
    assert high - low > 3 * (narrow[1] - narrow[0])


def test_equal_predictives_cannot_be_told_apart() -> None:
    named, target = pair_of(1.0, 1.0)
    result = compare_predictives(named, target, **QUICK)
    assert {d.verdict for d in result.differences} == {"no clear difference"}
    assert result.sentence.startswith("In CRPS there is no clear difference between sharp and wide")


def test_lengths_leave_out_padded_steps() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = br.nn.GRU(2, 4, batch_first=True, dropout=0.2)

        def forward(self, x: Tensor, lengths: Tensor | None = None) -> Normal:
            return Normal(self.rnn(x, lengths=lengths)[0][..., 0], 1.0)

    x, lengths = torch.randn(40, 5, 2), torch.randint(1, 6, (40,), generator=generator())
    result = compare(Tagger(), x, target=torch.zeros(40, 5), lengths=lengths, draws=4, curve=False, **QUICK)
    assert result.differences[0].score.n == int(lengths.sum())


def test_saved_files_agree(tmp_path: Path) -> None:
    named, target = pair_of()
    costs = {"wide": Cost(1, 0.001), "sharp": Cost(100, 75.0)}
    result = compare_predictives(named, target, units="MW", costs=costs, groups=[i % 2 for i in range(300)], **QUICK)
    assert "It costs 100 passes instead of 1 (1.2 min instead of 1.0 ms for these rows)." in result.sentence
    page = result.save(tmp_path / "comparison")
    text = page.read_text(encoding="utf-8")
    found = assert_stands_alone(text)
    assert len(found.images) == len(result.picture_names)
    assert result.sentence in text
    data = json.loads((page.parent / "comparison.json").read_text(encoding="utf-8"))
    assert data["sentence"] == result.sentence
    rows = list(csv.DictReader((page.parent / "comparison.csv").read_text(encoding="utf-8").splitlines()))
    assert len(rows) == len(result.differences) == len(result.table)
    assert float(rows[0]["difference"]) == pytest.approx(result.differences[0].value)
    assert rows[0]["verdict"] == "better"
    assert {p.suffix for p in page.parent.iterdir()} == {".html", ".json", ".csv", ".png", ".svg"}
    assert result.picture("differences").get_title(loc="left") == "sharp against wide"
    with pytest.raises(ValueError, match="there is no picture 'x'"):
        result.picture("x")
    with pytest.raises(KeyError, match="no difference in 'x'"):
        result.difference("x")
    assert "better" in str(result)


def test_infinite_scores_are_named_not_compared() -> None:
    logits = torch.tensor([0.0, -torch.inf]).expand(1, 60, 2)
    hard = Predictive.from_draws(Categorical(logits=logits, validate_args=False), sampling="deterministic")
    soft = Predictive.from_probabilities(torch.full((60, 2), 0.5))
    result = compare_predictives({"soft": soft, "hard": hard}, torch.arange(60) % 2, **QUICK)
    assert any("negative log-likelihood of hard is infinite" in note for note in result.notes)
    assert np.isfinite(result.table["value"]).all()


def test_bad_input() -> None:
    named, target = pair_of()
    with pytest.raises(ValueError, match="at least two predictives"):
        compare_predictives({"one": named["wide"]}, target)
    with pytest.raises(ValueError, match="names none of the predictives"):
        compare_predictives(named, target, reference="x")
    with pytest.raises(ValueError, match="do not predict the same targets"):
        compare_predictives({"a": named["wide"], "b": named["wide"][:9]}, target)
    with pytest.raises(TypeError, match="not a Predictive"):
        compare_predictives({"a": named["wide"], "b": target}, target)  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="does not fit"):
        compare_predictives(named, target[:5])
    with pytest.raises(ValueError, match="1 labels for 300 rows"):
        compare_predictives(named, target, groups=["a"], **QUICK)
    with pytest.raises(ValueError, match="an interval needs the variation between sequences"):
        compare_predictives(named, target, sequences=torch.zeros(300), **QUICK)
    x = torch.randn(30, 6, 4)
    with pytest.raises(ValueError, match="others must not be called"):
        compare(Net(), x, target=x.mean((1, 2)), draws=2, others={"MC dropout": named["wide"]})
    with pytest.raises(ValueError, match="nothing in this model is stochastic"):
        compare(nn.Flatten(), x, target=x.flatten(1), draws=2)


def test_groups_are_scored_within_the_mask() -> None:
    y = torch.randn(90, generator=torch.Generator().manual_seed(0))
    near, far = (Predictive.from_gaussian(torch.zeros(90), s * torch.ones(90)) for s in (1.0, 2.0))
    labels, mask = ["a" if k % 3 else "b" for k in range(90)], torch.arange(90) < 60
    found = compare_predictives({"far": far, "near": near}, y, groups=labels, mask=mask, resamples=50)
    for label, (difference,) in found.by_group.items():
        rows = torch.tensor([name == label for name in labels]) & mask
        assert difference.score.n == int(rows.sum())
        assert difference.score.value == pytest.approx(float(metrics.crps(near[rows], y[rows])))
