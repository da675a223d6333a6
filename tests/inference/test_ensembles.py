"""Several networks: draws of all of them, and what lies between masks and between networks."""

import numpy as np
import pytest
import torch
from torch import nn

import bayesrnn as br
from bayesrnn.inference import point
from tests.problems import problem


def entropy(p):
    return -(p * np.log(p)).sum(-1)


def networks(task="regression", count=3, rows=6):
    """Problems with the same inputs and networks of other weights; the last is another cell."""
    cells = ["lstm"] * (count - 1) + ["gru"]
    problems = [problem(cell, task, rows=rows, seed=k) for k, cell in enumerate(cells)]
    return [p.model for p in problems], problems[0].inputs


def test_an_ensemble_holds_the_draws_of_each_network_side_by_side():
    models, x = networks()
    p = br.predict(models, x, draws=20, seed=3)
    for place, model in enumerate(models):
        alone = br.predict(model, x, draws=20, seed=3)
        assert torch.equal(p.draws.unflatten(0, (20, 3))[:, place], alone.draws)
    assert (p.draws_used, p.networks, p.origin.block_size) == (60, 3, 48)
    assert torch.equal(br.predict(models[:1], x, draws=20).mean, br.predict(models[0], x, draws=20).mean)
    assert torch.equal(br.predict(nn.ModuleList(models), x, draws=20, seed=3).mean, p.mean)


def test_variance_is_told_apart_by_the_total_variance():
    models, x = networks()
    p = br.predict(models, x, draws=40)
    f = np.stack([br.predict(m, x, draws=40).draws.numpy() for m in models])  # (M, S, B)
    np.testing.assert_allclose(p.between_masks, f.var(1, ddof=1).mean(0), rtol=1e-10)
    np.testing.assert_allclose(p.between_networks, f.mean(1).var(0, ddof=1), rtol=1e-10)
    torch.testing.assert_close(p.epistemic, p.between_masks + p.between_networks)
    torch.testing.assert_close(p.variance, p.aleatoric + p.epistemic)
    low, high = p.interval(0.8)
    torch.testing.assert_close(p.cdf(high) - p.cdf(low), torch.full((6,), 0.8).double())
    assert {"between_masks", "between_networks"} < set(p.to_frame().columns)
    assert "between_masks" not in br.predict(models[0], x, draws=16).to_frame()


def test_the_parts_converge_to_those_of_all_masks():
    exact = [problem("lstm", "regression", seed=k) for k in range(3)]
    x = exact[0].inputs
    p = br.predict([e.model for e in exact], x, draws=1024)
    many = [br.predict(e.model, x, draws=8192, seed=9) for e in exact]  # other masks: an estimate of its own
    within = torch.stack([m.epistemic for m in many]).mean(0)
    torch.testing.assert_close(p.between_masks, within, rtol=0.1, atol=1e-4)
    torch.testing.assert_close(p.between_networks, torch.stack([m.mean for m in many]).var(0), rtol=0.1, atol=2e-3)
    assert float(((exact[0].mean - br.predict(exact[0].model, x, draws=4096).mean.numpy()) ** 2).max()) < 1e-3


def test_mutual_information_is_told_apart():
    models, x = networks("classes", rows=40)
    p = br.predict(models, x, draws=24)
    q = np.stack([br.predict(m, x, draws=24).draws.numpy() for m in models])  # (M, S, B, K)
    whole, each = entropy(q.mean((0, 1))), entropy(q.mean(1)).mean(0)
    np.testing.assert_allclose(p.between_networks, whole - each, atol=1e-12)
    np.testing.assert_allclose(p.between_masks, each - entropy(q).mean((0, 1)), atol=1e-12)
    torch.testing.assert_close(p.epistemic, p.between_masks + p.between_networks)
    warmer = br.recalibration.Temperature().fit(p, torch.arange(40) % 3).apply(p)
    share = p.between_networks / p.entropy
    torch.testing.assert_close(warmer.between_networks / warmer.entropy, share, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(p[2:4].between_networks, p.between_networks[2:4])


@pytest.mark.parametrize("task", ["regression", "classes"])
@pytest.mark.parametrize(
    "options", [{"max_memory": 3_000}, {"keep_draws": False}, {"max_memory": 1, "keep_draws": False}]
)
def test_chunks_and_streamed_statistics_agree(task, options):
    models, x = networks(task)
    whole, cut = br.predict(models, x, draws=70), br.predict(models, x, draws=70, **options)
    mean = "mean" if task == "regression" else "probabilities"
    for name in (mean, "aleatoric", "epistemic", "between_masks", "between_networks", "standard_error"):
        torch.testing.assert_close(getattr(cut, name), getattr(whole, name), rtol=1e-9, atol=1e-11)
    assert cut.degrees_of_freedom == whole.degrees_of_freedom


def test_rows_stop_together_at_a_tolerance():
    models, x = networks()
    p = br.predict(models, x, draws=960, tolerance=0.03)
    full = br.predict(models, x, draws=960)
    assert p.draws_per_row is not None
    assert int(p.draws_per_row.min()) % 48 == 0
    assert float(p.standard_error.max()) < 0.04
    row = int(p.draws_per_row.argmin())
    fewer = br.predict(models, x, draws=int(p.draws_per_row[row]) // 3)
    torch.testing.assert_close(p.between_networks[row], fewer.between_networks[row])
    assert float((p.between_networks - full.between_networks).abs().max()) < 0.2 * float(full.between_networks.max())


def test_the_standard_error_is_the_spread_over_seeds():
    models, x = networks()
    results = [br.predict(models, x, draws=64, seed=s) for s in range(30)]
    spread = torch.stack([p.mean for p in results]).std(0)
    claimed = torch.stack([p.standard_error for p in results]).mean(0)
    assert 0.6 < float((claimed / spread).mean()) < 1.6


def test_equal_networks_differ_in_nothing():
    (model, *_), x = networks()
    p = br.predict([model, model], x, draws=16)
    assert float(p.between_networks.abs().max()) < 1e-15
    torch.testing.assert_close(p.between_masks, br.predict(model, x, draws=16).epistemic)


def test_deterministic_passes_of_an_ensemble():
    models, x = networks()
    p = br.predict(models, x, draws=0)
    means = np.stack([br.predict(m, x, draws=0).mean.numpy() for m in models])
    np.testing.assert_allclose(p.between_networks, means.var(0, ddof=1), rtol=1e-12)
    assert float(p.between_masks.abs().max()) == 0
    assert float(p.standard_error.abs().max()) == 0
    assert (p.draws_used, p.sampling) == (3, "deterministic")


def test_points_of_several_networks_fewer_draws_and_recalibrated_ones():
    models, x = networks(rows=40)
    p = br.predict(models, x, draws=32, likelihood=lambda out: point(out.mean))
    torch.testing.assert_close(p.variance, p.between_masks + p.between_networks)
    some = p.keep_draws(torch.arange(48))
    torch.testing.assert_close(
        some.between_networks, br.predict(models, x, draws=16, likelihood=lambda o: point(o.mean)).between_networks
    )
    assert p.keep_draws(torch.tensor([0, 5, 7])).networks == 1
    full = br.predict(models, x, draws=32)
    few = full.keep_draws(torch.arange(48))
    torch.testing.assert_close(few.between_networks, br.predict(models, x, draws=16).between_networks)
    wider = br.recalibration.VarianceScaling().fit(full, full.mean + 2 * full.std).apply(full)
    torch.testing.assert_close(wider.between_networks / wider.epistemic, full.between_networks / full.epistemic)


def test_compare_takes_an_ensemble():
    models, x = networks()
    result = br.compare(models, x, target=x[:, -1, 0], draws=32, resamples=50)
    assert result.predictives["MC dropout"].networks == 3
    torch.testing.assert_close(result.predictives["deterministic pass"].mean, br.predict(models, x, draws=0).mean)
    assert result.costs["deterministic pass"].passes == 3
    assert result.curves[0].draws[-1] == 32


def test_perplexity_tells_the_parts_of_an_ensemble_apart():
    models = [br.models.LanguageModel(9, 6, 7, layers, dropout=0.4, init_range=0.9) for layers in (1, 2)]
    tokens = torch.randint(9, (20,), generator=torch.Generator().manual_seed(0))
    both = br.perplexity(models, tokens, draws=16)
    alone = [br.perplexity(m, tokens, draws=16) for m in models]
    expected = both.entropy - torch.stack([p.entropy for p in alone]).mean(0)
    torch.testing.assert_close(both.between_networks, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        both.between_masks, torch.stack([p.epistemic for p in alone]).mean(0), rtol=1e-4, atol=1e-5
    )
    assert alone[0].between_networks is None
    weighted = br.perplexity(models, tokens, draws=16, weighting="past")
    assert bool((weighted.between_networks <= weighted.epistemic + 1e-6).all())
    assert "between_networks" in both.to_frame()


class Other(nn.Module):
    def __init__(self, outputs, likelihood):
        super().__init__()
        self.layer, self.readout = br.nn.LSTM(1, 4, dropout=0.3, batch_first=True), nn.Linear(4, outputs)
        self.likelihood = likelihood

    def forward(self, x):
        return self.likelihood(self.readout(self.layer(x)[0][:, -1]))


def test_it_says_what_is_wrong():
    x = torch.randn(4, 5, 1)
    gaussian, student = Other(2, br.likelihoods.gaussian), Other(3, br.likelihoods.student_t)
    with pytest.raises(ValueError, match=r"have different outputs.*network 0 gives Normal.*network 1 StudentT"):
        br.predict([gaussian, student], x, draws=16)
    classes = [Other(k, br.likelihoods.categorical) for k in (2, 3)]
    with pytest.raises(ValueError, match="have different outputs"):
        br.predict(classes, x, draws=16)
    with pytest.raises(ValueError, match="nothing in network 1 of this ensemble is stochastic"):
        br.predict([gaussian, br.revert(Other(2, br.likelihoods.gaussian))], x, draws=16)
    for wrong, given in (([], "an empty list"), ([gaussian, 3], "a list of int"), (3, "3 .int."), ("m.pt", "'m.pt'")):
        with pytest.raises(TypeError, match=f"predict takes a torch module or a list of them, but {given}"):
            br.predict(wrong, x)
    labelled = [br.models.SequenceClassifier(1, 4, labels=names, dropout=0.3) for names in (["a", "b"], ["b", "a"])]
    assert br.predict(labelled[:1], x, draws=16).class_names == ("a", "b")
    with pytest.raises(ValueError, match="must name their classes alike"):
        br.predict(labelled, x, draws=16)
