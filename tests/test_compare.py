"""`br.compare`: a model's deterministic pass against its draws."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Normal

import bayesrnn as br
from bayesrnn import metrics
from bayesrnn.comparison import compare, compare_predictives
from bayesrnn.comparison.curve import _sets
from bayesrnn.models import SequenceClassifier
from bayesrnn.predictive import Origin, Predictive, TokenPredictive
from tests.small_net import Net, generator

QUICK: dict[str, Any] = {"resamples": 300, "monte_carlo": False}


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


def test_several_outputs_are_refused() -> None:
    model = br.nn.LSTM(3, 5, batch_first=True, dropout=0.4)
    with pytest.raises(ValueError, match="scores one output, but the model returns several"):
        compare(model, torch.randn(7, 4, 3), target=torch.zeros(7))


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
