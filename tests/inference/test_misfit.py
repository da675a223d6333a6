"""What torch's layers refuse is said in words of the model, the inputs and the likely mistake."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn.inference import point


class Convolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Conv1d(3, 6, 3, padding=1), nn.ReLU())
        self.rnn = br.nn.GRU(6, 4, batch_first=True, dropout=0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.front(x.transpose(1, 2)).transpose(1, 2))[0][:, -1]


X = torch.randn(5, 7, 3)


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (X.double(), r"'front.0' \(Conv1d\) refuses its input: Input type .*float64.*pass x.to\(torch.float32\)"),
        (X[..., :2], r"'front.0' \(Conv1d\) refuses its input: .*expected input.*\(20, 7, 2\).*how many features"),
        (X.long(), r"'front.0' \(Conv1d\) refuses its input: .*no whole numbers"),
        (X.numpy(), r"the Convolved refuses its input: .*ndarray \(20, 7, 3\) of float32.*torch.from_numpy\(x\)"),
        (X.double().numpy(), r"the Convolved refuses its input: .*torch.from_numpy\(x\)"),
    ],
)
def test_inputs_that_the_first_layer_refuses(x: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        br.predict(Convolved(), x, draws=4, likelihood=point)


class Broken(Convolved):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("an error of the user's own")


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match=r"^an error of the user's own$"):
        br.predict(Broken(), X, draws=4, likelihood=point)
    with pytest.raises(ValueError, match=r"^the last dimension of x must be the 2 input features"):
        br.predict(br.nn.GRU(2, 4, dropout=0.3), X, draws=4, batch_dim=1, likelihood=lambda o: point(o[1][0]))


class TakesArrays(Convolved):
    def forward(self, x: np.ndarray) -> Tensor:
        return super().forward(torch.from_numpy(x))


def test_a_model_that_takes_arrays_is_given_them() -> None:
    model = TakesArrays()
    assert br.predict(model, X.numpy(), draws=4, likelihood=point).mean.shape == (5, 4)


class Kept(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.hidden = br.nn.GRU(3, 4, batch_first=True, dropout=0.3), None

    def forward(self, x: Tensor) -> Tensor:
        output, self.hidden = self.rnn(x, self.hidden)
        return output[:, -1]


def test_a_state_of_another_batch_says_that_it_must_be_reset() -> None:
    model = Kept()
    model(torch.randn(9, 7, 3))
    with pytest.raises(ValueError, match=r"It has the 9 rows of another batch.*self.hidden.*reset the state to None"):
        br.predict(model, X, draws=4, likelihood=point)
    with pytest.raises(ValueError, match="reset the state"):
        model(X)
