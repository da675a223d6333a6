"""What `fit` refuses, and what it warns of."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import bayesrnn.nn as layers
from bayesrnn.models import SequenceRegressor
from bayesrnn.training import fit

Make = Callable[..., SequenceRegressor]
Rows = tuple[Tensor, Tensor]


def test_an_optimizer_that_cannot_train_the_model_is_refused(rows: Rows, make: Make) -> None:
    sgd = torch.optim.SGD(make().parameters(), lr=0.1)
    for optimizer, kind, text in (
        (sgd, TypeError, "but a SGD was given. Wrap it"),
        (lambda parameters: None, TypeError, "but it returned a NoneType"),
        (lambda parameters: sgd, ValueError, "holds no parameter of this model"),
    ):
        with pytest.raises(kind, match=text):
            fit(make(), rows, epochs=1, optimizer=optimizer)  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), -0.5])
def test_a_schedule_that_would_climb_the_loss_is_refused(rows: Rows, make: Make, factor: float) -> None:
    with pytest.raises(ValueError, match=f"schedule must give .* but gives {factor} in epoch 1"):
        fit(make(), rows, epochs=2, schedule=lambda epoch: factor if epoch else 1.0)


@pytest.mark.parametrize(("shift", "factor", "warned"), [(0, 1, False), (300, 1, True), (0, 1e-4, True), (3, 4, False)])
def test_targets_far_from_the_start_are_said_to_be(
    rows: Rows, make: Make, shift: float, factor: float, warned: bool
) -> None:
    x, y = rows[0], (rows[1] - rows[1].mean()) / rows[1].std() * factor + shift
    for standardized in (False, True):
        for data in ((x, y), TensorDataset(x, y), {"x": x, "target": y}):
            model = make()
            if standardized:
                model.standardize(x, y)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                fit(model, data, epochs=1, progress=False)
            said = [str(w.message) for w in caught if "model.standardize(x, y)" in str(w.message)]
            assert len(said) == (warned and not standardized)
    if warned:
        with pytest.warns(UserWarning, match="untrained model predicts about 0 ") as record:
            fit(make(), (x, y), epochs=1, progress=False)
        assert record[0].filename == __file__


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be positive"),
        ({"learning_rate": math.nan}, ValueError, "learning_rate must be positive"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay must be at least 0"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be positive and finite, but 'fast'"),
        ({"weight_decay": [1.0]}, TypeError, "weight_decay must be at least 0"),
        ({"gradient_clip": "1"}, TypeError, "gradient_clip must be positive"),
        ({"gradient_clip": 0.0}, ValueError, "gradient_clip must be positive, or None"),
        ({"patience": 3}, ValueError, "patience watches the validation loss"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"precision": "fp4"}, ValueError, "precision must be one of"),
    ],
)
def test_options_out_of_range(
    options: dict[str, object], kind: type[Exception], text: str, rows: Rows, make: Make
) -> None:
    with pytest.raises(kind, match=text):
        fit(make(), rows, **options)  # type: ignore[arg-type]


def test_divergence_is_an_error(rows: Rows, make: Make) -> None:
    with pytest.raises(ValueError, match=r"the training loss became nan in epoch 0, batch 0: the training diverged"):
        fit(make(), rows, epochs=2, loss=lambda distribution, y: -distribution.log_prob(y) * math.nan)


def test_nothing_to_train() -> None:
    with pytest.raises(ValueError, match="no parameter that requires a gradient"):
        fit(nn.Linear(1, 1).requires_grad_(False), (torch.zeros(2, 1), torch.zeros(2, 1)), epochs=1)


def test_a_validation_loss_that_is_no_number_is_refused() -> None:
    """It would be below or above no other, and the first weights would be kept as the best ones."""
    torch.manual_seed(0)
    rows = torch.randn(8, 4, 2), torch.randn(8)

    def loss(output: Any, target: Tensor) -> Tensor:
        value = (output.mean - target).square().mean()
        return value if torch.is_grad_enabled() else value * math.nan

    with pytest.raises(ValueError, match="the validation loss became NaN in epoch 0"):
        fit(SequenceRegressor(2, 3), rows, rows, epochs=3, loss=loss)


def test_an_epoch_that_is_only_as_good_is_no_better(rows: Rows, make: Make) -> None:
    history = fit(make(), rows, rows, epochs=9, schedule=lambda _: 0.0, patience=2)
    assert len(set(history.validation)) == 1
    assert (history.best_epoch, history.epochs, history.stopped_early) == (0, 3, True)


@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), nn.functional.cross_entropy])
def test_a_loss_that_does_not_take_the_target_names_shapes_dtypes_and_the_fix(loss: nn.Module) -> None:
    class OneLogit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.out = layers.LSTM(2, 4, batch_first=True, dropout=0.1), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.rnn(x)[0][:, -1])[:, 0]

    rows = (torch.randn(8, 5, 2), torch.arange(8) % 2)
    with pytest.raises(TypeError, match=r"output of shape \(8,\) \(torch.float32\) and a target of shape \(8,\)"):
        fit(OneLogit(), rows, epochs=1, loss=loss)
