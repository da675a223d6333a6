"""Saved models that are damaged, cut short or made up are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bayesrnn import models, storage
from tests.storage.examples import MODELS, edit, same, weights_of


def test_a_failed_save_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = MODELS["regressor"](), MODELS["classifier"]()
    storage.save(first, tmp_path / "model")

    def broken(*arguments: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("bayesrnn.storage.weights.Packed.write", broken)
    with pytest.raises(OSError, match="the disk is full"):
        storage.save(second, tmp_path / "model")
    monkeypatch.undo()
    assert same(first, storage.load(tmp_path / "model"))
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_save_that_stops_anywhere_leaves_one_whole_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call that changes files fails once; afterwards the old or the new model is there, and saving works again."""
    import os

    first, second = MODELS["regressor"](), MODELS["classifier"]()
    folder = tmp_path / "model"
    calls = 0

    def failing_at(number: int, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                raise KeyboardInterrupt
            return function(*arguments, **options)

        return call

    outcomes = set()
    for number in range(1, 20):
        storage.save(first, folder)
        calls = 0
        with monkeypatch.context() as patch:
            for name in ("replace", "unlink", "chmod"):
                patch.setattr(os, name, failing_at(number, getattr(os, name)))
            try:
                storage.save(second, folder)
            except KeyboardInterrupt:
                pass
            else:
                break
        back = storage.load(folder)
        outcomes.add(type(back).__name__)
        assert same(back, first if isinstance(back, models.SequenceRegressor) else second)
    assert number > 3
    assert outcomes == {"SequenceRegressor", "SequenceClassifier"}
    assert same(storage.load(folder), second)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("where", ["model.json", "weights"])
def test_no_flipped_bit_loads(where: str, tmp_path: Path) -> None:
    model = MODELS["shared"]()
    storage.save(model, tmp_path / "model", recalibration=None, seed=3)
    file = tmp_path / "model" / "model.json" if where == "model.json" else weights_of(tmp_path / "model")
    whole = file.read_bytes()
    for position in np.random.default_rng(0).integers(0, 8 * len(whole), 400):
        changed = bytearray(whole)
        changed[position // 8] ^= 1 << (position % 8)
        file.write_bytes(changed)
        with pytest.raises(ValueError, match=str(tmp_path)):
            storage.load(tmp_path / "model")
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=str(tmp_path)):
        storage.load(tmp_path / "model")


def test_weights_of_another_save_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        storage.save(MODELS["regressor"](), tmp_path / name)
    weights_of(tmp_path / "a").write_bytes(weights_of(tmp_path / "b").read_bytes())
    with pytest.raises(ValueError, match="is damaged: its content is not what was written"):
        storage.load(tmp_path / "a")


def test_a_flipped_weight_is_refused_in_a_file_of_weights(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    storage.save_weights(nn.Linear(2, 1), path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        storage.load_weights(nn.Linear(2, 1), path)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"input_size": 3, "hidden_size": 9_000_000}, "do not fit this SequenceRegressor"),
        ({"input_size": 3, "hidden_size": 8, "num_layers": 1_000_000}, "says 1,000,000 layers"),
        ({"input_size": 3, "hidden_size": 10**400}, "does not describe a SequenceRegressor"),
    ],
)
def test_sizes_are_held_against_the_weights_before_memory_is_taken(
    changes: dict[str, object], text: str, tmp_path: Path
) -> None:
    import time
    import tracemalloc

    storage.save(models.SequenceRegressor(3, 8), tmp_path / "model")
    edit(tmp_path / "model", config=changes)
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(ValueError, match=text):
        storage.load(tmp_path / "model")
    assert tracemalloc.get_traced_memory()[1] < 50e6
    assert time.perf_counter() - start < 5
    tracemalloc.stop()


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": NaN}', '{"a": 1e999}', "9" * 5000])
def test_json_that_python_takes_and_nobody_wrote(content: str, tmp_path: Path) -> None:
    storage.save(models.SequenceRegressor(3, 8), tmp_path / "model")
    (tmp_path / "model" / "model.json").write_text(content)
    with pytest.raises(ValueError, match=r"model\.json is not JSON"):
        storage.load(tmp_path / "model")


def test_keys_of_a_card_are_those_that_were_written(tmp_path: Path) -> None:
    storage.save(models.SequenceRegressor(3, 8), tmp_path / "model", seed=1)
    file = tmp_path / "model" / "model.json"
    file.write_text(file.read_text().replace('"seed"', '"seet"'))
    with pytest.raises(ValueError, match=r"lacks 'seed' and has the unknown 'seet'"):
        storage.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format": "other"}, "does not describe a model of bayesrnn"),
        ({"format": "bayesrnn.model/1"}, "has the format version 1, but this bayesrnn reads 2"),
        (
            {"class": "Oracle"},
            "holds a 'Oracle', which this version does not know; it knows EncoderDecoder, Forecaster, ",
        ),
        ({"class": "os.system"}, "holds a 'os.system', which this version does not know"),
        ({"class": None}, "lacks class, config or weights"),
        ({"config": [1]}, "lacks class, config or weights"),
        ({"wheels": 4}, "has the unknown 'wheels': it is not what was written"),
        ({"config": {"wheels": 4}}, "does not describe a SequenceRegressor: .*unexpected keyword argument 'wheels'"),
        ({"config": {"input_size": 3, "hidden_size": 0}}, "does not describe a SequenceRegressor: hidden_size must"),
        ({"config": {"input_size": 3, "hidden_size": 9}}, "do not fit this SequenceRegressor: .*other shapes"),
    ],
)
def test_cards_that_cannot_be_read(changes: dict[str, object], text: str, tmp_path: Path) -> None:
    storage.save(models.SequenceRegressor(3, 8), tmp_path / "model")
    edit(tmp_path / "model", **changes)
    with pytest.raises(ValueError, match=text) as error:
        storage.load(tmp_path / "model")
    assert "\n" not in str(error.value)


def test_files_that_are_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no saved model"):
        storage.load(tmp_path)
    with pytest.raises(ValueError, match=r"the folder .* does not exist"):
        storage.save(models.SequenceRegressor(3, 8), tmp_path / "no" / "model")
    folder = tmp_path / "model"
    storage.save(models.SequenceRegressor(3, 8), folder)
    weights_of(folder).write_bytes(b"\x80\x04pickle")
    with pytest.raises(ValueError, match=r"is not a safetensors file that can be read .* is a pickle"):
        storage.load(folder)
    weights_of(folder).unlink()
    with pytest.raises(ValueError, match=r"there is no file .*weights-"):
        storage.load(folder)
    for content in (b"{", b"\xff\xfe"):
        (folder / "model.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.json is not JSON"):
            storage.load(folder)
    (folder / "model.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="does not describe a model of bayesrnn"):
        storage.load(folder)


def test_a_changed_bit_of_a_boolean_is_refused_though_it_is_still_true(tmp_path: Path) -> None:
    net, path = torch.nn.Module(), tmp_path / "net.safetensors"
    net.register_buffer("mask", torch.ones(67, dtype=torch.bool))
    storage.save_weights(net, path)
    whole = path.read_bytes()
    for place in (1, 40, 67):
        changed = bytearray(whole)
        changed[-place] ^= 16
        path.write_bytes(bytes(changed))
        with pytest.raises(ValueError, match="is damaged"):
            storage.load_weights(net, path)
    path.write_bytes(whole)
    assert bool(storage.load_weights(net, path).mask.all())
