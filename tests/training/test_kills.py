"""Trainings killed at random moments, again and again, end with the weights of one that was not."""

import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bayesrnn.models import SequenceRegressor
from bayesrnn.training import fit, train_language_model
from bayesrnn.training.checkpoint import FILE, Checkpoint
from tests.training.language_problem import AVERAGED, language_model, stream

EPOCHS = 30


def fitted(folder: Path | None) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    model = SequenceRegressor(input_size=1, hidden_size=6, dropout=0.2)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 5, 1, generator=generator)
    rows = x, x.sum((1, 2))
    fit(model, rows, (x[:9], rows[1][:9]), epochs=EPOCHS, batch_size=8, checkpoint=folder, progress=False)
    return model.state_dict()


def read(folder: Path | None) -> dict[str, torch.Tensor]:
    model = language_model()
    options = {"checkpoint": folder, "checkpoint_seconds": 0.0, "progress": False}
    train_language_model(model, stream(300), replace(AVERAGED, epochs=EPOCHS), stream(60), **options)
    return model.state_dict()


CHILD = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
import torch; torch.set_num_threads(1)
from tests.training import test_kills
getattr(test_kills, sys.argv[2])(Path(sys.argv[3]))
"""


def written(folder: Path) -> int:
    path = folder / FILE
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("training", [fitted, read])
def test_kills_at_random_moments_change_no_bit(
    training: Callable[[Path | None], dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    draw, root, name = random.Random(0), str(Path(__file__).parents[2]), training.__name__
    killed, done = 0, -1
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", CHILD, root, name, str(tmp_path)], stderr=subprocess.PIPE)
        before = written(tmp_path)
        while process.poll() is None and written(tmp_path) == before:
            time.sleep(0.005)
        time.sleep(draw.uniform(0.0, 0.3))
        alive = process.poll() is None
        process.kill()
        error = process.communicate()[1].decode()
        killed += alive
        assert alive or process.returncode == 0, error
        point = Checkpoint.load(tmp_path)  # readable after every kill
        assert point is not None
        assert point.history.epochs >= done
        done = point.history.epochs
        if not alive:
            break
    assert killed >= 2
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    resumed, whole = training(tmp_path), training(None)
    torch.set_num_threads(threads)
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
