"""Masks as Pyro sites: same masks, same numbers as the engine; trace, condition, Predictive, SVI."""

import pyro
import pyro.infer
import pytest
import torch
from torch import nn

import bayesrnn.nn as bnn
from bayesrnn import likelihoods, schemes
from bayesrnn.inference import predict
from bayesrnn.pyro import Mask, lift, masks_of


class Net(nn.Module):
    def __init__(self, scheme: schemes.Scheme) -> None:
        super().__init__()
        self.words = bnn.Embedding(9, 3, dropout=scheme)
        self.lstm = bnn.LSTM(3, 4, 2, batch_first=True, dropout=scheme)
        output = scheme.placement("output")
        self.dropout = bnn.Dropout(output.rate, output.span) if output else nn.Identity()
        self.head = nn.Linear(4, 1)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.lstm(self.words(tokens))[0])[:, -1])


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


def test_the_law_of_a_mask():
    law = Mask(torch.tensor([0.25, 0.5]))
    torch.testing.assert_close(law.enumerate_support(), torch.tensor([[0.0, 0.0], [4 / 3, 2.0]]))
    torch.testing.assert_close(law.log_prob(law.enumerate_support()).exp().sum(0), torch.ones(2))
    draws = law.sample((20_000,))
    torch.testing.assert_close(draws.mean(0), law.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(draws.var(0), law.variance, atol=0.05, rtol=0)
    assert law.expand((3, 2)).sample().shape == (3, 2)
    with pytest.raises(ValueError, match="within the support"):
        Mask(torch.tensor(0.5), validate_args=True).log_prob(torch.tensor(1.0))


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="no mask of this model is active"):
        lift(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="no mask of this model is active"):
        masks_of(nn.Linear(2, 2), torch.zeros(1, 2), seed=0)
    with pytest.raises(ValueError, match="a target needs a likelihood"):
        lift(Net(GAL))(TOKENS, target=torch.zeros(5))
    lift(Net(GAL), learn=True)(TOKENS)
    with pytest.raises(ValueError, match=r"already holds another model\$\$\$.*clear_param_store"):
        lift(Net(GAL), learn=True)(TOKENS)


def test_an_unknown_law_is_refused():
    class Odd(torch.distributions.Normal):
        pass

    with pytest.raises(ValueError, match="Pyro has no Odd"):
        lift(Net(GAL), lambda output: Odd(output.squeeze(-1), 1.0))(TOKENS)
