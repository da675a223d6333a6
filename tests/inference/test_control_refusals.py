"""What control variates cannot serve, and what they leave alone."""

import pytest
import torch
from torch.distributions import NegativeBinomial

import bayesrnn as br
from bayesrnn import schemes
from bayesrnn.inference import point
from bayesrnn.inference.linear.halves import Halves
from bayesrnn.inference.packing import packed, unpacked
from tests.problems import WordNet


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        (schemes.naive(0.2), "single steps"),
        (schemes.weight_drop(0.2), "of site weight"),
        (schemes.zoneout(cell=0.2, hidden=0.2), "of site keep_cell"),
    ],
)
def test_masks_without_a_derivative_per_sequence_are_refused(scheme, text):
    with pytest.raises(ValueError, match=text):
        br.predict(br.nn.LSTM(2, 3, dropout=scheme), torch.zeros(4, 2, 2), control="linear", batch_dim=1)


def test_what_control_cannot_serve_is_refused_with_what_can():
    tokens = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match="serves one network"):
        br.predict([WordNet(0.2), WordNet(0.2)], tokens, control="linear", likelihood=point)
    with pytest.raises(ValueError, match="control must be one of"):
        br.predict(WordNet(0.2), tokens, control="quadratic")
    with pytest.raises(ValueError, match="stratified draws serve all numbers"):
        br.predict(WordNet(0.2, outputs=2000), tokens, control="linear", likelihood=br.likelihoods.categorical)
    with pytest.raises(ValueError, match="no derivative by its masks"):
        br.predict(WordNet(0.2), tokens, control="linear", likelihood=lambda out: point(out.detach()))

    def counts(output):
        return NegativeBinomial(torch.full_like(output[..., 0], 3.0), logits=output[..., 0])

    with pytest.raises(ValueError, match="keep_draws=False"):
        br.predict(WordNet(0.2), tokens, control="linear", likelihood=counts)
    assert br.predict(WordNet(0.2), tokens, control="linear", likelihood=counts, keep_draws=False).mean.shape == (2,)


def test_other_predictives_say_where_standard_errors_come_from():
    p = br.predict(WordNet(0.2), torch.zeros(2, 3, dtype=torch.long), draws=16, likelihood=point)
    with pytest.raises(ValueError, match="control='linear'"):
        _ = p.standard_errors


def test_the_deterministic_pass_needs_no_control():
    model, tokens = WordNet(schemes.naive(0.2)), torch.zeros(2, 3, dtype=torch.long)
    p = br.predict(model, tokens, draws=0, control="linear", likelihood=point)
    assert float(p.epistemic.max()) == 0.0


def test_statistics_travel_between_ranks():
    halves = Halves.of(torch.randn(40, 2, 3), torch.arange(40), 16)
    again = unpacked(packed(halves))
    torch.testing.assert_close(again.whole.variance, halves.whole.variance)
