"""How much of the network is kept: none is the linear part, and the best share is that of a plain search."""

import copy

import pytest
import torch

from bayesrnn.forecasting.features import Windows
from bayesrnn.forecasting.learn import _SHARES, _share
from bayesrnn.models.forecaster_residual import ResidualForecaster

STEPS = 4


def windows(rows: int = 40) -> Windows:
    draw = torch.Generator().manual_seed(0)
    context, ahead = torch.randn(rows, 6, 3, generator=draw), torch.randn(rows, STEPS, 2, generator=draw)
    base = torch.randn(rows, STEPS, generator=draw, dtype=torch.float64)
    target = base + torch.randn(rows, STEPS, generator=draw, dtype=torch.float64)
    target[3, 1] = torch.nan
    scale = 0.5 + torch.rand(rows, 1, generator=draw, dtype=torch.float64)
    return Windows(context, ahead, base, scale, target, torch.arange(rows))


def network(likelihood: str) -> ResidualForecaster:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = ResidualForecaster(3, 2, STEPS, hidden_size=5, dropout=0.2, likelihood=likelihood)
        torch.nn.init.normal_(model.head.weight)
        torch.nn.init.normal_(model.head.bias)
    return model.eval()


@pytest.mark.parametrize("likelihood", ["gaussian", "mixture", "student_t"])
def test_nothing_of_a_network_is_the_linear_part(likelihood: str) -> None:
    held = windows()
    nothing = network(likelihood).shrink(0.0)(*held.inputs())
    new = ResidualForecaster(3, 2, STEPS, hidden_size=5, likelihood=likelihood)
    torch.nn.init.zeros_(new.head.weight)
    torch.testing.assert_close(nothing.mean, held.base, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(nothing.variance, new.eval()(*held.inputs()).variance, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("likelihood", ["gaussian", "mixture", "student_t"])
def test_the_share_kept_has_the_least_validation_loss(likelihood: str) -> None:
    held, model = windows(), network(likelihood)
    seen = ~torch.isnan(held.target)
    by_hand = {}
    for share in _SHARES:
        with torch.no_grad():
            distribution = copy.deepcopy(model).shrink(share)(*held.inputs())
        by_hand[share] = -float(distribution.log_prob(held.target.nan_to_num())[seen].mean())
    loss, share = _share(model, held)
    assert share == min(by_hand, key=lambda one: by_hand[one])
    assert loss == pytest.approx(by_hand[share], rel=1e-6)
    assert by_hand[share] < by_hand[1.0]  # these weights are noise
