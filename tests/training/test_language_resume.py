"""Training of language models that is stopped: a kill at any moment, Ctrl-C, and checkpoints that do not fit."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bayesrnn import schemes
from bayesrnn.data.vocabulary import Vocabulary
from bayesrnn.models import LanguageModel
from bayesrnn.training import SGD, NonMonotoneAverage, Recipe, StepDecay
from bayesrnn.training.checkpoint import FILE, Checkpoint
from bayesrnn.training.language import train_language_model
from bayesrnn.training.optimizers import Stepper
from tests.training.language_problem import AVERAGED, PLAIN, RULE, language_model, same, stream, weights


@pytest.mark.parametrize(
    "recipe",
    [
        RULE,
        AVERAGED,
        PLAIN,
        replace(RULE, averaging=NonMonotoneAverage(1), keep="best", epochs=4),
        replace(RULE, shift=True),
        replace(RULE, clip=math.inf, batch_size=np.int64(3), carry_state=np.False_),
    ],
)
@pytest.mark.parametrize("stop", [1, 5, 14])
def test_a_training_that_stops_anywhere_goes_on_to_the_same_bits(
    recipe: Recipe, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape: dict[str, Any] = {"dropout": 0.3}
    if recipe is PLAIN:
        shape = {"dropout": schemes.melis(0.3), "cell": "capped_lstm", "sum_layers": True}
    whole, begun, resumed = (LanguageModel(11, 6, 7, 2, init_range=0.3, **shape) for _ in range(3))
    begun.load_state_dict(whole.state_dict())
    expected = train_language_model(whole, stream(), recipe, validation=stream(60))
    taken, step = [0], Stepper.step

    def dies(self: Stepper, rate: float) -> float:
        taken[0] += 1
        if taken[0] > stop:
            raise RuntimeError("the power is gone")
        return step(self, rate)

    options = {"validation": stream(60), "checkpoint": tmp_path, "checkpoint_seconds": 0.0}
    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", dies)
        with pytest.raises(RuntimeError, match="the power is gone"):
            train_language_model(begun, stream(), recipe, **options)
    torch.manual_seed(12345)
    history = train_language_model(resumed, stream(), recipe, **options)
    assert same(weights(whole), weights(resumed))
    for name in ("train", "validation", "rate", "best_epoch"):
        assert getattr(history, name) == getattr(expected, name)


_SCRIPT = """
import sys, torch
sys.path.insert(0, sys.argv[2])
torch.set_num_threads(1)
from tests.training.language_problem import RULE, language_model, stream
from bayesrnn.training.language import train_language_model
from dataclasses import replace
recipe = replace(RULE, epochs=6)
print("ready", flush=True)
train_language_model(language_model(), stream(600), recipe, checkpoint=sys.argv[1], checkpoint_seconds=0.0)
"""


def test_kill_9_in_mid_epoch_and_resume_gives_the_same_bits(tmp_path: Path) -> None:
    recipe = replace(RULE, epochs=6)
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen([sys.executable, "-c", _SCRIPT, str(tmp_path), root], stdout=subprocess.PIPE)
    deadline = time.monotonic() + 120
    found = None
    while found is None or found.numbers["step"] % 39 in (0, 38) or found.numbers["step"] < 20:  # 39 windows an epoch
        assert time.monotonic() < deadline
        assert process.poll() is None, "it was over before it was killed"
        time.sleep(0.002)
        found = Checkpoint.load(tmp_path)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    left = Checkpoint.load(tmp_path)
    assert left is not None
    assert 0 < left.numbers["step"] < 6 * 39
    for stray in tmp_path.iterdir():  # a kill in the middle of writing leaves a temporary file at most
        assert stray.name == FILE or stray.name.startswith(".")
    resumed, whole = language_model(), language_model()
    train_language_model(resumed, stream(600), recipe, checkpoint=tmp_path)
    train_language_model(whole, stream(600), recipe)
    assert same(weights(resumed), weights(whole))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT interrupt, also where the tests run in the background of a shell, which has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_in_mid_step_writes_a_checkpoint_that_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, resumed = language_model(), language_model()
    train_language_model(whole, stream(), RULE)
    step, taken = Stepper.step, [0]

    def interrupted(self: Stepper, rate: float) -> float:
        taken[0] += 1
        if taken[0] == 5:
            signal.raise_signal(signal.SIGINT)  # before the weights change
        return step(self, rate)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_language_model(language_model(), stream(), RULE, checkpoint=tmp_path)
    found = Checkpoint.load(tmp_path)
    assert found is not None
    assert found.numbers["step"] == 5
    train_language_model(resumed, stream(), RULE, checkpoint=tmp_path)
    assert same(weights(whole), weights(resumed))


def test_a_checkpoint_for_another_vocabulary_is_refused_and_left_alone(tmp_path: Path) -> None:
    first = Vocabulary([f"w{i}" for i in range(11)])
    second = Vocabulary([f"v{i}" for i in range(11)])
    train_language_model(language_model(), stream(), RULE, vocabulary=first, checkpoint=tmp_path)
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(ValueError, match="the vocabulary is another one") as error:
        train_language_model(language_model(), stream(), RULE, vocabulary=second, checkpoint=tmp_path)
    assert "\n" not in str(error.value)
    assert (tmp_path / FILE).read_bytes() == before


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    train_language_model(language_model(), stream(), RULE, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"belongs to another training \(seed: 0 there, 1 now\)"):
        train_language_model(language_model(), stream(), RULE, checkpoint=tmp_path, seed=1)
    assert train_language_model(language_model(), stream(), RULE, checkpoint=tmp_path, seed=1, resume=False).epochs == 2


def forget(folder: Path, part: str, *names: str) -> None:
    """Write the checkpoint as a version without these settings would have."""
    point = Checkpoint.load(folder)
    assert point is not None
    for name in names:
        where = point.settings[part]
        for key in name.split(".")[:-1]:
            where = where[key]
        del where[name.split(".")[-1]]
    point.save(folder)


def test_a_checkpoint_older_than_a_setting_counts_as_its_default(tmp_path: Path) -> None:
    train_language_model(language_model(), stream(), AVERAGED, checkpoint=tmp_path)
    forget(tmp_path, "recipe", "shift", "keep", "optimizer.betas")
    forget(tmp_path, "model", "sum_layers", "shared_embeddings")
    history = train_language_model(language_model(), stream(), AVERAGED, checkpoint=tmp_path)
    assert history.epochs == AVERAGED.epochs
    with pytest.raises(ValueError, match=r"another training \(recipe.shift: False there, True now\)"):
        train_language_model(language_model(), stream(), replace(AVERAGED, shift=True), checkpoint=tmp_path)
    forget(tmp_path, "recipe", "window", "batch_size")  # which are not at their defaults
    with pytest.raises(ValueError, match=r"recipe.batch_size: 20 there, .* now; recipe.window: 35 there, .* now"):
        train_language_model(language_model(), stream(), AVERAGED, checkpoint=tmp_path)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="is not a checkpoint of bayesrnn"):
        train_language_model(language_model(), stream(), RULE, checkpoint=tmp_path)


def test_a_finished_training_returns_at_once(tmp_path: Path) -> None:
    history = train_language_model(language_model(), stream(), RULE, checkpoint=tmp_path)
    model = language_model()
    assert train_language_model(model, stream(), RULE, checkpoint=tmp_path) == history


def test_another_text_or_validation_text_is_refused(tmp_path: Path) -> None:
    options = {"checkpoint": tmp_path, "validation": stream(60)}
    train_language_model(language_model(), stream(), RULE, **options)
    with pytest.raises(ValueError, match=r"another training \(the training data is other data\)"):
        train_language_model(language_model(), stream().flip(0), RULE, **options)
    with pytest.raises(ValueError, match="the training data is other data"):
        train_language_model(language_model(), stream(199), RULE, **options)
    for valid in (None, stream(60).flip(0)):
        with pytest.raises(ValueError, match="the validation data is other data, or there is some on one side only"):
            train_language_model(language_model(), stream(), RULE, checkpoint=tmp_path, validation=valid)


def test_a_refusal_names_only_what_differs(tmp_path: Path) -> None:
    train_language_model(language_model(), stream(), RULE, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"\(recipe.epochs: 2 there, 3 now; recipe.optimizer.schedule.rate: 0.5") as e:
        train_language_model(language_model(), stream(), zaremba_like(), checkpoint=tmp_path)
    assert len(str(e.value)) < 400 + len(str(tmp_path))


def test_a_forced_resume_goes_on_with_the_weights(tmp_path: Path) -> None:
    first = train_language_model(language_model(), stream(), RULE, checkpoint=tmp_path)
    options = {"checkpoint": tmp_path, "resume": "force", "seed": 1}
    with pytest.warns(UserWarning, match=r"ignores what differs: recipe.epochs: 2 there, 3 now; .*seed: 0 there, 1"):
        forced = train_language_model(language_model(), stream(), zaremba_like(), **options)
    assert forced.train[:2] == first.train
    assert forced.epochs == 3


def zaremba_like() -> Recipe:
    return replace(RULE, epochs=3, optimizer=SGD(StepDecay(0.4, 1, 2.0), weight_decay=1e-3))


@pytest.mark.parametrize("position", [0.2, 0.5, 0.9, 0.999])
def test_a_flipped_bit_is_refused_by_name(position: float, tmp_path: Path) -> None:
    train_language_model(language_model(), stream(), AVERAGED, checkpoint=tmp_path)
    path = tmp_path / FILE
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"checkpoint\.safetensors is .*Delete it to begin anew") as error:
        train_language_model(language_model(), stream(), AVERAGED, checkpoint=tmp_path)
    assert "\n" not in str(error.value)
