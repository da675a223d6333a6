"""What accumulates merges in any order and grouping, and agrees with numpy on all values at once."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp
from torch.distributions import Categorical, Normal

import bayesrnn as br
from bayesrnn import metrics
from bayesrnn.inference import convergence, jackknife, point
from bayesrnn.inference.accumulators import ClassStatistics, ContinuousStatistics, statistics_of
from bayesrnn.inference.assemble import assemble
from bayesrnn.inference.packing import _described, _made
from bayesrnn.inference.passes import Part
from bayesrnn.inference.statistics import Moments, Replicates
from bayesrnn.predictive import Predictive
from tests.problems import problem


def values(size, seed, offset=0.0):
    return offset + torch.randn(size, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sent(value):
    """Return what another rank would be given."""
    tensors = {}
    return _made(json.loads(json.dumps(_described(value, tensors))), tensors)


@given(st.lists(st.integers(1, 20), min_size=2, max_size=6), st.integers(0, 99), st.sampled_from([0.0, 1e8]))
def test_moments_merge_without_cancelling(sizes, seed, offset):
    x = values(sum(sizes), seed, offset)
    merged = None
    for part in x.split(sizes):
        found = Moments.of(part)
        merged = found if merged is None else found.merge(merged)
    np.testing.assert_allclose(merged.mean, x.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(merged.variance, x.numpy().var(0, ddof=1), rtol=1e-6)


@given(st.lists(st.integers(1, 40), min_size=3, max_size=6), st.integers(0, 99), st.randoms())
def test_replicates_do_not_depend_on_the_split(sizes, seed, random):
    total = sum(sizes)
    x, numbers = values(total, seed), torch.arange(total)
    whole = Replicates.of(x, numbers, 16)
    parts = [Replicates.of(a, n, 16) for a, n in zip(x.split(sizes), numbers.split(sizes))]
    random.shuffle(parts)
    left = parts[0]
    for part in parts[1:]:
        left = left.merge(part)
    right = parts[-1]
    for part in reversed(parts[:-1]):
        right = part.merge(right)
    for merged in (left, right, sent(left)):
        torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(merged.standard_error, whole.standard_error, rtol=1e-9, atol=1e-12)
        assert merged.degrees_of_freedom == whole.degrees_of_freedom


def test_standard_error_of_blocks_is_that_of_their_means():
    x = values(16 * 9, 0)
    found = Replicates.of(x, torch.arange(144), 16)
    means = x.numpy().reshape(9, 16, 3).mean(1)
    np.testing.assert_allclose(found.standard_error, means.std(0, ddof=1) / 3, rtol=1e-12)
    assert found.degrees_of_freedom == 8
    few = Replicates.of(x[:40], torch.arange(40), 16)
    np.testing.assert_allclose(few.standard_error, x[:40].numpy().std(0, ddof=1) / np.sqrt(40), rtol=1e-12)
    assert few.degrees_of_freedom == 39


def test_a_part_of_a_block_counts_with_its_own_variance():
    """Blocks are shuffled strata: exact variances are known, so the reported ones must match on average."""
    generator = np.random.default_rng(0)
    found, means = [], []
    for _ in range(400):
        order = np.stack([generator.permutation(16) for _ in range(7)])
        x = ((order + generator.random((7, 16))) / 16).reshape(-1)[:100]
        replicates = Replicates.of(torch.as_tensor(x)[:, None], torch.arange(100), 16)
        found.append(float(replicates.standard_error) ** 2)
        means.append(x.mean())
    assert np.mean(found) == pytest.approx(np.var(means), rel=0.2)


@pytest.mark.parametrize(
    "distribution", [Normal(torch.randn(50, 4), torch.rand(50, 4) + 0.1), Categorical(logits=torch.randn(50, 4, 3))]
)
def test_statistics_agree_with_the_kept_draws(distribution):
    numbers = torch.arange(50)
    statistics = statistics_of(distribution, numbers, 16)
    kind = type(statistics)
    assert kind in (ContinuousStatistics, ClassStatistics)
    again = sent(statistics)
    kept = Predictive.from_draws(distribution)
    origin = {"seed": None, "sampling": "independent", "sequence_ids": None}
    for some, rows in ((statistics, slice(None)), (again, slice(None)), (statistics.rows(torch.tensor([2])), [2])):
        (found,) = assemble([Part(torch.arange(4)[rows], 50, (), [some])], False, 16, origin)
        for name in ("mean" if kind is ContinuousStatistics else "entropy", "aleatoric", "epistemic"):
            torch.testing.assert_close(getattr(found, name), getattr(kept[rows], name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("dtype", "times"), [(torch.float16, 12.0), (torch.float32, 400.0)])
def test_class_log_means_survive_where_their_probabilities_are_zero_in_the_dtype(
    dtype: torch.dtype, times: float
) -> None:
    """Of 5000 classes the target is one whose mean probability rounds to 0: its logarithm does not."""
    generator = torch.Generator().manual_seed(0)
    model = torch.nn.Sequential(br.nn.Dropout(0.5), torch.nn.Linear(32, 5000, bias=False))
    torch.nn.init.normal_(model[1].weight, std=32**-0.5, generator=generator)
    model, x = model.to(dtype), (times * torch.randn(10, 32, generator=generator)).to(dtype)
    logits = br.predict(model, x, draws=32, likelihood=point).draws.double().numpy()
    log_mean = logsumexp(log_softmax(logits, -1), 0) - np.log(32)
    target = torch.as_tensor(log_mean.argsort(-1)[:, 20])
    exact = -log_mean[np.arange(10), target]
    assert (torch.as_tensor(np.exp(-exact)).to(dtype) == 0).all()
    for keep in (True, False):
        p = br.predict(model, x, draws=32, keep_draws=keep, likelihood=lambda out: Categorical(logits=out))
        np.testing.assert_allclose(-p.log_prob(target).double(), exact, rtol=1e-3)
        assert float(metrics.nll(p, target)) == pytest.approx(exact.mean(), rel=1e-3)


def test_jackknife_takes_the_bias_out_of_log_probabilities():
    exact = problem("lstm", "classes")
    target = torch.zeros(6, dtype=torch.long)
    truth = np.log(exact.probabilities[:, 0]).mean()
    plain, corrected = [], []
    for seed in range(150):
        p = br.predict(exact.model, exact.inputs, draws=6, seed=seed, sampling="independent")
        found = jackknife(p, lambda q: q.log_prob(target).mean())
        plain.append(float(found.estimate))
        corrected.append(float(found.corrected))
    assert abs(np.mean(corrected) - truth) < 0.5 * abs(np.mean(plain) - truth)
    assert found.standard_error > 0
    assert found.blocks == 6
    with pytest.raises(ValueError, match="at least two blocks"):
        jackknife(br.predict(exact.model, exact.inputs, draws=20), lambda q: q.entropy)


def test_convergence_is_a_table_of_draws():
    exact = problem("gru", "regression")
    p = br.predict(exact.model, exact.inputs, draws=256)
    table = convergence(p)
    assert table["draws"].tolist() == [16, 32, 64, 128, 256]
    assert table["standard_error"].iloc[-1] == pytest.approx(float(p.standard_error.mean()))
    part = br.predict(exact.model, exact.inputs, draws=64)
    assert table["std"].iloc[2] == pytest.approx(float(part.std.mean()))
    assert table["standard_error"].iloc[2] == pytest.approx(float(part.standard_error.mean()))
    chosen = convergence(p, {"first": lambda q: q.mean[0]}, sizes=[2, 200])
    assert chosen["first"].iloc[1] == pytest.approx(float(p.draws[:200, 0].mean()))
    with pytest.raises(ValueError, match="asks for 300 draws"):
        convergence(p, sizes=[300])


def test_the_error_of_whole_blocks_and_an_open_one_by_hand() -> None:
    x = values(100, 3)
    block_mean = x[:96].numpy().reshape(6, 16, 3).mean(1).var(0, ddof=1)
    draw = x.numpy().var(0, ddof=0) + block_mean / 6  # about the true mean, of which the sample's is off by its error
    covariance = (16 * block_mean - draw) / 15
    total = 6 * 16**2 * block_mean + 4 * draw + 4 * 3 * covariance
    np.testing.assert_allclose(Replicates.of(x, torch.arange(100), 16).standard_error, np.sqrt(total) / 100, rtol=1e-12)


@pytest.mark.parametrize("blocks", [5, 7, 8])
def test_few_blocks_that_agree_by_chance_stop_nothing(blocks: int) -> None:
    x = values(16, 4).repeat(blocks, 1)
    found = Replicates.of(x, torch.arange(16 * blocks), 16)
    np.testing.assert_allclose(found.standard_error, 0.0, atol=1e-9)
    independent = x.numpy().std(0, ddof=1) / np.sqrt(16 * blocks)
    np.testing.assert_allclose(found.stopping_error, independent if blocks < 8 else 0.0, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("sampling", "draws"), [("independent", 40), ("stratified", 160)])
def test_the_jackknife_of_the_mean_is_the_mean_and_its_standard_error(sampling: str, draws: int) -> None:
    exact = problem("lstm", "regression")
    p = br.predict(exact.model, exact.inputs, draws=draws, sampling=sampling)
    found = jackknife(p, lambda q: q.mean)
    torch.testing.assert_close(found.corrected, p.mean.double())
    torch.testing.assert_close(found.standard_error, p.standard_error.double())
