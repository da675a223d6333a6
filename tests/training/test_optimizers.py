"""One step of an optimizer against the update written out."""

import pytest
import torch
from torch import nn

from bayesrnn.training import SGD, Cosine
from bayesrnn.training.optimizers import Stepper


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("clip", [0.5, 100.0])
def test_weight_decay_of_sgd_is_not_clipped_and_follows_the_rate_where_asked(follows: bool, clip: float) -> None:
    weights = nn.Parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    gradient = torch.tensor([2.0, 3.0, -6.0], dtype=torch.float64)  # of norm 7
    spec = SGD(Cosine(1.0), weight_decay=0.1, decay_follows_rate=follows)
    stepper = Stepper([weights], spec, clip)
    expected = weights.detach().clone()
    for rate in (0.8, 0.2):
        weights.grad = gradient.clone()
        stepper.step(rate)
        decay = 0.1 * rate if follows else 0.1
        expected = (1.0 - decay) * expected - rate * min(1.0, clip / 7.0) * gradient
    torch.testing.assert_close(weights.detach(), expected, rtol=1e-6, atol=1e-6)
