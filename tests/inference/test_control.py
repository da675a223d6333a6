"""Draws with control variates: unbiased, with honest errors of every moment, against enumeration and closed forms."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import Normal

import bayesrnn as br
from bayesrnn import schemes
from bayesrnn.inference import point
from bayesrnn.inference.linear.statistics import controlled
from bayesrnn.inference.outputs import Point
from bayesrnn.inference.statistics import Replicates
from tests.problems import CELLS, WordNet, problem

MOMENTS = ("mean", "aleatoric", "epistemic", "variance")
REPEATS = 200


def replicated(cell, task, draws, sampling, control="linear"):
    """Return the exact answers, and a prediction whose rows are 200 replicates of each row: other ids, other masks."""
    exact = problem(cell, task)
    rows = exact.inputs.repeat(REPEATS, 1, 1)
    p = br.predict(exact.model, rows, draws=draws, sampling=sampling, control=control, keep_draws=False)
    return exact, p


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("sampling", "draws"), [("stratified", 128), ("stratified", 100), ("independent", 128)])
def test_moments_are_unbiased_and_their_errors_cover(cell, sampling, draws):
    exact, p = replicated(cell, "regression", draws, sampling)
    answers = {name: getattr(exact, name) for name in MOMENTS[:3]}
    answers["variance"] = exact.aleatoric + exact.epistemic
    reach = stats.t.ppf(0.975, p.degrees_of_freedom)
    torch.testing.assert_close(p.variance, p.aleatoric + p.epistemic)
    torch.testing.assert_close(p.standard_errors["mean"], p.standard_error)
    for name, answer in answers.items():
        values = getattr(p, name).numpy().reshape(REPEATS, -1)
        errors = p.standard_errors[name].numpy().reshape(REPEATS, -1)
        bias = (values.mean(0) - answer) / (values.std(0) / REPEATS**0.5)
        assert np.abs(bias).max() < 4, name
        careful = 0.98 if draws == 100 else 0.975  # 4 draws are in no whole block: degrees of freedom are understated
        assert 0.925 <= np.mean(np.abs(values - answer) <= reach * errors) <= careful, name


def test_classes_are_unbiased_and_their_errors_cover():
    exact, p = replicated("lstm", "classes", 128, "stratified")
    reach = stats.t.ppf(0.975, p.degrees_of_freedom)
    torch.testing.assert_close(p.probabilities.sum(-1), torch.ones(len(p), dtype=torch.float64))
    torch.testing.assert_close(p.entropy, p.aleatoric + p.epistemic)
    answers = {
        "probabilities": exact.probabilities,
        "aleatoric": exact.expected_entropy,
        "epistemic": exact.mutual_information,
        "entropy": exact.expected_entropy + exact.mutual_information,
    }
    for name, answer in answers.items():
        values = getattr(p, name).numpy().reshape(REPEATS, *answer.shape)
        errors = p.standard_errors[name].numpy().reshape(values.shape)
        assert np.abs(values.mean(0) - answer).max() < 0.02 * np.abs(answer).max(), name
        assert 0.92 <= np.mean(np.abs(values - answer) <= reach * errors) <= 0.98, name


@pytest.mark.parametrize("sampling", ["stratified", "independent"])
def test_never_worse_than_draws_as_they_are(sampling):
    gains = {}
    for control in (None, "linear"):
        exact, p = replicated("gru", "regression", 64, sampling, control)
        for name in MOMENTS[:3]:
            error = getattr(p, name).numpy().reshape(REPEATS, -1) - getattr(exact, name)
            gains[control, name] = np.mean(error**2)
    for name in MOMENTS[:3]:
        assert gains["linear", name] < gains[None, name], name


class Linear(nn.Module):
    """A network that is linear in its masks: the first order is exact."""

    def __init__(self, words=6, features=4, rate=0.3, outputs=2):
        super().__init__()
        self.words = br.nn.Embedding(words, features, padding_idx=0, dropout=rate)
        self.dropout = br.nn.Dropout(rate)
        self.head = nn.Linear(features, outputs)

    def forward(self, tokens):
        return self.head(self.words(tokens).sum(1))


TOKENS = torch.tensor([[1, 2, 1, 5], [3, 3, 3, 0]])


def test_first_order_is_exact_where_the_network_is_linear():
    model = Linear().double()
    p = br.predict(model, TOKENS, draws=64, control="linear", likelihood=point)
    vectors = model.head(model.words.weight) - model.head.bias  # what each word adds to the output
    counts = torch.zeros(2, 6, dtype=torch.float64)
    for row, tokens in enumerate(TOKENS):
        for token in tokens[tokens > 0]:
            counts[row, token] += 1
    variance = (counts[..., None] * vectors).square().sum(1) * 0.3 / 0.7
    torch.testing.assert_close(p.epistemic, variance.detach())
    torch.testing.assert_close(p.mean, model.eval()(TOKENS).detach())
    assert p.standard_errors["mean"].max() < 1e-8
    assert p.standard_errors["epistemic"].max() < 1e-8


def heteroscedastic(output):
    return Normal(output[..., 0], output[..., 1].exp())


SCHEMES = {
    "untied": schemes.gal(0.1),
    "tied": schemes.gal(0.1, gates="tied"),
    "moon": schemes.moon(0.1),
    "semeniuta": schemes.semeniuta(0.1, span="sequence"),
}


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_control_helps_under_every_scheme_of_sequence_masks(scheme, layers):
    torch.manual_seed(0)
    model = WordNet(SCHEMES[scheme], sizes=(30, 12, 16), layers=layers, outputs=2).double()
    tokens = torch.randint(0, 30, (1, 12)).repeat(60, 1)
    error = {}
    truth = br.predict(model, tokens[:20], draws=1024, likelihood=heteroscedastic, control="linear", keep_draws=False)
    for control in (None, "linear"):
        p = br.predict(model, tokens, draws=32, control=control, likelihood=heteroscedastic, seed=1)
        error[control] = {name: (getattr(p, name) - getattr(truth, name).mean()).square().mean() for name in MOMENTS}
    assert error["linear"]["epistemic"] < 0.5 * error[None]["epistemic"]
    assert error["linear"]["mean"] < error[None]["mean"]


class TwoWays(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = br.nn.GRU(2, 3, 2, batch_first=True, dropout=0.25, bidirectional=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x, lengths=None):
        return self.head(self.recurrent(x, lengths=lengths)[0].sum(1))


def same(a, b, rows=slice(None)):
    for name in ("mean", "aleatoric", "epistemic", "standard_error"):
        torch.testing.assert_close(getattr(a, name)[rows], getattr(b, name), rtol=1e-9, atol=1e-12)
    for name, error in a.standard_errors.items():
        torch.testing.assert_close(error[rows], b.standard_errors[name], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("sharing", ["sequence", "pass"])
def test_chunks_streams_and_subsets_give_the_same(sharing):
    model, x = TwoWays().double(), torch.randn(5, 6, 2, dtype=torch.float64)
    options = {"draws": 50, "control": "linear", "likelihood": point, "sharing": sharing}
    lengths = torch.tensor([6, 2, 4, 1, 5])
    p = br.predict(model, x, lengths=lengths, **options)
    same(p, br.predict(model, x, lengths=lengths, keep_draws=False, **options))
    same(p, br.predict(model, x, lengths=lengths, max_memory=20_000, **options))
    few = torch.tensor([3, 1])
    same(p, br.predict(model, x[few], lengths=lengths[few], sequence_ids=few, **options), few)
    same(p, p[few], few)


def test_tolerance_stops_rows_early_by_the_controlled_error():
    exact = problem("lstm", "regression")
    p = br.predict(exact.model, exact.inputs, draws=4000, tolerance=0.02, control="linear")
    assert bool((p.standard_error <= 0.02).all())
    assert p.draws_per_row.min() < p.draws_per_row.max()
    assert np.abs((p.mean.numpy() - exact.mean) / p.standard_error.numpy()).max() < 4
    assert p.quantile(0.5).shape == p.mean.shape


def test_draws_are_moved_to_the_moments_and_quantiles_follow():
    exact = problem("gru", "regression")
    options = {"draws": 128, "seed": 3}
    plain = br.predict(exact.model, exact.inputs, **options)
    p = br.predict(exact.model, exact.inputs, control="linear", **options)
    torch.testing.assert_close(p.draws.mean(0), p.mean)
    torch.testing.assert_close(p.draws.var(0), p.epistemic)
    scores = [(d.draws - d.mean) / d.epistemic.sqrt() for d in (plain, p)]
    torch.testing.assert_close(*scores)
    truth = br.predict(exact.model, exact.inputs, draws=20_000)
    for level in (0.05, 0.5, 0.95):
        assert (p.quantile(level) - truth.quantile(level)).abs().max() < 0.15 * truth.std.max()


def test_the_random_state_the_mode_and_the_gradients_are_left_alone():
    model = WordNet(0.2, outputs=2).train()
    state = torch.get_rng_state()
    br.predict(model, torch.zeros(2, 3, dtype=torch.long), draws=16, control="linear", likelihood=heteroscedastic)
    assert torch.equal(state, torch.get_rng_state())
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize("draws", [64, 56])
def test_the_variance_of_draws_that_share_strata_is_unbiased(draws):
    """Each block is a permutation of the same 16 numbers: the variance of a draw is theirs."""
    numbers = torch.arange(16.0, dtype=torch.float64)
    order = torch.rand(4, 16, 20_000, generator=torch.Generator().manual_seed(0)).argsort(1)
    values = numbers[order].flatten(0, 1)[:draws]
    variance = Replicates.of(values, torch.arange(draws), 16).variance
    assert float(variance.mean()) == pytest.approx(float(numbers.var(correction=0)), rel=2e-3)
    single = Replicates.of(values, torch.arange(draws), 1).variance
    torch.testing.assert_close(single, values.var(0))


def test_errors_are_right_where_draws_are_far_from_the_deterministic_pass():
    """The mean of the draws is 3 spreads away from f(1), and the rest depends on the linear part."""
    generator = torch.Generator().manual_seed(1)
    e = torch.randn(160, 3000, 2, generator=generator, dtype=torch.float64)
    linear = e[..., 0]
    value = Point(3.0 + linear + 0.5 * e[..., 1] + 0.2 * linear.square())
    one = torch.ones(3000, 1, dtype=torch.float64)
    statistics = controlled(value, linear.unsqueeze(-1), 0 * one, one, torch.arange(160), 1)
    mean, _, epistemic = statistics.moments()
    assert float(epistemic.mean()) == pytest.approx(1.0 + 0.25 + 2 * 0.04, rel=0.01)
    assert float(mean.mean()) == pytest.approx(3.2, rel=0.01)
    for name, found in (("mean", mean), ("epistemic", epistemic)):
        assert float(statistics.errors()[name].mean()) == pytest.approx(float(found.std()), rel=0.1), name
