"""A training that was cut short goes on to the same weights; its state holds no code."""

import errno
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bayesrnn._files import locked
from bayesrnn.models import SequenceRegressor
from bayesrnn.training import fit
from bayesrnn.training import loop as loops
from bayesrnn.training.checkpoint import Checkpoint
from tests.training.same_weights import same

Make = Callable[..., SequenceRegressor]
Rows = tuple[Tensor, Tensor]


CHILD = """
import sys, time, torch
from bayesrnn.models import SequenceRegressor
from bayesrnn.training import fit
from safetensors.torch import load_file
from bayesrnn.training.checkpoint import Checkpoint
save = Checkpoint.save
Checkpoint.save = lambda self, folder: (save(self, folder), time.sleep(0.1))  # slow enough to be caught
torch.set_num_threads(1)
torch.manual_seed(3)
model = SequenceRegressor(input_size=1, hidden_size=6, dropout=0.2)
rows = load_file(sys.argv[1])
rows = rows["x"], rows["y"]
fit(model, rows, tuple(r[:9] for r in rows), epochs=5000, batch_size=24, checkpoint=sys.argv[2])
"""


def epochs_done(folder: Path) -> int:
    point = Checkpoint.load(folder)
    return 0 if point is None else point.history.epochs


def test_an_infinite_validation_loss_and_numbers_of_numpy_are_taken_up_again(
    rows: Rows, make: Make, tmp_path: Path
) -> None:
    def loss(distribution: Any, target: Tensor) -> Tensor:
        return (distribution.mean - target).square() * (1.0 if torch.is_grad_enabled() else torch.inf)

    options = {"loss": loss, "batch_size": np.int64(20), "gradient_clip": np.float32(0.5), "seed": np.int64(3)}
    whole, parts = make(), make()
    expected = fit(whole, rows, rows, epochs=2, **options)
    fit(parts, rows, rows, epochs=1, checkpoint=tmp_path, **options)
    assert fit(parts, rows, rows, epochs=2, checkpoint=tmp_path, **options) == expected
    assert expected.validation == (math.inf, math.inf)
    assert same(whole, parts)


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("cut", [1, 3])
def test_two_parts_are_one_whole(rows: Rows, make: Make, tmp_path: Path, cut: int, validated: bool) -> None:
    held_out = (rows[0][:9], rows[1][:9]) if validated else None
    whole, parts = make(), make()
    options = {"batch_size": 20, "learning_rate": 0.01, "weight_decay": 0.01}
    expected = fit(whole, rows, held_out, epochs=5, **options)
    fit(parts, rows, held_out, epochs=cut, checkpoint=tmp_path, **options)
    fresh = make(seed=99)  # the state, not the initial weights, decides
    found = fit(fresh, rows, held_out, epochs=5, checkpoint=tmp_path, **options)
    assert same(whole, fresh)
    assert found == expected


def test_an_optimizer_that_remembers_lists_goes_on_with_them(rows: Rows, tmp_path: Path) -> None:
    def line(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 1), nn.Flatten(0))

    def lbfgs(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.LBFGS(parameters, lr=0.1, max_iter=3, history_size=4)

    whole, parts = line(0), line(1)
    options: dict[str, Any] = {"loss": nn.functional.mse_loss, "batch_size": 48, "optimizer": lbfgs}
    fit(whole, rows, epochs=5, **options)
    fit(line(0), rows, epochs=2, checkpoint=tmp_path, **options)
    fit(parts, rows, epochs=5, checkpoint=tmp_path, **options)
    assert same(whole, parts)


@pytest.mark.parametrize("validated", [False, True])
@pytest.mark.parametrize("stop", [2, 4, 9])
def test_a_long_epoch_goes_on_where_its_checkpoint_was(
    rows: Rows, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int, validated: bool
) -> None:
    """Stopped in step `stop` of epochs of five; with a checkpoint after each step no step is taken twice."""
    monkeypatch.setattr("bayesrnn.training.loop.CHECKPOINT_SECONDS", 0.0)
    held_out = (rows[0][:9], rows[1][:9]) if validated else None
    options = {"batch_size": 10, "learning_rate": 0.01, "weight_decay": 0.01, "epochs": 3}
    whole, parts, fresh = make(), make(), make(seed=99)
    expected = fit(whole, rows, held_out, **options)
    taken, step = [], loops.batch_loss

    def counted(model: nn.Module, *arguments: Any) -> Any:
        if model.training:
            taken.append(model)
            if len(taken) == stop:
                raise KeyboardInterrupt
        return step(model, *arguments)

    monkeypatch.setattr(loops, "batch_loss", counted)
    with pytest.raises(KeyboardInterrupt):
        fit(parts, rows, held_out, checkpoint=tmp_path, **options)
    assert ("begun" in Checkpoint.load(tmp_path).tensors) == (stop % 5 != 1)
    stop = 0
    found = fit(fresh, rows, held_out, checkpoint=tmp_path, **options)
    assert len(taken) == 15 + 1  # the one that was stopped
    assert same(whole, fresh)
    assert found == expected
    assert "begun" not in Checkpoint.load(tmp_path).tensors


def test_killed_in_mid_epoch(rows: Rows, make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    save_file({"x": rows[0], "y": rows[1]}, tmp_path / "rows.safetensors")
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path / "rows.safetensors"), str(folder)])
    try:
        deadline = time.monotonic() + 120
        while epochs_done(folder) < 3:
            assert child.poll() is None, "the training ended before it could be killed"
            assert time.monotonic() < deadline, "no state was written"
            time.sleep(0.02)
    finally:
        child.kill()  # SIGKILL
        child.wait()
    done = epochs_done(folder)
    held_out = (rows[0][:9], rows[1][:9])
    resumed, whole = make(seed=99), make()
    found = fit(resumed, rows, held_out, epochs=done + 2, batch_size=24, checkpoint=folder)
    expected = fit(whole, rows, held_out, epochs=done + 2, batch_size=24)
    assert found == expected
    assert same(resumed, whole)


def test_a_finished_training_is_not_repeated(rows: Rows, make: Make, tmp_path: Path) -> None:
    model, again = make(), make(seed=99)
    history = fit(model, rows, rows, epochs=2, checkpoint=tmp_path)
    written = (tmp_path / "checkpoint.safetensors").stat().st_mtime_ns
    assert fit(again, rows, rows, epochs=2, checkpoint=tmp_path) == history
    assert same(model, again)
    assert (tmp_path / "checkpoint.safetensors").stat().st_mtime_ns == written
    assert not again.training


def test_early_stop_is_remembered(rows: Rows, make: Make, tmp_path: Path) -> None:
    held_out = (rows[0][:16], -rows[1][:16])
    options = {"epochs": 60, "learning_rate": 0.02, "patience": 2, "checkpoint": tmp_path}
    first, second = make(), make(seed=99)
    assert fit(first, rows, held_out, **options) == fit(second, rows, held_out, **options)
    assert same(first, second)


def test_resume_false_begins_anew(rows: Rows, make: Make, tmp_path: Path) -> None:
    fit(make(), rows, epochs=3, checkpoint=tmp_path)
    assert fit(make(), rows, epochs=1, checkpoint=tmp_path, resume=False).epochs == 1
    assert epochs_done(tmp_path) == 1


def test_shared_parameters_survive(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 3, bias=False)
            self.second = nn.Linear(3, 3, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    x = torch.randn(8, 3)
    options = {"loss": nn.functional.mse_loss, "epochs": 4}
    torch.manual_seed(0)
    whole = Tied()
    fit(whole, (x, x), **options)
    torch.manual_seed(0)
    fit(Tied(), (x, x), **(options | {"epochs": 2}), checkpoint=tmp_path)
    resumed = Tied()
    fit(resumed, (x, x), **options, checkpoint=tmp_path)
    assert same(whole, resumed)
    assert resumed.first.weight is resumed.second.weight


def test_a_second_process_is_told_so_and_leftovers_go(rows: Rows, make: Make, tmp_path: Path) -> None:
    leftover = tmp_path / ".checkpoint.part-abcd1234.safetensors"
    leftover.write_bytes(b"half")
    with locked(tmp_path, "a test"), pytest.raises(ValueError, match="is in use: another process is training there"):
        fit(make(), rows, epochs=1, checkpoint=tmp_path)
    assert leftover.exists()
    fit(make(), rows, epochs=1, checkpoint=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_a_disk_that_cannot_be_written_to_is_one_line(
    rows: Rows, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(make(), rows, epochs=1, checkpoint=tmp_path)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(
        ValueError,
        match=r"safetensors \(No space left on device\)\. It needs 0\.1 MB there\. What was there before is untouched",
    ):
        fit(make(), rows, epochs=2, checkpoint=tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="cannot write to the folder"):
        fit(make(), rows, epochs=1, checkpoint=tmp_path / "file")
