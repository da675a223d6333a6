"""Saving and loading: the same weights and predictions, no code, nothing half written, errors in one line."""

import json
import stat
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import bayesrnn as br
from bayesrnn import models, storage
from bayesrnn._files import atomic_write
from bayesrnn.inference import predict
from bayesrnn.predictive import Predictive
from bayesrnn.recalibration import VarianceScaling
from tests.storage.examples import MODELS, edit, same, weights_of


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
