"""The first order without draws: closed forms, enumeration at small rates, sources that add up."""

import numpy as np
import pytest
import torch
from torch import nn

import bayesrnn as br
from bayesrnn import schemes
from bayesrnn.inference import point
from tests.inference.test_control import TOKENS, Linear, TwoWays, heteroscedastic
from tests.problems import WordNet

WORDS = ["<pad>", "the", "film", "is", "not", "good"]


def test_words_of_a_linear_network_have_the_variances_of_the_closed_form():
    model = Linear().double()
    result = br.linearize(model, TOKENS, likelihood=point, vocabulary=WORDS)
    vectors = (model.head(model.words.weight) - model.head.bias).detach()
    frame = result.sources("word")
    assert set(frame[frame["row"] == 0]["word"]) == {"the", "film", "good"}
    assert set(frame[frame["row"] == 1]["word"]) == {"is"}
    for row, step, word, variance in frame[["row", "step", "word", "variance"]].itertuples(index=False):
        count = int((TOKENS[row] == WORDS.index(word)).sum())
        np.testing.assert_allclose(variance, float(count**2 * vectors[WORDS.index(word), step] ** 2) * 0.3 / 0.7)
    total = frame.groupby(["row", "step"])["variance"].sum().to_numpy().reshape(2, 2)
    np.testing.assert_allclose(total, result.epistemic)
    np.testing.assert_allclose(result.mean, model.eval()(TOKENS).detach())


class Plain(nn.Module):
    """Words, an LSTM of two layers and directions, and a masked readout."""

    def __init__(self, scheme=0.05):
        super().__init__()
        self.words = br.nn.Embedding(9, 5, dropout=scheme)
        self.recurrent = br.nn.LSTM(5, 6, 2, batch_first=True, bidirectional=True, dropout=scheme)
        self.dropout = br.nn.Dropout(0.05)
        self.head = nn.Linear(12, 3)

    def forward(self, tokens):
        return self.head(self.dropout(self.recurrent(self.words(tokens))[0][:, -1]))


@pytest.mark.parametrize("by", ["place", "site", "layer", "direction", "feature", "word"])
def test_sources_add_up_to_the_first_order_variance(by):
    torch.manual_seed(0)
    tokens = torch.randint(0, 9, (4, 7))
    result = br.linearize(Plain().double(), tokens, likelihood=point)
    frame = result.sources(by)
    total = frame.groupby(["row", "step"])["variance"].sum().to_numpy().reshape(4, 3)
    np.testing.assert_allclose(total, result.epistemic)
    np.testing.assert_allclose(frame.groupby(["row", "step"])["share"].sum(), 1.0)
    assert (frame["variance"] >= 0).all()
    names = {
        "site": {"word", "input", "hidden", "output"},
        "layer": {"words", "recurrent layer 0", "recurrent layer 1", "dropout"},
        "direction": {"none", "forward", "backward"},
    }
    if by in names:
        assert set(frame[by]) == names[by]
    if by == "feature":
        assert {"recurrent.input_l0[0]", "recurrent.input_l0_reverse[4]", "elsewhere"} < set(frame[by])


@pytest.mark.parametrize("scheme", [schemes.gal(0.02), schemes.gal(0.02, gates="tied"), schemes.moon(0.02)])
def test_the_first_order_is_right_at_small_rates(scheme):
    torch.manual_seed(0)
    model, tokens = Plain(scheme).double(), torch.randint(0, 9, (3, 7))
    result = br.linearize(model, tokens, likelihood=point, beyond=512)
    truth = br.predict(model, tokens, draws=4096, control="linear", likelihood=point, keep_draws=False, seed=1)
    np.testing.assert_allclose(result.epistemic, truth.epistemic, rtol=0.12)
    error = (result.epistemic + result.beyond - truth.epistemic).abs()
    assert bool((error < 5 * (result.beyond_error + truth.standard_errors["epistemic"])).all())


def test_classes_have_mutual_information_to_second_order():
    torch.manual_seed(0)
    model, tokens = Plain().double(), torch.randint(0, 9, (4, 7))
    result = br.linearize(model, tokens, likelihood=br.likelihoods.categorical)
    truth = br.predict(model, tokens, draws=2048, likelihood=br.likelihoods.categorical)
    torch.testing.assert_close(result.probabilities, model.eval()(tokens).softmax(-1).detach())
    np.testing.assert_allclose(result.epistemic, truth.epistemic, rtol=0.15)
    np.testing.assert_allclose(result.sources("site").groupby("row")["variance"].sum(), result.epistemic)
    with pytest.raises(AttributeError, match="see probabilities"):
        _ = result.mean


def test_heads_with_noise_report_it_and_intervals_widen():
    torch.manual_seed(0)
    model, tokens = WordNet(0.1, outputs=2).double(), torch.randint(0, 7, (3, 5))
    result = br.linearize(model, tokens, likelihood=heteroscedastic)
    plain = br.predict(model, tokens, draws=0, likelihood=heteroscedastic)
    torch.testing.assert_close(result.aleatoric, plain.aleatoric)
    torch.testing.assert_close(result.variance, result.aleatoric + result.epistemic)
    low, high = result.interval(0.9)
    torch.testing.assert_close(high - low, 2 * 1.6448536 * result.std)


def test_chunks_lengths_and_loaders_give_the_same():
    model, x = TwoWays().double(), torch.randn(5, 6, 2, dtype=torch.float64)
    lengths = torch.tensor([6, 2, 4, 1, 5])
    whole = br.linearize(model, x, lengths=lengths, likelihood=point)
    cut = br.linearize(model, x, lengths=lengths, likelihood=point, max_memory=3000)
    torch.testing.assert_close(whole.epistemic, cut.epistemic)
    torch.testing.assert_close(
        whole.contributions.features["recurrent.input_l0"].sum(1), cut.contributions.places["recurrent.input_l0"]
    )
    names = set(br.linearize(model, x, likelihood=point, features=["a", "b"]).sources("feature")["feature"])
    assert names == {"a", "b", "elsewhere"}
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=2)
    torch.testing.assert_close(
        br.linearize(model, loader, likelihood=point).epistemic, br.linearize(model, x, likelihood=point).epistemic
    )


def test_several_outputs_keep_the_structure_of_the_model():
    model, tokens = Plain().double(), torch.randint(0, 9, (2, 7))
    result = br.linearize(model, tokens, likelihood=lambda out: {"a": point(out[:, 0]), "b": point(out[:, 1:])})
    whole = br.linearize(model, tokens, likelihood=point)
    torch.testing.assert_close(result["a"].epistemic, whole.epistemic[:, 0])
    torch.testing.assert_close(result["b"].epistemic, whole.epistemic[:, 1:])


def test_wrong_questions_are_answered_in_words():
    model, tokens = TwoWays().double(), torch.randn(2, 6, 2, dtype=torch.float64)
    result = br.linearize(model, tokens, likelihood=point)
    with pytest.raises(ValueError, match="there are no sources by word"):
        result.sources("word")
    with pytest.raises(ValueError, match="by must be one of"):
        result.sources("unit")
    with pytest.raises(ValueError, match="at least 16 draws"):
        br.linearize(model, tokens, likelihood=point, beyond=4)
    with pytest.raises(ValueError, match="single steps"):
        br.linearize(WordNet(schemes.naive(0.2)), torch.zeros(2, 3, dtype=torch.long), likelihood=point)


def test_models_that_mix_rows_are_refused():
    class Mixed(Plain):
        def forward(self, tokens):
            out = super().forward(tokens)
            return out - out.mean(0)

    with pytest.raises(ValueError, match="rows"):
        br.linearize(Mixed(), torch.randint(0, 9, (4, 7)), likelihood=point)
