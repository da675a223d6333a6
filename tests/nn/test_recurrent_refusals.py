"""What recurrent layers refuse, and what they say."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from bayesrnn import nn as bnn
from bayesrnn import schemes
from bayesrnn.nn.masked import bound
from tests.nn.bindings import binding

BAD = {
    "x must be \\(steps, rows, features\\)": lambda layer: layer(torch.zeros(3)),
    "or a PackedSequence, but list": lambda layer: layer([1.0]),
    "must be the 3 input features.*unsqueeze": lambda layer: layer(torch.zeros(5, 2, 4)),
    "x holds no steps or no rows": lambda layer: layer(torch.zeros(0, 2, 3)),
    "x is torch.float64 but the layer's parameters are torch.float32": lambda layer: layer(
        torch.zeros(5, 2, 3).double()
    ),
    "must be \\(h, c\\), but|is \\(h, c\\), but 1": lambda layer: layer(torch.zeros(5, 2, 3), torch.zeros(1, 2, 4)),
    "the state h must have shape \\(1, 2, 4\\)": lambda layer: layer(torch.zeros(5, 2, 3), (torch.zeros(2, 1, 4),) * 2),
    "one unbatched sequence must be": lambda layer: layer(torch.zeros(5, 3), (torch.zeros(1, 1, 4),) * 2),
    "has no padding: leave out lengths=": lambda layer: layer(torch.zeros(5, 3), lengths=[5]),
    "must lie between 1 and the 5 steps.*row 1 has 0": lambda layer: layer(torch.zeros(5, 2, 3), lengths=[3, 0]),
    "row 0 has 6": lambda layer: layer(torch.zeros(5, 2, 3), lengths=[6, 1]),
    "lengths has 3 entries for 2 rows": lambda layer: layer(torch.zeros(5, 2, 3), lengths=[1, 1, 1]),
    "missing: \\['hidden_l0', 'input_l0'\\]": lambda layer: layer(torch.zeros(5, 2, 3), masks={}),
    "foreign: \\['word'\\]": lambda layer: layer(
        torch.zeros(5, 2, 3), masks=layer.sample_masks(2, seed=0) | {"word": torch.ones(2)}
    ),
    "'hidden_l0' must have shape \\(4, 2, 4\\)": lambda layer: layer(
        torch.zeros(5, 2, 3), masks=layer.sample_masks(2, seed=0) | {"hidden_l0": torch.ones(2, 4)}
    ),
    "a PackedSequence knows its lengths": lambda layer: layer(
        pack_padded_sequence(torch.zeros(5, 2, 3), torch.tensor([5, 4])), lengths=[5, 4]
    ),
    "one id for each of the 2 rows": lambda layer: layer.sample_masks(2, seed=0, sequence_ids=[1]),
    "seed must be below": lambda layer: layer.sample_masks(2, seed=2**63),
    "rows must be at least 1": lambda layer: layer.sample_masks(0, seed=0),
}


@pytest.mark.parametrize("text", BAD)
def test_bad_input_is_told_what_is_legal(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        BAD[text](bnn.LSTM(3, 4, dropout=0.3))


def test_other_errors() -> None:
    with pytest.raises(TypeError, match="a tensor or a tuple of tensors, but str"):
        bnn.LSTM(3, 4)(torch.zeros(5, 2, 3), "zero")
    with pytest.raises(ValueError, match="change each step: say how many with steps="):
        bnn.LSTM(3, 4, dropout=schemes.naive(0.2)).sample_masks(2, seed=0)
    with (
        pytest.raises(ValueError, match=r"bound to 4 rows .* but was given 3"),
        bound(layer := bnn.LSTM(3, 4, dropout=0.2), binding(2, 2)),
    ):
        layer(torch.zeros(5, 3, 3))
    with pytest.raises(ValueError, match="hidden_size must be at least 1"):
        bnn.LSTM(3, 0)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\); 1.0 was given"):
        bnn.GRU(3, 4, dropout=1.0)


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [("GRU", schemes.moon(0.2)), ("RNN", schemes.semeniuta(0.2)), ("GRU", schemes.zoneout(cell=0.2))],
)
def test_a_site_that_a_cell_lacks_is_refused(kind: str, scheme: schemes.Scheme) -> None:
    with pytest.raises(ValueError, match=r"which a .* does not have; its sites are"):
        getattr(bnn, kind)(3, 4, dropout=scheme)
