"""Checkpoints of another training, and files that are none."""

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import bayesrnn as br
from bayesrnn.models import SequenceRegressor
from bayesrnn.training import fit, train_language_model
from bayesrnn.training.resume import source_of
from tests.training.language_problem import RULE, language_model, stream

Make = Callable[..., SequenceRegressor]
Rows = tuple[Tensor, Tensor]


def halved(epoch: int) -> float:
    return 0.5**epoch


def squared(distribution: torch.distributions.Distribution, target: Tensor) -> Tensor:
    return (distribution.mean - target).square()


def sgd(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.001)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"batch_size": 7}, "batch_size: 32 there, 7 now"),
        ({"learning_rate": 0.5}, "optimizer.lr: 0.001 there, 0.5 now"),
        ({"weight_decay": 0.5}, "optimizer.weight_decay: 0.0 there, 0.5 now"),
        ({"optimizer": sgd}, "optimizer.name: 'AdamW' there, 'SGD' now"),
        ({"schedule": halved}, r"schedule: None there, \[1.0, 0.5, 0.25\] now"),
        ({"loss": squared}, r"loss: None there, 'squared \(.*\)' now"),
    ],
)
def test_another_training_is_refused_unless_forced(
    rows: Rows, make: Make, tmp_path: Path, changed: dict[str, Any], named: str
) -> None:
    first = fit(make(), rows, epochs=2, checkpoint=tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with pytest.raises(ValueError, match=f"belongs to another training .*{named}.* It is left as it is"):
        fit(make(), rows, epochs=3, checkpoint=tmp_path, **changed)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    with pytest.warns(UserWarning, match=f"ignores what differs: .*{named}"):
        forced = fit(make(), rows, epochs=3, checkpoint=tmp_path, resume="force", **changed)
    assert forced.train[:2] == first.train
    assert fit(make(), rows, epochs=3, checkpoint=tmp_path, **changed) == forced  # it is now that training's


@pytest.mark.parametrize(
    ("there", "now", "same"),
    [
        (lambda e: 0.9**e, lambda e: 0.9**e, True),  # a longer training of the same schedule
        (lambda e: 0.9**e, lambda e: 0.8**e, False),
        (lambda e: 1.0, None, False),
    ],
)
def test_a_schedule_is_known_by_its_values(
    rows: Rows, make: Make, tmp_path: Path, there: Any, now: Any, same: bool
) -> None:
    fit(make(), rows, epochs=2, schedule=there, checkpoint=tmp_path)
    if same:
        assert fit(make(), rows, epochs=4, schedule=now, checkpoint=tmp_path).epochs == 4
        return
    with pytest.raises(ValueError, match="schedule: "):
        fit(make(), rows, epochs=4, schedule=now, checkpoint=tmp_path)


def test_losses_are_known_by_their_code_and_what_they_hold() -> None:
    def power(k: float) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda output, target: (output - target).abs() ** k

    assert source_of(power(2.0)) == source_of(power(2.0))
    assert source_of(power(2.0)) != source_of(power(3.0))
    assert source_of(partial(nn.functional.huber_loss, delta=1.0)) != source_of(
        partial(nn.functional.huber_loss, delta=2.0)
    )
    assert source_of(lambda output, target: output - target) != source_of(lambda output, target: target - output)
    assert source_of(nn.HuberLoss()) == source_of(nn.HuberLoss())


def test_other_rates_and_frozen_weights_are_refused(rows: Rows, make: Make, tmp_path: Path) -> None:
    fit(make(), rows, epochs=1, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"input_l0: '0\.2 per sequence, gates untied' there, '0\.3 per sequence"):
        fit(make(0.3), rows, epochs=2, checkpoint=tmp_path)
    frozen = make()
    next(frozen.parameters()).requires_grad_(False)
    with pytest.raises(ValueError, match="other parameters are frozen"):
        fit(frozen, rows, epochs=2, checkpoint=tmp_path)


def test_a_loader_is_known_by_its_rows(rows: Rows, make: Make, tmp_path: Path) -> None:
    fit(make(), DataLoader(TensorDataset(*rows), 16), epochs=1, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="the training data is other data"):
        fit(make(), DataLoader(TensorDataset(rows[0], rows[1] + 1), 16), epochs=2, checkpoint=tmp_path)
    assert fit(make(), DataLoader(TensorDataset(*rows), 16), epochs=2, checkpoint=tmp_path).epochs == 2


def test_learned_rates_do_not_stand_in_the_way(rows: Rows, make: Make, tmp_path: Path) -> None:
    model = br.nn.ConcreteDropout(make(0.2))
    fit(model, rows, epochs=2, learning_rate=0.1, checkpoint=tmp_path)
    model.eval()(rows[0])
    assert fit(model, rows, epochs=3, learning_rate=0.1, checkpoint=tmp_path).epochs == 3


def test_other_rows_and_other_models_are_refused(rows: Rows, make: Make, tmp_path: Path) -> None:
    fit(make(), rows, epochs=1, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"belongs to another training \(the training data is other data\)"):
        fit(make(), (rows[0], rows[1] + 1), epochs=2, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"belongs to another training .*the parameters have other"):
        fit(SequenceRegressor(input_size=1, hidden_size=7, dropout=0.2), rows, epochs=2, checkpoint=tmp_path)


def test_foreign_files_are_refused(rows: Rows, make: Make, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"no tensors here")
    with pytest.raises(ValueError, match="is not a checkpoint of bayesrnn"):
        fit(make(), rows, epochs=1, checkpoint=tmp_path)
    save_file({"weights/x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="is not a checkpoint of bayesrnn"):
        fit(make(), rows, epochs=1, checkpoint=tmp_path)
    text = json.dumps({"format": "bayesrnn.checkpoint/99"})
    save_file({"weights/x": torch.zeros(1)}, path, {"training": text, "digest": ""})
    with pytest.raises(ValueError, match=r"has the format 'bayesrnn\.checkpoint/99', but this version reads"):
        fit(make(), rows, epochs=1, checkpoint=tmp_path)
    assert fit(make(), rows, epochs=1, checkpoint=tmp_path, resume=False).epochs == 1


def test_a_checkpoint_of_the_other_kind_of_training_is_refused(rows: Rows, make: Make, tmp_path: Path) -> None:
    train_language_model(language_model(), stream(), RULE, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="trained by: 'train_language_model' there, 'fit' now"):
        fit(make(), rows, epochs=1, checkpoint=tmp_path)
