"""Reading a stream in windows equals reading it at once: state and masks go on, draw by draw."""

import pytest
import torch
from torch import nn

import bayesrnn as br
from bayesrnn import likelihoods
from bayesrnn.inference import Stream, point


class Reader(nn.Module):
    """Says the distribution of a value at each step, and carries its state."""

    def __init__(self, scheme, cell=br.nn.LSTM):
        super().__init__()
        self.recurrent = cell(3, 5, 2, dropout=scheme, batch_first=True)
        self.readout = nn.Linear(5, 2)

    def forward(self, x, state=None):
        out, state = self.recurrent(x, state)
        return likelihoods.gaussian(self.readout(out)), state


@pytest.mark.parametrize("scheme", [br.schemes.gal(0.3), br.schemes.zaremba(input=0.4), br.schemes.weight_drop(0.3)])
@pytest.mark.parametrize("max_memory", [None, 1])
def test_windows_equal_the_whole(scheme, max_memory):
    model, x = Reader(scheme).double(), torch.randn(4, 9, 3, dtype=torch.float64)
    whole = br.predict(model, x, draws=20, likelihood=lambda out: out[0])
    stream = Stream(model, draws=20, max_memory=max_memory)
    parts = [stream.step(window) for window in x.split([4, 1, 4], 1)]
    assert stream.steps == 9
    for name in ("mean", "epistemic", "standard_error", "aleatoric"):
        found = torch.cat([getattr(p, name) for p in parts], 1)
        torch.testing.assert_close(found, getattr(whole, name), rtol=1e-9, atol=1e-12)
    stream.reset()
    torch.testing.assert_close(stream.step(x[:, :4]).mean, parts[0].mean)


def test_other_cells_ids_and_time_first():
    model = br.nn.GRU(3, 4, dropout=0.4).double()
    x = torch.randn(6, 5, 3, dtype=torch.float64)
    stream = Stream(model, draws=8, batch_dim=1, sequence_ids=[7, 3, 9, 1, 0])
    stream.step(x[:3])
    second = stream.step(x[3:])
    alone = br.predict(model, x[:, 1:2], draws=8, batch_dim=1, sequence_ids=[3], likelihood=lambda out: point(out[0]))
    torch.testing.assert_close(second.mean[1], alone.mean[0, 3:])
    assert second.sequence_ids.tolist() == [7, 3, 9, 1, 0]


def test_it_says_what_is_wrong():
    stream = Stream(Reader(br.schemes.gal(0.3)), draws=4)
    with pytest.raises(ValueError, match="a window must be a tensor"):
        stream.step([1.0])
    stream.step(torch.zeros(2, 3, 3))
    with pytest.raises(ValueError, match="the stream has 2 rows, but a window of 3"):
        stream.step(torch.zeros(3, 3, 3))
    with pytest.raises(TypeError, match=r"must return \(output, state\)"):
        Stream(nn.Sequential(br.nn.Dropout(0.5)), draws=4).step(torch.zeros(2, 3, 3))
    with pytest.raises(ValueError, match="draws must be at least 2"):
        Stream(Reader(0.3), draws=1)
    with pytest.raises(ValueError, match="nothing in this model"):
        Stream(Reader(0.0))
