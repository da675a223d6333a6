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
from bayesrnn.comparison.curve import _sets
from bayesrnn.comparison.difference import paired
from bayesrnn.metrics.registry import measures_for
from bayesrnn.models import SequenceClassifier
from bayesrnn.predictive import Origin, Predictive, TokenPredictive
from bayesrnn.report.format import fixed
from tests.report.test_page import assert_stands_alone

QUICK: dict[str, Any] = {"resamples": 300, "monte_carlo": False}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair_of(good: float = 1.0, bad: float = 3.0, rows: int = 300) -> tuple[dict[str, Any], Tensor]:
    target = torch.randn(rows, generator=generator())
    named = {"wide": bad, "sharp": good}
    return {n: Predictive.from_gaussian(torch.zeros(rows), torch.full((rows,), s)) for n, s in named.items()}, target


class Net(nn.Module):
    """Predicts the mean of its input: the output is known exactly without masks, and masks only hurt."""

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.drop = br.nn.Dropout(rate)

    def forward(self, x: Tensor) -> Normal:
        return Normal(self.drop(x).mean((1, 2)), 0.2)


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


def test_monte_carlo_that_only_adds_noise_is_said_to_be_worse() -> None:
    x = torch.randn(120, 6, 4, generator=generator())
    target = x.mean((1, 2)) + 0.2 * torch.randn(120, generator=generator(1))
    result = compare(Net(), x, target=target, draws=16, units="m", **QUICK)
    assert result.reference == "deterministic pass"
    first = result.differences[0]
    assert (first.name, first.measure.key, first.verdict) == ("MC dropout", "crps", "worse")
    assert result.sentence.startswith("MC dropout is worse than deterministic pass in CRPS: ")
    verdicts = [d.verdict for d in result.differences[1:] if d.measure.better != "neither"]
    assert verdicts.count("worse") > 1
    assert verdicts.count("better") == 0
    clear = f"Of {len(verdicts)} other scores none is clearly better and {verdicts.count('worse')} clearly worse."
    assert clear in result.sentence
    assert "It costs 16 passes instead of 1 (" in result.sentence
    low, high = (f"{v:+.2g}".replace("-", "−") for v in first.interval)
    assert f"[{low}, {high}]" in result.sentence


def test_monte_carlo_that_knows_what_it_does_not_know_is_better() -> None:
    g = generator()
    mean = torch.randn(200, generator=g)
    wrong = 0.8 * torch.randn(200, generator=g)
    target = mean + wrong
    draws = mean + 0.8 * torch.randn(50, 200, generator=g)
    named = {
        "deterministic pass": Predictive.from_gaussian(mean, torch.full((200,), 0.1)),
        "MC dropout": Predictive.from_draws(Normal(draws, torch.full_like(draws, 0.1))),
    }
    result = compare_predictives(named, target, **QUICK)
    assert result.difference("nll").verdict == "better"
    assert result.difference("coverage_90").verdict == "better"
    assert result.sentence.startswith("MC dropout is better than deterministic pass in CRPS")


def test_equal_predictives_cannot_be_told_apart() -> None:
    named, target = pair_of(1.0, 1.0)
    result = compare_predictives(named, target, **QUICK)
    assert {d.verdict for d in result.differences} == {"no clear difference"}
    assert result.sentence.startswith("In CRPS there is no clear difference between sharp and wide")


def test_several_outputs_are_refused() -> None:
    model = br.nn.LSTM(3, 5, batch_first=True, dropout=0.4)
    with pytest.raises(ValueError, match="scores one output, but the model returns several"):
        compare(model, torch.randn(7, 4, 3), target=torch.zeros(7))


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


def test_others_groups_and_curve() -> None:
    x = torch.randn(90, 6, 4, generator=generator())
    target = x.mean((1, 2)) + 0.2 * torch.randn(90, generator=generator(1))
    ensemble = Predictive.from_gaussian(target, torch.full((90,), 0.05))
    labels = ["a" if i < 45 else "b" for i in range(90)]
    result = compare(Net(), x, target=target, draws=20, others={"oracle": ensemble}, groups=labels, **QUICK)
    assert result.others == ["MC dropout", "oracle"]
    assert result.difference("crps", "oracle").verdict == "better"
    assert set(result.by_group) == {"a", "b"}
    mask = torch.tensor([label == "a" for label in labels])
    first = result.by_group["a"][1]
    assert first.score.value == pytest.approx(metrics.crps(ensemble[mask], target[mask]).value)
    (curve,) = result.curves
    assert curve.draws == (1, 2, 5, 10, 20)
    assert curve.values[-1] == pytest.approx(result.difference("crps", "MC dropout").score.value)
    assert curve.values[0] > curve.values[-1]  # one draw is worse than twenty
    drawn = br.predict(Net(), x, draws=20)
    singles = [metrics.crps(drawn.keep_draws(torch.tensor([k])), target).value for k in range(8)]
    assert curve.values[0] == pytest.approx(np.mean(singles))


def test_token_stream_against_its_own_deterministic_pass() -> None:
    log_prob = torch.log(torch.rand(40, 6, generator=generator()))
    tokens = TokenPredictive(log_prob, Origin(5), deterministic_log_prob=log_prob - 0.1)
    result = compare_predictives({"MC dropout": tokens}, **QUICK)
    found = result.difference("nll")
    assert found.value == pytest.approx(-0.1, abs=1e-5)
    assert found.verdict == "better"
    assert result.difference("ppl_mc_micro").reference_score.value == pytest.approx(tokens.deterministic_perplexity)
    with pytest.raises(ValueError, match="at least two predictives"):
        compare_predictives({"MC dropout": TokenPredictive(log_prob, Origin(5))}, **QUICK)


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


def test_classes_through_a_model() -> None:
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = br.nn.Dropout(0.3)

        def forward(self, x: Tensor) -> Categorical:
            return Categorical(logits=self.drop(x).sum(1))

    x = torch.randn(150, 4, 3, generator=generator())
    target = Categorical(logits=x.sum(1)).probs.multinomial(1, generator=generator(1))[:, 0]
    result = compare(Classifier(), x, target=target, draws=16, **QUICK)
    assert {"nll", "brier_sum", "accuracy", "ece15_left"} <= {d.measure.key for d in result.differences}
    assert result.costs["MC dropout"].passes == 16
    assert [c.name for c in result.curves] == ["nll"]


def test_groups_are_scored_within_the_mask() -> None:
    y = torch.randn(90, generator=torch.Generator().manual_seed(0))
    near, far = (Predictive.from_gaussian(torch.zeros(90), s * torch.ones(90)) for s in (1.0, 2.0))
    labels, mask = ["a" if k % 3 else "b" for k in range(90)], torch.arange(90) < 60
    found = compare_predictives({"far": far, "near": near}, y, groups=labels, mask=mask, resamples=50)
    for label, (difference,) in found.by_group.items():
        rows = torch.tensor([name == label for name in labels]) & mask
        assert difference.score.n == int(rows.sum())
        assert difference.score.value == pytest.approx(float(metrics.crps(near[rows], y[rows])))


def test_the_curve_is_what_predict_gives_with_so_few_draws() -> None:
    class Sum(nn.Module):
        """Eight units whose sum has a known variance over masks."""

        def __init__(self) -> None:
            super().__init__()
            self.drop = br.nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Normal:
            return Normal(self.drop(x).sum((1, 2)), 1.0)

    x, target = torch.ones(3000, 1, 8), torch.full((3000,), 8.0)
    drawn = br.predict(Sum(), x, draws=100)
    (curve,) = compare(Sum(), x, target=target, draws=100, **QUICK).curves
    assert curve.values[-1] == pytest.approx(metrics.crps(drawn, target).value)
    for count in (10, 20, 50):
        few = br.predict(Sum(), x, draws=count)
        sets = [drawn.keep_draws(s) for s in _sets(100, count, 16)]
        assert torch.equal(sets[0].mean, few.mean)
        variance = np.mean([float(((p.mean - 8) ** 2).mean()) for p in sets])
        assert variance == pytest.approx(float(((few.mean - 8) ** 2).mean()), rel=0.08)  # 20 % more across blocks
        assert curve.values[curve.draws.index(count)] == pytest.approx(
            np.mean([metrics.crps(p, target).value for p in sets])
        )
    sets = [s.tolist() for s in _sets(100, 10, 16)]
    assert sets[:2] == [[*range(10)], [*range(16, 26)]]
    assert [s[0] for s in map(list, sets)] == [0, 16, 32, 48, 64, 80]
    assert [int(s[0]) for s in _sets(100, 50, 16)] == [0]
    assert [int(s[0]) for s in _sets(100, 20, 16)] == [0, 32, 64]
    assert [int(s[0]) for s in _sets(100, 5, 16)] == [0, 5, 10, 16, 21, 26, 32, 37]
    assert [int(s[0]) for s in _sets(9, 4, 1)] == [0, 4]


def test_classes_are_compared_by_their_names():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 80, 3, generator=generator)
    y = logits[0].argmax(-1)
    names = ["cat", "dog", "emu"]
    a, b = (Predictive.from_probabilities(one.softmax(-1)) for one in logits)
    by_number = compare_predictives({"a": a, "b": b}, y, resamples=50)
    by_name = compare_predictives({"a": a, "b": b.with_class_names(names)}, [names[k] for k in y], resamples=50)
    assert by_name.sentence == by_number.sentence
    assert by_name.target.tolist() == y.tolist()
    assert {p.class_names for p in by_name.predictives.values()} == {tuple(names)}
    assert by_name.picture("risk_coverage")
    with pytest.raises(ValueError, match="same classes in the same order"):
        compare_predictives({"a": a.with_class_names(names[::-1]), "b": b.with_class_names(names)}, y)
    with pytest.raises(ValueError, match="classes have no names"):
        compare_predictives({"a": a, "b": b}, [names[k] for k in y])


def test_a_model_with_labels_is_compared_on_their_texts():
    x = torch.randn(30, 4, 1, generator=torch.Generator().manual_seed(0))
    model = SequenceClassifier(1, 4, labels=["down", "up"], dropout=0.3)
    y = (x[:, -1, 0] > 0).long()
    by_name = compare(model, x, target=[["down", "up"][k] for k in y], draws=8, resamples=50)
    assert by_name.curves == compare(model, x, target=y, draws=8, resamples=50).curves != []
