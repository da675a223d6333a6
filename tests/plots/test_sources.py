"""The picture of sources shows the shares of the table."""

import numpy as np
import pytest
import torch

import bayesrnn as br
from bayesrnn.inference import point
from tests.inference.test_control import TOKENS, Linear


def widths(ax):
    return {label.get_text(): bar.get_width() for label, bar in zip(ax.get_yticklabels(), ax.patches)}


def test_bars_are_shares_of_a_row_or_of_all_rows():
    torch.manual_seed(0)
    result = br.linearize(
        Linear().double(), TOKENS, likelihood=point, vocabulary=["-", "the", "film", "is", "not", "good"]
    )
    bars = widths(br.plots.uncertainty_sources(result, "word", row=0))
    frame = result.sources("word")
    parts = frame[frame["row"] == 0].groupby("word")["variance"].sum()
    assert bars == pytest.approx((parts / parts.sum()).to_dict())
    assert list(bars.values()) == sorted(bars.values(), reverse=True)
    assert sum(widths(br.plots.uncertainty_sources(result)).values()) == pytest.approx(1.0)


def test_small_parts_are_one_bar():
    layer = br.nn.LSTM(6, 5, dropout=0.25, batch_first=True)
    result = br.linearize(layer, torch.randn(2, 4, 6), likelihood=lambda out: point(out[0][:, -1].sum(1)))
    bars = widths(br.plots.uncertainty_sources(result, "feature", most=3))
    assert list(bars)[-1] == "others"
    np.testing.assert_allclose(sum(bars.values()), 1.0)


def test_wrong_questions_are_answered_in_words():
    result = br.linearize(Linear(), TOKENS, likelihood=point)
    with pytest.raises(ValueError, match="there is no row 7"):
        br.plots.uncertainty_sources(result, row=7)
    with pytest.raises(ValueError, match="no sources by feature"):
        br.plots.uncertainty_sources(result, "feature")
