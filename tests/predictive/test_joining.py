"""Predictives of parts, one after the other, are the predictive of the whole."""

import pytest
import torch
from torch import distributions as D

import bayesrnn as br
from bayesrnn.predictive import Predictive
from tests.problems import problem


@pytest.mark.parametrize("task", ["regression", "classes"])
@pytest.mark.parametrize("options", [{}, {"keep_draws": False}, {"tolerance": 0.05, "draws": 320}])
def test_batches_joined_are_the_whole(task, options):
    exact = problem("lstm", task)
    x, options = exact.inputs, {"draws": 32, **options}
    whole = br.predict(exact.model, x, **options)
    ids = torch.arange(6)
    parts = [
        br.predict(exact.model, x[i], sequence_ids=ids[i], **options) for i in (slice(0, 1), slice(1, 4), slice(4, 6))
    ]
    joined = Predictive.concatenate(parts)
    mean = "mean" if task == "regression" else "probabilities"
    for name in (mean, "aleatoric", "epistemic", "standard_error"):
        torch.testing.assert_close(getattr(joined, name), getattr(whole, name), rtol=1e-9, atol=1e-12)
    assert joined.sequence_ids.tolist() == list(range(6))
    assert (joined.draws_used, joined.seed, joined.sampling) == (whole.draws_used, whole.seed, whole.sampling)
    if not options.get("tolerance") and options.get("keep_draws", True):
        torch.testing.assert_close(joined.draws, whole.draws)
        few = torch.arange(16)
        torch.testing.assert_close(getattr(joined.keep_draws(few), mean), getattr(whole.keep_draws(few), mean))


def test_ensembles_points_and_other_kinds():
    exact = problem("lstm", "regression")
    other = problem("gru", "regression", seed=1).model
    both = br.predict([exact.model, other], exact.inputs, draws=16)
    joined = Predictive.concatenate([both[:2], both[2:]])
    torch.testing.assert_close(joined.between_networks, both.between_networks)
    mixed = Predictive.concatenate([both, br.predict(exact.model, exact.inputs, draws=32)])
    assert (mixed.draws_used, mixed.networks, len(mixed)) == (32, 1, 12)
    torch.testing.assert_close(mixed.interval(0.8)[1][:6], both.interval(0.8)[1])
    tables = [Predictive.from_quantiles([0.1, 0.9], torch.tensor([[0.0], [k]])) for k in (1.0, 2.0)]
    assert Predictive.concatenate(tables).quantile(0.9).tolist() == pytest.approx([1.0, 2.0])
    model, tokens = br.models.LanguageModel(9, 4, 5, 1, dropout=0.3), torch.arange(40) % 9
    p = br.perplexity(model, tokens, draws=32, batch_size=3)
    assert Predictive.concatenate([p[:1], p[1:]]).perplexity == pytest.approx(p.perplexity)


def test_it_says_what_is_wrong():
    normal = Predictive.from_gaussian(torch.zeros(2, 3), 1.0)
    with pytest.raises(ValueError, match=r"these are ContinuousPredictive\(2, 3\), ContinuousPredictive\(2, 4\)"):
        Predictive.concatenate([normal, Predictive.from_gaussian(torch.zeros(2, 4), 1.0)])
    classes = Predictive.from_probabilities(torch.full((2, 2), 0.5))
    with pytest.raises(ValueError, match="of one kind"):
        Predictive.concatenate([normal, classes])
    with pytest.raises(ValueError, match="class names"):
        Predictive.concatenate([classes, classes.with_class_names("ab")])
    for wrong, given in (([], "nothing"), ([1, normal], "ContinuousPredictive, int")):
        with pytest.raises(TypeError, match=f"takes a list of predictives, but {given}"):
            Predictive.concatenate(wrong)


def test_a_step_of_classes():
    p = Predictive.from_draws(D.Categorical(logits=torch.randn(8, 3, 4, 2)))
    torch.testing.assert_close(p.at_step(2).probabilities, p.probabilities[:, 2])
    torch.testing.assert_close(p.at_step(slice(1, 3)).epistemic, p.epistemic[:, 1:3])
    torch.testing.assert_close(p.at_step(-1).standard_error, p.standard_error[:, -1])
    with pytest.raises(ValueError, match="there is no step 4"):
        p.at_step(4)
