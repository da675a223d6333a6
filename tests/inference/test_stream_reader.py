"""One reader of streams: a window that failed is read again from the state before it."""

import pytest
import torch

import bayesrnn as br
from bayesrnn.inference import Stream
from bayesrnn.inference.stream_reader import StreamReader
from bayesrnn.masks import Binding, stream
from bayesrnn.nn.masked import bound


def test_a_window_that_failed_leaves_the_state_as_it_was() -> None:
    x = torch.randn(3, 8, 2, generator=torch.Generator().manual_seed(0))
    model = br.nn.GRU(2, 4, dropout=0.3, batch_first=True)
    missing = x[:, 5:].clone()
    missing[1, 0] = torch.nan
    reading, other = Stream(model, 3, draws=16), Stream(model, 3, draws=16)
    for each in (reading, other):
        each.step(x[:, :5])
    with pytest.raises(ValueError, match="NaN or infinite values for the sequences 1"):
        reading.step(missing)
    assert torch.equal(reading.step(x[:, 5:]).mean, other.step(x[:, 5:]).mean)


def test_states_move_with_go_on_and_the_deterministic_pass_has_its_own() -> None:
    x = torch.randn(3, 8, 2, generator=torch.Generator().manual_seed(0))
    model = br.nn.LSTM(2, 4, dropout=0.3, batch_first=True).eval()
    binding = Binding(stream("independent", 0), torch.arange(5), torch.arange(3))
    reader = StreamReader(model, [binding])
    with torch.no_grad():
        with bound(model, binding):
            drawn = model(x.repeat(5, 1, 1))[0]
        plain = model(x)[0]
        for place, whole in ((0, drawn), (None, plain)):
            first = reader.output(place, x[:, :5], 0)
            assert torch.equal(reader.output(place, x[:, :5], 0), first)  # no go_on: the same window again
            torch.testing.assert_close(first, whole[:, :5])
        reader.go_on()
        for place, whole in ((0, drawn), (None, plain)):
            torch.testing.assert_close(reader.output(place, x[:, 5:], 5, 1), whole[:, 5:])
