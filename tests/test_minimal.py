"""The teaching file docs/minimal.py does what the library does: same gates, same masks, same mixture."""

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import bayesrnn as br

FILE = Path(__file__).parent.parent / "docs" / "minimal.py"


@pytest.fixture(scope="module")
def minimal() -> Any:
    return SimpleNamespace(**runpy.run_path(str(FILE)))


class Net(torch.nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        scheme = br.schemes.gal(input=p, hidden=p, gates="tied")
        self.rnn = br.nn.LSTM(3, 8, batch_first=True, dropout=scheme)
        self.drop, self.head = br.nn.Dropout(p), torch.nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.rnn(x)[0])[:, -1])


def pair(minimal: Any, p: float = 0.3) -> tuple[Any, Net]:
    torch.manual_seed(0)
    small, net = minimal.MaskedLSTM(inputs=3, hidden=8, p=p, p_input=p), Net(p).eval()
    with torch.no_grad():
        net.rnn.weight_ih_l0.copy_(small.weight_ih)
        net.rnn.weight_hh_l0.copy_(small.weight_hh)
        net.rnn.bias_ih_l0.copy_(small.bias)
        net.rnn.bias_hh_l0.zero_()
    net.head.load_state_dict(small.head.state_dict())
    return small, net


def test_one_set_of_masks_gives_what_the_library_gives(minimal: Any) -> None:
    small, net = pair(minimal)
    x = torch.randn(5, 7, 3)
    drawn = net.rnn.sample_masks(5, seed=1)
    masks = minimal.Masks(drawn["input_l0"], drawn["hidden_l0"], small.draw_masks(5).output)
    output, _ = net.rnn(x, masks=drawn)
    mean, log_variance = net.head(output[:, -1] * masks.output).unbind(-1)
    torch.testing.assert_close(small(x, masks), (mean, log_variance.exp()))
    torch.testing.assert_close(small(x, None)[0], net(x)[:, 0])


def test_the_averages_agree_within_their_monte_carlo_error(minimal: Any) -> None:
    small, net = pair(minimal)
    x = torch.randn(4, 6, 3)
    result = minimal.predict(small, x, draws=4000)
    predictive = br.predict(net, x, draws=4000, seed=0, likelihood=br.likelihoods.gaussian)
    error = (result.epistemic / 4000).sqrt() + predictive.standard_error
    assert bool(((result.mean - predictive.mean).abs() < 5 * error).all())
    torch.testing.assert_close(result.aleatoric, predictive.aleatoric.to(result.aleatoric), rtol=0.02, atol=0)
    torch.testing.assert_close(result.epistemic, predictive.epistemic.to(result.epistemic), rtol=0.15, atol=0)
    low, high = predictive.interval(0.9)
    torch.testing.assert_close(result.low, low.to(result.low), rtol=0, atol=0.05)
    torch.testing.assert_close(result.high, high.to(result.high), rtol=0, atol=0.05)


def test_quantiles_are_those_of_the_mixture(minimal: Any) -> None:
    means, variances = torch.randn(6, 3), torch.rand(6, 3) + 0.1
    mixture = br.Predictive.from_draws(torch.distributions.Normal(means.double(), variances.double().sqrt()))
    expected = mixture.quantile(0.2)
    torch.testing.assert_close(minimal.mixture_quantile(means.double(), variances.double(), 0.2), expected)


def test_the_file_is_short_enough_to_read() -> None:
    assert len(FILE.read_text(encoding="utf-8").splitlines()) <= 150
