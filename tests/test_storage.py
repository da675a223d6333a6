"""Saving and loading: the same weights and predictions, no code, nothing half written, errors in one line."""

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import bayesrnn as br
from bayesrnn import models, schemes, storage
from bayesrnn._documents import sealed_text
from bayesrnn._files import atomic_write
from bayesrnn.inference import predict
from bayesrnn.predictive import Predictive
from bayesrnn.recalibration import VarianceScaling


def same(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


def weights_of(folder: Path) -> Path:
    (weights,) = folder.glob("weights-*.safetensors")
    return weights


MODELS = {
    "regressor": lambda: models.SequenceRegressor(3, 8, 2, outputs=2, dropout=0.2, likelihood="student_t"),
    "naive": lambda: models.SequenceRegressor(3, 8, dropout=schemes.naive(0.3), likelihood="homoscedastic"),
    "classifier": lambda: models.SequenceClassifier(vocabulary=9, hidden_size=4, classes=3, dropout=schemes.moon(0.1)),
    "forecaster": lambda: models.Forecaster(24, 6, period=12, hidden_size=4, dropout=schemes.gal(0.1, gates="tied")),
    "translator": lambda: models.EncoderDecoder(30, 20, 4, 6, dropout=0.3),
    "language": lambda: models.LanguageModel(30, 4, 6, dropout=0.3),
    "shared": lambda: models.LanguageModel(30, 6, 6, dropout=0.3, shared_embeddings=True),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_model_comes_back(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    storage.save(model, tmp_path / "model")
    state = torch.get_rng_state()
    back = storage.load(tmp_path / "model")
    assert torch.equal(state, torch.get_rng_state())
    assert type(back) is type(model)
    assert same(model, back)
    assert back.config() == model.config()
    assert not any(module.training for module in back.modules())
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["model.json", weights_of(tmp_path / "model").name]
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_predictions_are_the_same_to_the_bit(tmp_path: Path) -> None:
    model = MODELS["regressor"]()
    x = torch.randn(4, 6, 3)
    model.standardize(x, torch.randn(4, 2) * 5 + 300)
    storage.save(model, tmp_path / "model")
    first, second = (predict(m, x, draws=16, seed=1) for m in (model.eval(), storage.load(tmp_path / "model")))
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.variance, second.variance)


def test_shared_embeddings_are_written_once_and_stay_shared(tmp_path: Path) -> None:
    sizes = {}
    for shared in (False, True):
        model = models.LanguageModel(2000, 8, 8, 1, shared_embeddings=shared)
        storage.save(model, tmp_path / f"{shared}")
        sizes[shared] = weights_of(tmp_path / f"{shared}").stat().st_size
    assert sizes[False] - sizes[True] == pytest.approx(2000 * 8 * 4, abs=200)

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(500, 4)
            self.decoder = nn.Linear(4, 500)
            self.decoder.weight = self.embedding.weight

    tied = Tied()
    storage.save_weights(tied, tmp_path / "tied.safetensors")
    assert (tmp_path / "tied.safetensors").stat().st_size < 500 * 4 * 4 + 500 * 4 + 1000
    back = storage.load_weights(Tied(), tmp_path / "tied.safetensors")
    assert same(tied, back)
    assert back.decoder.weight is back.embedding.weight


def test_dtype_is_kept(tmp_path: Path) -> None:
    model = MODELS["regressor"]().double()
    storage.save(model, tmp_path / "model")
    assert same(model, storage.load(tmp_path / "model"))


def test_recalibration_and_seed_are_kept(tmp_path: Path) -> None:
    target = torch.randn(60)
    predictive = Predictive.from_gaussian(torch.zeros(60), torch.full((60,), 3.0))
    fitted = VarianceScaling().fit(predictive, target)
    storage.save(MODELS["regressor"](), tmp_path / "model", recalibration=fitted, seed=7)
    back = storage.load_recalibration(tmp_path / "model")
    assert isinstance(back, VarianceScaling)
    assert torch.equal(back.apply(predictive).std, fitted.apply(predictive).std)
    assert float(back.apply(predictive).std[0]) == pytest.approx(float(target.square().mean().sqrt()), rel=0.01)
    assert storage.read_card(tmp_path / "model")["seed"] == 7
    storage.save(MODELS["regressor"](), tmp_path / "model")
    assert storage.load_recalibration(tmp_path / "model") is None


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"name": "oracle"}, r"model\.json does not describe a recalibrator: no recalibrator is called 'oracle'"),
        ({"name": "variance_scaling", "settings": {"wheels": 4}}, "VarianceScaling: missing parameters; unknown none"),
    ],
)
def test_recalibrators_that_cannot_be_read(data: dict[str, object], text: str, tmp_path: Path) -> None:
    storage.save(MODELS["regressor"](), tmp_path / "model")
    edit(tmp_path / "model", recalibration=data)
    with pytest.raises(ValueError, match=text):
        storage.load_recalibration(tmp_path / "model")


def test_overwrites_its_own_and_nothing_else(tmp_path: Path) -> None:
    first, second = MODELS["regressor"](), MODELS["classifier"]()
    storage.save(first, tmp_path / "model")
    storage.save(second, tmp_path / "model")
    assert same(second, storage.load(tmp_path / "model"))
    (tmp_path / "empty").mkdir()
    storage.save(first, tmp_path / "empty")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("all of it")
    (tmp_path / "file").write_text("x")
    for name in ("precious", "file"):
        with pytest.raises(ValueError, match="exists and is not a saved model; it is left alone"):
            storage.save(first, tmp_path / name)
    assert (tmp_path / "precious" / "thesis.tex").read_text() == "all of it"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "file", "model", "precious"]


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


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    storage.save(MODELS["regressor"](), tmp_path / "model")
    assert (tmp_path / "model" / "model.json").stat().st_mode & stat.S_IRUSR
    plain = tmp_path / "plain"
    plain.write_text("")
    assert weights_of(tmp_path / "model").stat().st_mode == plain.stat().st_mode


def test_ones_own_module_is_told_what_to_do(tmp_path: Path) -> None:
    class SequenceRegressor(nn.Linear):  # not ours, whatever its name
        pass

    for module in (nn.Linear(2, 1), SequenceRegressor(2, 1)):
        with pytest.raises(TypeError, match=r"is not one of bayesrnn's own models .*save_weights\(model, path\)"):
            storage.save(module, tmp_path / "model")
    assert not list(tmp_path.iterdir())
    module, other = nn.Linear(2, 1), nn.Linear(2, 1)
    storage.save_weights(module, tmp_path / "net.safetensors")
    assert storage.load_weights(other, tmp_path / "net.safetensors") is other
    assert same(module, other)


def test_state_that_is_no_tensor(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def get_extra_state(self) -> str:
            return "text"

    with pytest.raises(TypeError, match="'_extra_state' is a str; only tensors can be kept"):
        storage.save_weights(Odd(), tmp_path / "odd.safetensors")
    assert not list(tmp_path.iterdir())


def edit(folder: Path, **changes: object) -> None:
    """Change a card as somebody would who knows the format: with a digest that fits."""
    file = folder / "model.json"
    card = json.loads(file.read_text()) | changes
    kind = card.pop("format")
    del card["digest"]
    file.write_text(sealed_text(kind, card))


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


def test_weights_of_another_module(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1, 2), "extra": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"missing \['bias'\], foreign \['extra'\], other shapes none"):
        storage.load_weights(nn.Linear(2, 1), tmp_path / "x.safetensors")


def test_sizes_that_are_numpy_numbers_are_kept_as_plain_ones(tmp_path: Path) -> None:
    model = models.SequenceRegressor(np.int64(3), np.int32(8), dropout=np.float32(0.25))
    storage.save(model, tmp_path / "model")
    assert same(storage.load(tmp_path / "model"), model)


def test_learned_rates_are_kept(tmp_path: Path) -> None:
    wrapped = br.nn.ConcreteDropout(br.models.SequenceRegressor(input_size=1, hidden_size=4, dropout=0.1))
    with torch.no_grad():
        for number, logit in enumerate(wrapped.logits.values()):
            logit.fill_(number - 1.0)
    model, x = wrapped.settle().eval(), torch.randn(3, 5, 1)
    br.save(model, tmp_path / "model")
    again = br.load(tmp_path / "model")
    assert [s.rate for s in br.audit(again).sites] == [s.rate for s in br.audit(model).sites]
    assert len({s.rate for s in br.audit(again).sites}) == 3
    assert torch.equal(br.predict(model, x, draws=16).mean, br.predict(again, x, draws=16).mean)
    card = json.loads((tmp_path / "model" / "model.json").read_text())
    edit(tmp_path / "model", rates=json.loads(json.dumps(card["rates"]).replace("encoder.dropout", "encoder.other")))
    with pytest.raises(ValueError, match=r"rates that do not fit its model: .*encoder.other"):
        br.load(tmp_path / "model")


def test_who_reads_the_old_file_sees_nothing_of_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "numbers.txt"
    atomic_write(path, "1 2 3")
    with path.open() as reader:
        atomic_write(path, b"4 5 6 7")
        assert reader.read() == "1 2 3"
    assert path.read_text() == "4 5 6 7"


def test_a_writer_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "numbers.txt"
    atomic_write(path, "1 2 3")

    def fails(place: Path) -> None:
        place.write_text("4 5")
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        atomic_write(path, fails)
    assert [p.name for p in tmp_path.iterdir()] == ["numbers.txt"]
    assert path.read_text() == "1 2 3"


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
