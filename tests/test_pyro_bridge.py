"""Masks as Pyro sites: same masks, same numbers as the engine; trace, condition, Predictive, SVI."""

from functools import partial

import pyro
import pyro.infer
import pytest
import torch
from torch import distributions as D
from torch import nn

import bayesrnn.nn as bnn
from bayesrnn import likelihoods, models, schemes
from bayesrnn.inference import point, predict
from bayesrnn.nn.concrete import ConcreteDropout
from bayesrnn.pyro import lift, masks_of
from tests.problems import WordNet

Net = partial(WordNet, sizes=(9, 3, 4), layers=2)
GAL = schemes.gal(word=0.2, input=0.3, hidden=0.4, output=0.5)
TOKENS = torch.randint(0, 9, (5, 6), generator=torch.Generator().manual_seed(0))
GAUSSIAN = likelihoods.homoscedastic_gaussian(4.0)
SITES = ["dropout.output", *(f"lstm.{s}_l{k}" for s in ("hidden", "input") for k in (0, 1)), "words.word"]


@pytest.fixture(autouse=True)
def _clean_store():
    pyro.clear_param_store()
    yield
    pyro.clear_param_store()


def test_the_trace_has_a_site_for_every_mask():
    trace = pyro.poutine.trace(lift(Net(GAL), GAUSSIAN)).get_trace(TOKENS, target=torch.zeros(5))
    assert sorted(trace.stochastic_nodes) == SITES
    assert trace.nodes["lstm.hidden_l1"]["value"].shape == (4, 5, 4)
    assert trace.nodes["words.word"]["value"].shape == (5, 9)
    values = trace.nodes["lstm.hidden_l0"]["value"].unique()
    torch.testing.assert_close(values, torch.tensor([0.0, 1 / 0.6]))


@pytest.mark.parametrize("scheme", [GAL, schemes.naive(0.3), schemes.weight_drop(0.4), schemes.zoneout(0.2, 0.3)])
@pytest.mark.parametrize("sampling", ["independent", "stratified"])
def test_conditioned_on_the_engines_masks_it_is_the_engines_draw(scheme, sampling):
    torch.manual_seed(0)
    net = Net(scheme).eval()
    ids = [3, 1, 4, 15, 9]
    found = predict(net, TOKENS, draws=5, seed=7, sampling=sampling, likelihood=GAUSSIAN, sequence_ids=ids)
    for draw in range(5):
        masks = masks_of(net, TOKENS, seed=7, draw=draw, sampling=sampling, sequence_ids=ids)
        output = pyro.condition(lift(net), data=masks)(TOKENS)
        torch.testing.assert_close(output.squeeze(-1), found.draws[draw], atol=1e-6, rtol=1e-5)


def _with_learned_rates(**options) -> ConcreteDropout:
    """Two layers that learned rates far apart, never run since."""
    torch.manual_seed(0)
    wrapped = ConcreteDropout(Net(GAL), **options)
    with torch.no_grad():
        for key, logit in wrapped.logits.items():
            logit.copy_(torch.logit(torch.tensor(0.88 if key.endswith(("_l0", "hidden")) else 0.12)))
    return wrapped


@pytest.mark.parametrize("share", ["layer", "site"])
@pytest.mark.parametrize("training", [True, False])
def test_at_learned_rates_it_is_the_engines_draw_in_either_mode(training, share):
    wrapped = _with_learned_rates(share=share).train(training)
    masks = masks_of(wrapped, TOKENS, seed=7, draw=3)
    trace = pyro.poutine.trace(lift(wrapped)).get_trace(TOKENS)
    rates = {key: rate.item() for key, rate in wrapped.rates().items()}
    for key, rate in rates.items():
        for mask in (masks[f"model.{key}"], trace.nodes[f"model.{key}"]["value"]):
            torch.testing.assert_close(mask.max(), torch.tensor(1 / (1 - rate)), msg=key)
    output = pyro.condition(lift(wrapped), data=masks)(TOKENS)
    assert wrapped.training is training
    found = predict(wrapped, TOKENS, draws=4, seed=7, likelihood=GAUSSIAN)
    torch.testing.assert_close(output.squeeze(-1), found.draws[3], atol=1e-6, rtol=1e-5)


def test_learned_rates_reach_masks_inside_a_larger_model():
    whole = nn.Sequential(_with_learned_rates(), nn.Flatten(0))
    masks = masks_of(whole, TOKENS, seed=1, draw=2)
    output = pyro.condition(lift(whole), data=masks)(TOKENS)
    torch.testing.assert_close(
        output, predict(whole, TOKENS, draws=3, seed=1, likelihood=point).draws[2], atol=1e-6, rtol=1e-5
    )


def test_asking_for_masks_leaves_the_model_and_the_random_state_alone():
    net = nn.Sequential(nn.BatchNorm1d(3), bnn.Dropout(0.5), nn.Dropout(0.5)).train()
    state = torch.get_rng_state()
    masks_of(net, torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), seed=0)
    assert torch.equal(state, torch.get_rng_state())
    assert net[0].num_batches_tracked == 0
    assert all(part.training for part in net.modules())


@pytest.mark.parametrize(
    ("likelihood", "given", "message"),
    [
        (
            GAUSSIAN,
            (5, 1),
            r"target must have the shape \(5,\) of its distribution, but \(5, 1\).*Give target.squeeze\(-1\)",
        ),
        (GAUSSIAN, (1,), r"but \(1,\) was given.*one value for each of these"),
        (lambda o: D.Normal(o, 1.0), (5,), r"of its distribution, but \(5,\) was given.*Give target.unsqueeze\(-1\)"),
    ],
)
def test_a_target_that_would_be_broadcast_is_refused(likelihood, given, message):
    lifted = lift(Net(GAL), likelihood)
    with pytest.raises(ValueError, match=message):
        lifted(TOKENS, target=torch.zeros(given))
    with pytest.raises(ValueError, match=message):
        pyro.poutine.trace(pyro.condition(lifted, data={"target": torch.zeros(given)})).get_trace(TOKENS)


@pytest.mark.parametrize("targets", [1, 2])
def test_a_model_that_returns_its_distribution_needs_no_likelihood(targets):
    torch.manual_seed(0)
    model = models.SequenceRegressor(3, 4, outputs=targets, dropout=0.3)
    x, y = torch.randn(5, 6, 3), torch.randn((5, targets) if targets > 1 else (5,))
    trace = pyro.poutine.trace(lift(model)).get_trace(x, target=y)
    trace.compute_log_prob()
    masks = {name: trace.nodes[name]["value"] for name in trace.stochastic_nodes}
    distribution = pyro.condition(lift(model), data=masks)(x)
    torch.testing.assert_close(trace.nodes["target"]["log_prob"], distribution.log_prob(y).sum())
    lifted = lift(model, learn=True)
    svi = pyro.infer.SVI(lifted, lifted.guide, pyro.optim.Adam({"lr": 0.02}), pyro.infer.Trace_ELBO())
    losses = [svi.step(x, target=y) for _ in range(80)]
    assert sum(losses[-10:]) < sum(losses[:10])
    assert pyro.infer.Predictive(lift(model), num_samples=3)(x)["target"].shape == (3, *y.shape)


class Twice(nn.Module):
    """One dropout and one layer at two places each."""

    def __init__(self) -> None:
        super().__init__()
        self.gru, self.d = bnn.GRU(3, 3, batch_first=True, dropout=0.4), bnn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.d(self.gru(self.d(x))[0])
        return self.gru(h[:, :4])[0][:, -1]


def test_a_layer_called_twice_is_one_site_and_the_engines_draw():
    torch.manual_seed(0)
    net, x = Twice(), torch.randn(5, 6, 3)
    trace = pyro.poutine.trace(lift(net)).get_trace(x)
    assert sorted(trace.stochastic_nodes) == ["d.output", "gru.hidden_l0", "gru.input_l0"]
    masks = masks_of(net, x, seed=2, draw=1)
    output = pyro.condition(lift(net), data=masks)(x)
    with pytest.warns(UserWarning, match=r"more than once in one pass: gru \(2 times\), d \(2 times\)"):
        found = predict(net, x, draws=2, seed=2, likelihood=point)
    torch.testing.assert_close(output, found.draws[1], atol=1e-6, rtol=1e-5)


def test_a_layer_called_with_other_steps_and_masks_of_each_step_is_refused():
    net = nn.Module()
    net.d = bnn.Dropout(0.5, "step")
    net.forward = lambda x: net.d(net.d(x)[:, 1:])
    for call in (lift(net), lambda x: masks_of(net, x, seed=0)):
        with pytest.raises(ValueError, match=r"'d' is called several times.*\(6, 5, 3\) and then of shape \(5, 5, 3\)"):
            call(torch.zeros(5, 6, 3))


def test_vectorized_samples_are_refused_with_the_way_out():
    lifted = lift(Net(GAL), GAUSSIAN)
    message = r"the mask 'words.word' must have shape \(5, 9\).*parallel=False.*vectorize_particles=False"
    with pytest.raises(ValueError, match=message):
        pyro.infer.Predictive(lifted, num_samples=4, parallel=True)(TOKENS)
    loss = pyro.infer.Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=0)
    with pytest.raises(ValueError, match=message):
        loss.loss(lifted, lifted.guide, TOKENS, target=torch.zeros(5))
    with pytest.raises(ValueError, match=message), pyro.plate("data", 5):
        lifted(TOKENS)


def test_predictive_averages_to_the_same_moments():
    torch.manual_seed(0)
    net = Net(GAL).eval()
    samples = pyro.infer.Predictive(lift(net, GAUSSIAN), num_samples=200)(TOKENS)
    assert samples["lstm.hidden_l0"].shape == (200, 4, 5, 4)
    outputs = torch.stack(
        [pyro.condition(lift(net), {k: samples[k][s] for k in SITES})(TOKENS).squeeze(-1) for s in range(200)]
    )
    exact = predict(net, TOKENS, draws=2000, seed=0, likelihood=GAUSSIAN)
    error = (outputs.var(0) / 200).sqrt()
    assert bool(((outputs.mean(0) - exact.mean).abs() < 5 * error + 5 * exact.standard_error).all())
    assert samples["target"].shape == (200, 5)


def test_svi_trains_the_weights_and_leaves_no_kl_of_masks():
    torch.manual_seed(0)
    net = Net(schemes.gal(0.1))
    target = TOKENS.float().mean(1) / 4 - 1
    lifted = lift(net, GAUSSIAN, learn=True)
    svi = pyro.infer.SVI(lifted, lifted.guide, pyro.optim.Adam({"lr": 0.02}), pyro.infer.Trace_ELBO())
    before = net.head.weight.detach().clone()
    losses = [svi.step(TOKENS, target=target) for _ in range(80)]
    assert sum(losses[-10:]) < sum(losses[:10])
    assert not torch.equal(before, net.head.weight)
    trace = pyro.poutine.trace(lifted).get_trace(TOKENS, target=target)
    output = pyro.condition(lift(net), {k: trace.nodes[k]["value"] for k in SITES})(TOKENS)
    guide = pyro.poutine.trace(pyro.poutine.replay(lifted.guide, trace)).get_trace(TOKENS)
    difference = trace.log_prob_sum() - guide.log_prob_sum()
    torch.testing.assert_close(difference, GAUSSIAN(output).log_prob(target).sum(), atol=1e-3, rtol=1e-4)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="no mask of this model is active"):
        lift(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="no mask of this model is active"):
        masks_of(nn.Linear(2, 2), torch.zeros(1, 2), seed=0)
    with pytest.raises(ValueError, match="a target needs a likelihood"):
        lift(Net(GAL))(TOKENS, target=torch.zeros(5))
    with pytest.raises(TypeError, match="target must be a tensor, but a list was given"):
        lift(Net(GAL), GAUSSIAN)(TOKENS, target=[0.0] * 5)
    with pytest.raises(TypeError, match="the likelihood must return a torch Distribution, but it returned a Tensor"):
        lift(Net(GAL), lambda output: output)(TOKENS)
    lift(Net(GAL), learn=True)(TOKENS)
    with pytest.raises(ValueError, match=r"already holds another model\$\$\$.*clear_param_store"):
        lift(Net(GAL), learn=True)(TOKENS)


@pytest.mark.parametrize("ids", [[1, 2], [7]])
def test_ids_must_be_one_a_row(ids):
    model = models.SequenceRegressor(input_size=2, hidden_size=4, dropout=0.1)
    with pytest.raises(ValueError, match="one id for each of the 5 rows"):
        masks_of(model, torch.randn(5, 7, 2), seed=0, sequence_ids=ids)
