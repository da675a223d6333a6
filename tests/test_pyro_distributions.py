"""Distributions of torch and of masks as distributions of Pyro."""

from functools import partial

import pyro
import pyro.infer
import pytest
import torch
from torch import distributions as D

from bayesrnn import likelihoods, models, schemes
from bayesrnn.pyro import Mask, lift
from bayesrnn.pyro.distributions import as_pyro
from tests.problems import WordNet

Net = partial(WordNet, sizes=(9, 3, 4), layers=2)
GAL = schemes.gal(word=0.2, input=0.3, hidden=0.4, output=0.5)
TOKENS = torch.randint(0, 9, (5, 6), generator=torch.Generator().manual_seed(0))
SITES = ["dropout.output", *(f"lstm.{s}_l{k}" for s in ("hidden", "input") for k in (0, 1)), "words.word"]


DISTRIBUTIONS = {
    "independent": lambda o: D.Independent(D.Normal(o, 1.0), 1),
    "mixture": lambda o: D.MixtureSameFamily(
        D.Categorical(logits=torch.zeros(5, 2)), D.Normal(torch.cat([o, -o], -1), 1.0)
    ),
    "transformed": lambda o: D.TransformedDistribution(D.Normal(o[:, 0], 1.0), [D.AffineTransform(2.0, 3.0)]),
    "mixture of vectors": lambda o: D.MixtureSameFamily(
        D.Categorical(logits=torch.zeros(5, 2)), D.Independent(D.Normal(o[:, None].expand(-1, 2, 3), 1.0), 1)
    ),
    "log normal": lambda o: D.LogNormal(o[:, 0], 1.0),
    "one hot": lambda o: D.OneHotCategorical(logits=torch.cat([o, -o], -1)),
    "multinomial": lambda o: D.Multinomial(7, logits=torch.cat([o, -o], -1)),
    "relaxed": lambda o: D.RelaxedBernoulli(torch.tensor(0.5), logits=o[:, 0]),
    "joint": lambda o: D.MultivariateNormal(o.expand(-1, 2), covariance_matrix=2 * torch.eye(2)),
    "bernoulli whose probs were read": lambda o: (lambda distribution: (distribution.probs, distribution)[1])(
        D.Bernoulli(logits=o[:, 0])
    ),
    "negative binomial": lambda o: likelihoods.negative_binomial(torch.cat([o, o], -1)),
    "negative binomial of torch": lambda o: D.NegativeBinomial(torch.tensor(3.0), logits=o[:, 0]),
    "uniform": lambda o: D.Uniform(o[:, 0], o[:, 0] + 1),
    "student": lambda o: likelihoods.student_t(o.expand(-1, 3)),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_a_distribution_of_torch_becomes_one_of_pyro_with_the_same_density(name):
    torch.manual_seed(0)
    expected = DISTRIBUTIONS[name](torch.randn(5, 1))
    target = expected.sample()
    found = as_pyro(expected)
    torch.testing.assert_close(found.log_prob(target), expected.log_prob(target))
    net = Net(GAL)
    trace = pyro.poutine.trace(lift(net, DISTRIBUTIONS[name])).get_trace(TOKENS)  # a sample has a legal shape and value
    target = trace.nodes["target"]["value"]
    masks = {site: trace.nodes[site]["value"] for site in SITES}
    again = pyro.poutine.trace(pyro.condition(lift(net, DISTRIBUTIONS[name]), data=masks)).get_trace(
        TOKENS, target=target
    )
    again.compute_log_prob()
    distribution = DISTRIBUTIONS[name](pyro.condition(lift(net), data=masks)(TOKENS))
    torch.testing.assert_close(again.nodes["target"]["log_prob"], distribution.log_prob(target).sum())


def test_the_distribution_of_a_mask():
    distribution = Mask(torch.tensor([0.25, 0.5]))
    torch.testing.assert_close(distribution.enumerate_support(), torch.tensor([[0.0, 0.0], [4 / 3, 2.0]]))
    torch.testing.assert_close(distribution.log_prob(distribution.enumerate_support()).exp().sum(0), torch.ones(2))
    draws = distribution.sample((20_000,))
    torch.testing.assert_close(draws.mean(0), distribution.mean, atol=0.03, rtol=0)
    torch.testing.assert_close(draws.var(0), distribution.variance, atol=0.05, rtol=0)
    assert distribution.expand((3, 2)).sample().shape == (3, 2)
    torch.testing.assert_close(Mask(0.25).log_prob(torch.tensor(0.0)), torch.tensor(0.25).log())
    with pytest.raises(TypeError, match=r"rate must be a number in \[0, 1\), but 'a'"):
        Mask("a")
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\); 1.5 was given"):
        Mask(1.5)
    with pytest.raises(TypeError, match=r"a tensor of torch.int64 was given.*torch.tensor\(0.5\)"):
        Mask(torch.tensor(0))
    with pytest.raises(ValueError, match="within the support"):
        Mask(torch.tensor(0.5), validate_args=True).log_prob(torch.tensor(1.0))


@pytest.mark.parametrize("name", ["Odd", "Poisson", "Normal"])  # also under the name of one of Pyro's classes
def test_a_distribution_that_pyro_does_not_know_keeps_its_own_density(name):
    def log_prob(self: D.Normal, value: torch.Tensor) -> torch.Tensor:
        return D.Normal.log_prob(self, value) - 7.0

    kind = type(name, (D.Normal,), {"log_prob": log_prob})
    net, target = Net(GAL), torch.randn(5)
    trace = pyro.poutine.trace(lift(net, lambda output: kind(output.squeeze(-1), 1.0))).get_trace(TOKENS, target=target)
    trace.compute_log_prob()
    output = pyro.condition(lift(net), {k: trace.nodes[k]["value"] for k in SITES})(TOKENS).squeeze(-1)
    expected = D.Normal(output, 1.0).log_prob(target).sum() - 35.0
    torch.testing.assert_close(trace.nodes["target"]["log_prob"], expected)
    distribution = as_pyro(kind(torch.zeros(3), 1.0)).expand((2, 3))
    assert distribution.sample().shape == (2, 3)


@pytest.mark.parametrize("likelihood", ["gaussian", "homoscedastic", "student_t", "poisson", "negative_binomial"])
def test_every_likelihood_of_the_models_is_scored_by_its_own_distribution(likelihood):
    torch.manual_seed(0)
    model = models.SequenceRegressor(3, 4, likelihood=likelihood, dropout=0.3, every_step=True)
    x, target, lengths = torch.randn(5, 6, 3), torch.randint(0, 4, (5, 6)).float(), torch.tensor([6, 5, 4, 3, 2])
    trace = pyro.poutine.trace(lift(model)).get_trace(x, target=target, lengths=lengths)
    trace.compute_log_prob()
    masks = {site: trace.nodes[site]["value"] for site in trace.stochastic_nodes}
    distribution = pyro.condition(lift(model), data=masks)(x, lengths=lengths)
    before_padding = torch.arange(6) < lengths[:, None]
    torch.testing.assert_close(trace.nodes["target"]["log_prob"], distribution.log_prob(target)[before_padding].sum())
