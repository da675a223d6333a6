"""The experiments run on another device and give the CPU's figures."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from bayesrnn.data.vocabulary import EOS, UNK, Vocabulary
from evaluation import records, shift_language
from evaluation.penn_treebank.__main__ import _tiny_corpus
from evaluation.penn_treebank.rows import rows
from evaluation.penn_treebank.run import Plan, run_row
from evaluation.sentiment.corpus import synthetic_split
from evaluation.sentiment.scoring import score
from evaluation.sentiment.training import Run, Settings, train
from evaluation.sentiment.variants import main_variants
from tests.simulated_device import moved, simulated_device


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The simulated device, to which `module.to` leads as well."""
    to = nn.Module.to

    def to_there(module: nn.Module, *given: Any, **options: Any) -> nn.Module:
        far = given and isinstance(given[0], torch.device) and given[0].type == device.type
        return moved(module) if far else to(module, *given, **options)

    with simulated_device() as device:
        monkeypatch.setattr(nn.Module, "to", to_there)
        monkeypatch.setattr("bayesrnn.inference.inputs.free_memory", lambda model: 2**30)  # CUDA would be asked
        yield device


@pytest.mark.parametrize("name", ["naive", "gal-tied"])
def test_a_row_of_the_treebank(name: str, there: torch.device, tmp_path: Path) -> None:
    row = next(r for r in rows("gal", "small", epochs=1, precision=None) if r.name == name)
    row = replace(row, recipe=replace(row.recipe, window=10, batch_size=4))
    corpus = _tiny_corpus()
    corpus = replace(corpus, parts={part: tokens[:60] for part, tokens in corpus.parts.items()})
    found = []
    for device in (torch.device("cpu"), there):
        where = tmp_path / device.type
        plan = Plan("gal", "small", corpus, where, where, draws=16, units=4, progress=False, device=device)
        (path,) = run_row(plan, row)
        found.append(records.load(path.stem, where)["scores"])
    near, far = ({k: v for k, v in scores.items() if isinstance(v, float)} for scores in found)
    assert far == pytest.approx(near, rel=1e-4, abs=1e-7)  # entropies cancel: their rounding is absolute


@pytest.mark.filterwarnings("ignore:only .* independent sequences")  # a tiny corpus
@pytest.mark.slow
@pytest.mark.parametrize("variant", ["gal", "gal_variance"])
def test_a_sentiment_network(variant: str, there: torch.device, tmp_path: Path) -> None:
    split = synthetic_split("sound", 30, 10)
    settings = Settings(
        epochs=1, batch=32, draws=16, draws_every=1, draws_final=16, measured=20, units=4, bfloat16=False
    )
    found = []
    for device in (torch.device("cpu"), there):
        folder = tmp_path / device.type
        run = Run("gru", main_variants()[variant], split, 0, settings, folder, folder / "state", device)
        record = train(run)
        found.append((record["epochs"][0]["test"], record["epochs"][0]["test_mc"], score(run)["scores"]["last"]["mc"]))
    (near, near_mc, near_scores), (far, far_mc, far_scores) = found
    assert (far, far_mc) == pytest.approx((near, near_mc), rel=1e-3)
    for name in ("rmse", "nll", "crps"):
        assert far_scores[name] == pytest.approx(near_scores[name], rel=1e-3)


def test_entropy_gaps(there: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift_language, "_precision", lambda device: None)  # it has no autocast
    vocabulary = Vocabulary([EOS, UNK, *[f"w{i}" for i in range(18)]])
    torch.manual_seed(0)
    near = shift_language.LanguageModel(20, 4, 4, 1, dropout=shift_language.schemes.gal(0.1), init_range=0.3)
    tokens = _tiny_corpus()["test"][:60]
    far = moved(shift_language.LanguageModel(20, 4, 4, 1, dropout=shift_language.schemes.gal(0.1)))
    with torch.no_grad():
        for a, b in zip(far.parameters(), near.parameters()):
            a.copy_(b)
    gaps = [
        shift_language.shifts(model, vocabulary, tokens, {"other": tokens.flip(0)}, 16)["reversed_gap_nats"]
        for model in (near, far)
    ]
    assert gaps[1] == pytest.approx(gaps[0], abs=1e-5)
