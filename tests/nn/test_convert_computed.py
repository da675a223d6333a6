"""Conversion where weights are computed or results are stored, and back to torch's layers."""

import threading
import types
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import bayesrnn as br
from bayesrnn import models, schemes
from bayesrnn import nn as bnn
from bayesrnn.nn.convert import convert, revert
from bayesrnn.nn.masked import MaskedModule


class Attentive(nn.Module):
    """Keeps results of its last pass in attributes, in a list and in an object."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.score, self.out = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 1), nn.Linear(4, 1)
        self.seen: list[torch.Tensor] = []
        self.note = types.SimpleNamespace()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, (self.hidden, _) = self.rnn(x)
        self.attention = self.score(y).softmax(1)
        self.seen.append(self.attention)
        self.note.last = {"output": y}
        return self.out((self.attention * y).sum(1))


def test_a_network_that_stored_results_of_a_pass_is_copied() -> None:
    torch.manual_seed(0)
    net, x = Attentive(), torch.randn(3, 5, 2)
    net(x).sum().backward()
    ours = convert(net, 0.3)
    assert torch.equal(ours.attention, net.attention)
    assert ours.attention is ours.seen[0]
    assert ours.attention is not net.attention
    assert not ours.attention.requires_grad
    assert net.attention.requires_grad
    assert torch.equal(ours.note.last["output"], net.note.last["output"])
    assert torch.equal(ours.eval()(x), net.eval()(x))
    ours.train()(x).sum().backward()
    assert torch.equal(revert(ours).eval()(x), net(x))


@pytest.mark.parametrize("wrap", [torch.nn.utils.weight_norm, torch.nn.utils.parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_computed_weights_of_other_layers_are_kept(wrap: Any) -> None:
    net = nn.ModuleDict({"rnn": nn.LSTM(2, 4), "out": nn.Sequential(wrap(nn.Linear(4, 3)), _pruned(nn.Linear(3, 2)))})
    x = torch.randn(6, 4)
    net["out"](x).sum().backward()
    ours = convert(net, 0.3)
    assert torch.equal(ours["out"](x), net["out"](x))
    with torch.no_grad():
        next(ours["out"].parameters()).mul_(2.0)
    assert not torch.equal(ours["out"](x), net["out"](x)), "the copy's weight follows its own parameters"


def _pruned(layer: nn.Module, name: str = "weight") -> nn.Module:
    return prune.l1_unstructured(layer, name, 0.5)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("make", "fix"),
    [
        (lambda: nn.utils.weight_norm(nn.LSTM(2, 4), "weight_hh_l0"), "remove_weight_norm"),
        (lambda: nn.utils.weight_norm(nn.Embedding(5, 4)), "remove_weight_norm"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.GRU(2, 4), "weight_hh_l0"), "remove_parametrizations"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Embedding(5, 4)), "remove_parametrizations"),
        (lambda: _pruned(nn.RNN(2, 4), "weight_ih_l0"), "prune.remove"),
        (lambda: _pruned(nn.Embedding(5, 4), "weight"), "prune.remove"),
        (lambda: nn.utils.spectral_norm(nn.LSTM(2, 4), "weight_hh_l0"), "remove_spectral_norm"),
    ],
)
def test_layers_with_computed_weights_are_refused_by_name_and_the_fix_works(make: Any, fix: str) -> None:
    layer = make()
    with pytest.raises(ValueError, match=rf"weights \['weight\S*'\] of 'part' .*(?s:.)*{fix}"):
        convert(nn.ModuleDict({"part": layer}), 0.3)
    name = "weight" if isinstance(layer, nn.Embedding) else "weight_hh_l0"
    if fix == "prune.remove":
        prune.remove(layer, name if name == "weight" else "weight_ih_l0")
    elif fix == "remove_weight_norm":
        nn.utils.remove_weight_norm(layer, name)
    elif fix == "remove_parametrizations":
        nn.utils.parametrize.remove_parametrizations(layer, name)
    else:
        nn.utils.remove_spectral_norm(layer, name)
    assert isinstance(convert(layer, 0.3), bnn.LSTM | bnn.GRU | bnn.RNN | bnn.Embedding)


def test_what_cannot_be_copied_is_named() -> None:
    net = nn.Sequential(nn.LSTM(2, 4))
    net[0].lock = threading.Lock()
    for call in (lambda: convert(net, 0.3), lambda: revert(nn.ModuleList([net, bnn.LSTM(2, 4)]))):
        with pytest.raises(ValueError, match=r"the attribute 'lock' \(lock\) of '(0\.)?0' \(LSTM\) cannot be copied"):
            call()


def _models() -> dict[str, tuple[nn.Module, tuple[torch.Tensor, ...]]]:
    tokens = torch.randint(0, 9, (3, 7))
    lengths = torch.tensor([3, 7, 1])
    return {
        "regressor": (models.SequenceRegressor(2, 4, dropout=0.3, num_layers=2), (torch.randn(3, 7, 2), lengths)),
        "bidirectional": (
            models.SequenceClassifier(2, 4, dropout=0.3, bidirectional=True, every_step=True),
            (torch.randn(3, 7, 2), lengths),
        ),
        "tokens": (models.SequenceClassifier(vocabulary=9, hidden_size=4, dropout=0.3, cell="gru"), (tokens,)),
        "language": (models.LanguageModel(9, 4, 5, dropout=0.3, shared_embeddings=True), (tokens,)),
        "forecaster": (models.Forecaster(8, 3, hidden_size=4, dropout=0.3), (torch.randn(3, 8),)),
    }


@pytest.mark.parametrize("name", list(_models()))
def test_ready_made_models_are_reverted(name: str, tmp_path: Any) -> None:
    torch.manual_seed(0)
    model, inputs = _models()[name]
    model.eval()
    plain = br.revert(model)
    assert type(plain) is type(model)
    assert not any(isinstance(m, MaskedModule) for m in plain.modules())
    assert plain.scheme == schemes.none()

    def numbers(module: nn.Module) -> torch.Tensor:
        output = module(*inputs)
        distribution = output[0] if isinstance(output, tuple) else output
        return distribution.probs if hasattr(distribution, "probs") else distribution.mean

    torch.testing.assert_close(numbers(plain), numbers(model))
    assert list(plain.state_dict()) == list(model.state_dict())
    br.save(plain, tmp_path / "plain")
    torch.testing.assert_close(numbers(br.load(tmp_path / "plain")), numbers(model))
    again = br.convert(plain, 0.3)
    assert again.config() == model.config()
    rates = {(s.module, s.site, s.rate) for s in br.audit(model).sites}
    assert {(s.module, s.site, s.rate) for s in br.audit(again).sites} == rates


def test_learned_rates_are_not_reverted_silently() -> None:
    wrapped = bnn.concrete.ConcreteDropout(bnn.GRU(2, 4, dropout=0.2))
    with pytest.raises(ValueError, match=r"revert\(wrapped.model\)"):
        revert(wrapped)
    assert type(revert(wrapped.model)) is nn.GRU


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (bnn.CappedLSTM(3, 4), "is a CappedLSTM, and torch has no layer"),
        (bnn.GRU(3, 4, 2, sum_layers=True), "sums the outputs of its layers, and torch has no layer"),
    ],
)
def test_what_torch_cannot_compute_is_not_reverted(layer: nn.Module, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        br.revert(nn.Sequential(layer))
