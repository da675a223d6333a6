"""What runs on a CPU runs on another device: no tensor is left behind, and the numbers are the same."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bayesrnn as br
from bayesrnn.training import (
    SGD,
    AdamW,
    Cosine,
    ExponentialAverage,
    History,
    NonMonotoneAverage,
    Recipe,
    StepDecay,
    train_language_model,
)
from tests.simulated_device import Elsewhere, moved, simulated_device

SCHEMES = {
    "tied": br.schemes.gal(0.3, gates="tied"),
    "untied": br.schemes.gal(0.3),
    "naive": br.schemes.naive(0.3),
    "zaremba": br.schemes.zaremba(0.3),
    "moon": br.schemes.moon(0.3),
    "semeniuta": br.schemes.semeniuta(0.3),
    "weight_drop": br.schemes.weight_drop(0.3),
    "zoneout": br.schemes.zoneout(0.3, 0.2),
}


@pytest.fixture
def there() -> Iterator[torch.device]:
    with simulated_device() as device:
        yield device


def here(value: Any) -> Tensor:
    """A result that came from there, checked to have been there."""
    assert isinstance(value, Elsewhere)
    return value.detach().cpu()


def pair(module: nn.Module) -> tuple[nn.Module, nn.Module]:
    return module, moved(copy.deepcopy(module))


def test_the_device_refuses_what_a_gpu_would(there: torch.device) -> None:
    far = torch.ones(3, device=there)
    assert far.device.type == there.type
    assert float((far + 1).sum()) == 6.0
    with pytest.raises(RuntimeError, match="same device"):
        far + torch.ones(3)
    with pytest.raises(TypeError, match="copy it to the CPU"):
        far.numpy()


@pytest.mark.parametrize("lengths", [None, [3, 5, 1, 4]])
@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_layers_forth_and_back(kind: str, name: str, lengths: list[int] | None, there: torch.device) -> None:
    if kind == "GRU" and name == "moon":
        pytest.skip("a GRU has no memory cell")
    scheme = br.schemes.zoneout(hidden=0.2) if (kind, name) == ("GRU", "zoneout") else SCHEMES[name]
    near, far = pair(getattr(br.nn, kind)(3, 4, 2, batch_first=True, dropout=scheme, bidirectional=True))
    x = torch.randn(4, 5, 3)
    results = []
    for layer, given in ((near, x), (far, x.to(there))):
        torch.manual_seed(0)
        out, _ = layer.train()(given, lengths=lengths)
        out.square().sum().backward()
        results.append([out, *[p.grad for p in layer.parameters()]])
    for ours, theirs in zip(*results):
        torch.testing.assert_close(ours, here(theirs))


@pytest.mark.parametrize(
    "options", [{}, {"sharing": "pass"}, {"sampling": "independent"}, {"tolerance": 0.01}, {"keep_draws": False}]
)
def test_predict(options: dict[str, Any], there: torch.device) -> None:
    torch.manual_seed(0)
    near, far = pair(br.models.SequenceRegressor(input_size=2, hidden_size=6, dropout=0.2))
    x, y = torch.randn(3, 4, 2), torch.randn(3)
    ours, theirs = (br.predict(m, v, draws=32, max_memory=2**18, **options) for m, v in ((near, x), (far, x.to(there))))
    for name in ("mean", "variance", "epistemic", "standard_error"):
        torch.testing.assert_close(getattr(ours, name), here(getattr(theirs, name)))
    if not options.get("keep_draws", True):
        return
    torch.testing.assert_close(ours.interval(0.9)[0], here(theirs.interval(0.9)[0]))
    torch.testing.assert_close(ours.log_prob(y), here(theirs.log_prob(y.to(there))))
    for metric in (br.metrics.crps, br.metrics.nll, br.metrics.coverage):
        extra = {"level": 0.8} if metric is br.metrics.coverage else {}
        assert metric(ours, y, **extra).value == pytest.approx(metric(theirs, y.to(there), **extra).value)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_classes_of_token_sequences(cell: str, there: torch.device) -> None:
    near, far = pair(br.models.SequenceClassifier(vocabulary=9, hidden_size=6, classes=3, dropout=0.3, cell=cell))
    x, y, lengths = torch.randint(9, (4, 4)), torch.randint(3, (4,)), torch.tensor([4, 2, 1, 3])
    ours = br.predict(near, x, lengths=lengths, draws=16, max_memory=2**20)
    theirs = br.predict(far, x.to(there), lengths=lengths.to(there), draws=16, max_memory=2**20)
    torch.testing.assert_close(ours.probabilities, here(theirs.probabilities))
    assert br.metrics.accuracy(ours, y).value == br.metrics.accuracy(theirs, y.to(there)).value


@pytest.mark.slow
def test_compare(there: torch.device) -> None:
    near, far = pair(br.models.SequenceRegressor(input_size=1, hidden_size=4, dropout=0.2))
    x, y = torch.randn(12, 4, 1), torch.randn(12)
    ours = br.compare(near, x, target=y, draws=32, curve=False)
    theirs = br.compare(far, x.to(there), target=y.to(there), draws=32, curve=False, max_memory=2**20)
    columns = ["value", "reference_value", "difference"]
    assert theirs.table[columns].to_numpy() == pytest.approx(ours.table[columns].to_numpy(), rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_a_report(there: torch.device) -> None:
    near, far = pair(br.models.SequenceClassifier(input_size=2, hidden_size=6, classes=3, dropout=0.3))
    x, y = torch.randn(20, 4, 2), torch.randint(3, (20,))
    ours, theirs = (br.predict(m, v, draws=16, max_memory=2**20) for m, v in ((near, x), (far, x.to(there))))
    here_table, there_table = (br.calibration_report(p, t).table for p, t in ((ours, y), (theirs, y.to(there))))
    assert there_table["value"].tolist() == pytest.approx(here_table["value"].tolist(), nan_ok=True)


def language(shared: bool = False) -> br.models.LanguageModel:
    torch.manual_seed(0)
    return br.models.LanguageModel(11, 6, 6, 2, dropout=0.3, shared_embeddings=shared, init_range=0.3)


@pytest.mark.parametrize("words", [True, False])
@pytest.mark.parametrize("lifetime", ["stream", "window"])
def test_perplexity_and_generation(lifetime: str, words: bool, there: torch.device) -> None:
    near, far = pair(language())
    tokens = torch.arange(60) % 11
    options: dict[str, Any] = {"draws": 32, "lifetime": lifetime, "drop_words": words, "batch_size": 2, "window": 7}
    ours, theirs = br.perplexity(near, tokens, **options), br.perplexity(far, tokens, **options)
    torch.testing.assert_close(ours.log_prob, here(theirs.log_prob))
    torch.testing.assert_close(ours.epistemic, here(theirs.epistemic))
    assert theirs.standard_error == pytest.approx(ours.standard_error, rel=1e-4)
    assert br.generate(far, [1, 2], length=6).tokens.tolist() == br.generate(near, [1, 2], length=6).tokens.tolist()


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(3, SGD(StepDecay(0.5, 1, 2.0), weight_decay=1e-3), batch_size=3, window=5, keep="best"),
        Recipe(3, AdamW(Cosine(0.01)), batch_size=3, window=5, averaging=ExponentialAverage(0.9)),
        Recipe(3, SGD(StepDecay(0.5, 1, 2.0)), batch_size=3, window=5, averaging=NonMonotoneAverage(1)),
    ],
)
def test_a_language_model_trains_there_and_goes_on_here(recipe: Recipe, there: torch.device, tmp_path: Path) -> None:
    train, valid = torch.arange(78) % 11, torch.arange(30) % 11
    near, far = pair(language())
    expected = train_language_model(near, train, recipe, validation=valid)

    def stops(history: History) -> None:
        if history.epochs == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_language_model(far, train, recipe, validation=valid, checkpoint=tmp_path, on_epoch=stops)
    again = language()
    found = train_language_model(again, train, recipe, validation=valid, checkpoint=tmp_path)
    assert found.train == pytest.approx(expected.train, rel=1e-4)
    assert found.validation == pytest.approx(expected.validation, rel=1e-4)
    torch.testing.assert_close(near.decoder_bias, again.decoder_bias, rtol=1e-3, atol=1e-4)


def test_learned_rates_and_their_objective(there: torch.device) -> None:
    losses = []
    for wrapped in pair(br.nn.ConcreteDropout(br.models.SequenceRegressor(input_size=1, hidden_size=4, dropout=0.1))):
        device = next(wrapped.parameters()).device
        torch.manual_seed(0)
        x, y = torch.ones(6, 4, 1, device=device), torch.zeros(6, device=device)
        nll = -wrapped.train()(x).log_prob(y).mean()
        kl = br.objective.model_kl(wrapped.model, 1.0, rates=wrapped.rates())
        loss = br.objective.negative_elbo(nll, kl, size=100)
        loss.backward()
        losses.append([loss, *[p.grad for p in wrapped.logits.values()]])
    for ours, theirs in zip(*losses):
        torch.testing.assert_close(ours, here(theirs))


def test_a_saved_model_is_that_of_the_cpu(there: torch.device, tmp_path: Path) -> None:
    near, far = pair(language())
    br.save(far, tmp_path / "model")
    torch.testing.assert_close(br.load(tmp_path / "model").state_dict(), near.state_dict())
