"""The search finds the rates whose mixture over draws explains the validation rows best."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import bayesrnn.nn as bnn
from bayesrnn import likelihoods, models, schemes
from bayesrnn.tuning.rates import rate_grid, rate_search

GAUSSIAN = likelihoods.homoscedastic_gaussian(100.0)


def noisy_sum(scheme: schemes.Scheme) -> nn.Module:
    """A 'trained' model whose output has mean 8 and standard deviation sqrt(8 p / (1-p)): known in closed form."""
    head = nn.Linear(8, 1)
    nn.init.ones_(head.weight)
    nn.init.zeros_(head.bias)
    rate = scheme.rate("output")
    return nn.Sequential(bnn.Dropout(rate) if rate else nn.Identity(), head)


def test_the_rate_whose_spread_is_that_of_the_targets_wins():
    generator = torch.Generator().manual_seed(0)
    true_rate = 0.3
    target = 8 * torch.ones(400) + math.sqrt(8 * true_rate / 0.7) * torch.randn(400, generator=generator)
    tried = [schemes.none(), *rate_grid(schemes.gal, output=[0.05, 0.3, 0.8])]
    found = rate_search(noisy_sum, tried, torch.ones(400, 8), target=target, likelihood=GAUSSIAN, draws=256)
    assert found.scheme.rate("output") == 0.3
    assert found.model[0].p == 0.3
    assert found.best.behind == 0.0
    assert all(trial.behind > 3 * trial.behind_error for trial in found.trials if trial is not found.best)
    frame = found.to_frame()
    assert frame["output"].iloc[0] == 0.3
    assert len(frame) == 4


def test_a_scheme_without_dropout_is_the_deterministic_pass():
    target = torch.full((5,), 8.5)
    found = rate_search(noisy_sum, [schemes.none()], torch.ones(5, 8), target=target, likelihood=GAUSSIAN)
    exact = -torch.distributions.Normal(8.0, 0.1).log_prob(torch.tensor(8.5))
    assert found.best.nll == pytest.approx(float(exact), rel=1e-5)
    assert found.best.standard_error == pytest.approx(0.0, abs=1e-6)


def test_the_grid_is_the_product():
    grid = rate_grid(schemes.gal, word=[0.1, 0.2], hidden=[0.0, 0.3], gates=["tied"])
    assert {(s.rate("word"), s.rate("hidden")) for s in grid} == {(0.1, 0.0), (0.1, 0.3), (0.2, 0.0), (0.2, 0.3)}
    assert all(s.placement("word").gates == "tied" for s in grid)


def test_bad_input_is_refused():
    x, y = torch.ones(3, 8), torch.zeros(3)
    with pytest.raises(ValueError, match="there is no scheme to try"):
        rate_search(noisy_sum, [], x, target=y)
    with pytest.raises(TypeError, match="fit must return the trained module, but it returned a NoneType"):
        rate_search(lambda scheme: None, [schemes.none()], x, target=y)
    with pytest.raises(TypeError, match="pass likelihood="):
        rate_search(noisy_sum, [schemes.none()], x, target=y)
    with pytest.raises(ValueError, match="beyond float64"):
        rate_search(
            noisy_sum,
            [schemes.none()],
            x,
            target=torch.full((3,), 1e200, dtype=torch.float64),
            likelihood=GAUSSIAN,
        )


class Steps(nn.Module):
    """Returns its input as the mean of every step, and refuses to run without lengths."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.dropout = bnn.Dropout(rate) if rate else nn.Identity()

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.distributions.Normal:
        assert lengths.numel() == x.shape[0]
        return torch.distributions.Normal(self.dropout(x).squeeze(-1), 1.0)


def fit_steps(scheme: schemes.Scheme) -> nn.Module:
    return Steps(scheme.rate("output"))


BOTH = [schemes.none(), schemes.gal(output=0.01)]


def test_lengths_reach_the_pass_without_masks_too():
    """A regressor reads its last real step: what stands in the padding must not change the score."""
    torch.manual_seed(0)
    x, y, lengths = torch.randn(6, 5, 2), torch.randn(6), torch.tensor([1, 2, 3, 4, 5, 5])
    net = models.SequenceRegressor(2, 4)
    with torch.no_grad():
        exact = torch.stack([-net.eval()(x[i : i + 1, :n]).log_prob(y[i]).squeeze() for i, n in enumerate(lengths)])
    found = rate_search(lambda scheme: net, [schemes.none()], x, target=y, lengths=iter(lengths.tolist()))
    assert found.best.nll == pytest.approx(float(exact.mean()), rel=1e-5)
    assert found.best.standard_error == pytest.approx(float(exact.std()) / 6**0.5, rel=1e-5)


@pytest.mark.parametrize("loader", [False, True])
def test_padding_is_no_target(loader):
    x, y, lengths = torch.zeros(4, 5, 1), torch.ones(4, 5), torch.tensor([1, 2, 3, 5])
    for row, length in enumerate(lengths):
        y[row, length:] = 1e3
    inputs = DataLoader(list(x), batch_size=3) if loader else x
    found = rate_search(fit_steps, BOTH, inputs, target=y, lengths=lengths, draws=16)
    exact = 0.5 + 0.5 * math.log(2 * math.pi)
    assert [t.nll for t in found.trials] == pytest.approx([exact, exact], rel=1e-6)


def test_a_loader_serves_schemes_with_and_without_masks():
    loader = DataLoader(list(torch.ones(5, 8)), batch_size=2)
    y = torch.full((5,), 8.5)
    whole = rate_search(noisy_sum, BOTH, torch.ones(5, 8), target=y, likelihood=GAUSSIAN, draws=16)
    parts = rate_search(noisy_sum, BOTH, loader, target=y, likelihood=GAUSSIAN, draws=16)
    assert [t.nll for t in parts.trials] == pytest.approx([t.nll for t in whole.trials], rel=1e-6)


def test_errors_come_from_the_spread_between_rows_not_between_steps():
    """Targets that are constant within a row are one piece of evidence a row."""
    torch.manual_seed(0)
    x, rows = torch.zeros(10, 50, 1), torch.randn(10)
    lengths = torch.full((10,), 50)
    found = rate_search(fit_steps, BOTH, x, target=rows[:, None].expand(10, 50), lengths=lengths, draws=16)
    loss = (0.5 * rows.square()).double()
    assert found.trials[0].standard_error == pytest.approx(float(loss.std()) / 10**0.5, rel=1e-5)


def test_the_error_of_rows_of_several_lengths_is_that_of_a_ratio():
    """Against the jackknife over rows, which is exact here to second order."""
    torch.manual_seed(1)
    x, y, lengths = torch.zeros(60, 9, 1), torch.randn(60, 9), torch.randint(3, 10, (60,))
    found = rate_search(fit_steps, [schemes.none()], x, target=y, lengths=lengths)
    loss = (0.5 * y.square() + 0.5 * math.log(2 * math.pi)).double() * (torch.arange(9) < lengths[:, None])
    without = [float((loss.sum() - loss[i].sum()) / (lengths.sum() - lengths[i])) for i in range(60)]
    jackknife = (59 / 60 * np.sum((np.array(without) - np.mean(without)) ** 2)) ** 0.5
    assert found.best.nll == pytest.approx(float(loss.sum() / lengths.sum()), rel=1e-6)
    assert found.best.standard_error == pytest.approx(jackknife, rel=0.02)


def test_the_model_kept_is_that_of_the_best_trial_also_in_a_tie():
    made = []

    def fit(scheme: schemes.Scheme) -> nn.Module:
        made.append(noisy_sum(schemes.none()))
        return made[-1]

    tried = [schemes.gal(output=p) for p in (0.1, 0.2)]
    found = rate_search(fit, tried, torch.ones(5, 8), target=torch.ones(5), likelihood=GAUSSIAN)
    assert found.trials[0].nll == found.trials[1].nll
    assert found.scheme is tried[0]
    assert found.model is made[0]


def test_arguments_of_predict_are_checked_before_the_first_training():
    def never(scheme: schemes.Scheme) -> nn.Module:
        raise AssertionError("trained")

    x, y = torch.ones(3, 8), torch.zeros(3)
    for error, message, options in [
        (ValueError, "draws must be at least 0, but -1", {"draws": -1}),
        (ValueError, "sharing must be one of", {"sharing": "row"}),
        (TypeError, r"\['length'\] are no arguments of predict", {"length": [1, 2, 3]}),
        (TypeError, "target must be numbers", {"target": ["a", "b", "c"]}),
        (ValueError, "target holds 1 NaN", {"target": torch.tensor([0.0, math.nan, 0.0])}),
    ]:
        with pytest.raises(error, match=message):
            rate_search(never, [schemes.none()], x, **{"target": y} | options)
    with pytest.raises(TypeError, match=r"schemes must be a list.*Pass \[scheme\]"):
        rate_search(never, schemes.gal(0.1), x, target=y)
    with pytest.raises(TypeError, match=r"0\.1 \(float\) is none\. For a rate p pass schemes\.gal\(p\)"):
        rate_search(never, [0.1], x, target=y)


def test_a_grid_takes_numbers_of_numpy_and_one_name():
    grid = rate_grid(schemes.gal, word=np.float32(0.5), hidden=np.array([0.25, 0.5]), gates="tied")
    assert [(s.rate("word"), s.rate("hidden")) for s in grid] == [(0.5, 0.25), (0.5, 0.5)]
    assert grid[0].placement("hidden").gates == "tied"
    assert [s.rate("hidden") for s in rate_grid(schemes.gal, hidden=torch.tensor([0.25, 0.5]))] == [0.25, 0.5]
