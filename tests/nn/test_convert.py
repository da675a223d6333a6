"""`convert` and back: nothing lost, nothing shared that was not, and what cannot be converted is refused."""

from typing import Any

import pytest
import torch
from torch import nn

from bayesrnn import nn as bnn
from bayesrnn import schemes
from bayesrnn.nn.convert import convert, revert


class Tagger(nn.Module):
    """An embedding shared with the decoder, an LSTM, a dropout and a GRU used twice."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6, padding_idx=0)
        self.lstm = nn.LSTM(6, 6, 2, batch_first=batch_first)
        self.dropout = nn.Dropout(0.2)
        self.gru = nn.GRU(6, 6, batch_first=batch_first)
        self.decoder = nn.Linear(6, 11)
        self.decoder.weight = self.embedding.weight
        self.alias = self.gru

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.dropout(self.lstm(self.embedding(tokens))[0])
        return self.decoder(self.alias(self.gru(x)[0])[0])


TOKENS = torch.tensor([[1, 2, 3, 0], [4, 1, 1, 5]])


@pytest.mark.parametrize("dropout", [0.0, 0.3, schemes.zaremba(0.5)])
def test_without_masks_a_converted_model_is_the_original(dropout: float | schemes.Scheme) -> None:
    model = Tagger().eval()
    ours = convert(model, dropout)
    assert torch.equal(ours(TOKENS), model(TOKENS))
    assert list(ours.state_dict()) == list(model.state_dict())
    back = revert(ours)
    assert torch.equal(back(TOKENS), model(TOKENS))
    assert [type(m) for m in back.modules()] == [type(m) for m in model.modules()]


class ByKeyword(Tagger):
    """Calls its layers with torch's names, the LSTM from a state."""

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x, (h, c) = self.lstm(input=self.embedding(input=tokens), hx=None)
        x, _ = self.lstm(x, hx=(h, c))
        return self.decoder(self.gru(input=self.dropout(input=x), hx=h[:1])[0])


def test_layers_take_torchs_keywords() -> None:
    model = ByKeyword().eval()
    ours = convert(model, 0.3)
    assert torch.equal(ours(TOKENS), model(TOKENS))
    x = torch.randn(2, 4, 6)
    state = torch.randn(2, 2, 6), torch.randn(2, 2, 6)
    masks = ours.lstm.sample_masks(rows=2, seed=0)
    named, _ = ours.lstm(input=x, hx=state, masks=masks)
    assert torch.equal(named, ours.lstm(x, state, masks=masks)[0])
    with pytest.raises(TypeError, match="hx= is torch's name of state=: give one of them"):
        ours.lstm(x, state=state, hx=state)


def test_what_is_kept() -> None:
    model = Tagger().double()
    model.lstm.weight_hh_l0.requires_grad_(False)
    model.gru.eval()
    calls: list[int] = []
    model.gru.register_forward_hook(lambda *_: calls.append(1))
    before = torch.get_rng_state()
    ours = convert(model, 0.3)
    assert torch.equal(torch.get_rng_state(), before)
    assert ours.embedding.weight is ours.decoder.weight
    assert ours.embedding.weight is not model.embedding.weight
    assert ours.gru is ours.alias
    assert [ours.lstm.training, ours.gru.training] == [True, False]
    assert not ours.lstm.weight_hh_l0.requires_grad
    assert {p.dtype for p in ours.parameters()} == {torch.float64}
    assert ours.embedding.padding_idx == 0
    ours(TOKENS)
    assert len(calls) == 2
    assert type(model.lstm) is nn.LSTM


def test_the_scheme_reaches_every_layer() -> None:
    ours = convert(Tagger(), schemes.gal(word=0.1, input=0.2, hidden=0.3, output=0.4))
    assert (ours.embedding.scheme.rate("word"), ours.lstm.scheme.rate("hidden"), ours.dropout.p) == (0.1, 0.3, 0.4)
    assert convert(Tagger(), schemes.zaremba(0.5)).dropout.span == "step"
    own = convert(Tagger(), schemes.weight_drop(0.5)).dropout
    assert (own.p, own.span) == (0.2, "sequence")


@pytest.mark.parametrize("batch_first", [False, True])
def test_rows_are_where_the_recurrent_layers_have_them(batch_first: bool) -> None:
    ours = convert(Tagger(batch_first), 0.3)
    assert ours.embedding.batch_first is ours.dropout.batch_first is batch_first


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(3, 4, 2, bias=False, batch_first=True, bidirectional=True),
        nn.GRU(3, 4, bidirectional=True),
        nn.RNN(3, 4, nonlinearity="relu"),
    ],
)
def test_a_layer_alone(layer: Any) -> None:
    ours, x = convert(layer, 0.0), torch.randn(5, 2, 3)
    assert torch.equal(ours(x)[0], layer(x)[0])
    back = revert(ours)
    assert repr(back) == repr(layer)
    assert torch.equal(back(x)[0], layer(x)[0])


def test_embedding_options_are_kept() -> None:
    layer = nn.Embedding(7, 3, padding_idx=2, max_norm=1.0, norm_type=1.0, scale_grad_by_freq=True, sparse=True)
    for found in (convert(layer, 0.2), revert(convert(layer, 0.2))):
        for name in ("padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse"):
            assert getattr(found, name) == getattr(layer, name)


def test_dropout_between_layers_gives_way_to_the_scheme_or_is_refused() -> None:
    layer = nn.LSTM(3, 4, 2, dropout=0.5)
    assert convert(layer, 0.25).scheme == schemes.gal(0.25)
    for scheme in (schemes.none(), schemes.weight_drop(0.3)):
        with pytest.raises(ValueError, match=r"drops between its layers at rate 0.5.*no site 'input'"):
            convert(layer, scheme)


class _Peephole(nn.LSTM):
    pass


def test_what_cannot_be_converted_is_refused() -> None:
    with pytest.raises(TypeError, match="_Peephole subclasses a recurrent layer"):
        convert(_Peephole(3, 4), 0.2)
    with pytest.raises(ValueError, match=r"Linear holds no nn.LSTM"):
        convert(nn.Linear(3, 4), 0.2)
    with pytest.raises(ValueError, match="which are converted already"):
        convert(convert(nn.LSTM(3, 4), 0.2), 0.2)
    with pytest.raises(ValueError, match="holds no layer of bayesrnn to revert"):
        revert(nn.Linear(3, 4))
    with pytest.raises(TypeError, match=r"must be a torch.nn.Module"):
        convert([nn.LSTM(3, 4)], 0.2)
    mixed = nn.ModuleList([nn.LSTM(3, 4), nn.LSTM(3, 4, batch_first=True), nn.Dropout(0.1)])
    with pytest.raises(ValueError, match="disagree on batch_first"):
        convert(mixed, 0.2)
    assert type(convert(mixed[:2], 0.2)[0]) is bnn.LSTM


def test_hooks_with_keywords_and_of_the_state_are_kept() -> None:
    seen: list[str] = []
    old = nn.Sequential(nn.LSTM(2, 4, batch_first=True))
    old[0].register_forward_pre_hook(lambda m, a, k: seen.append(f"before {sorted(k)}"), with_kwargs=True)
    old[0].register_forward_hook(lambda m, a, k, o: seen.append("after"), with_kwargs=True)
    old[0].register_state_dict_pre_hook(lambda m, prefix, keep: seen.append("state"))
    new = convert(old, 0.3)
    new(torch.randn(3, 5, 2))
    new.state_dict()
    assert seen == ["before []", "after", "state"]


def test_without_masks_a_dropout_takes_any_shape() -> None:
    old = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Dropout(0.3)).eval()
    x = torch.randn(2, 1, 5, 5)
    assert torch.equal(convert(old, 0.3)(x), old(x))


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_tells_where_the_rows_are(batch_first: bool) -> None:
    new = convert(nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first), 0.5)
    assert new.dropout1.batch_first == batch_first
