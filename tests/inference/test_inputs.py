"""Inputs as people have them: states, lists, arrays, sorted batches, None; and networks that keep something."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import bayesrnn as br
from bayesrnn import likelihoods
from bayesrnn.inference import point
from bayesrnn.inference.inputs import rows_at_once
from bayesrnn.inference.nested import with_rows


class Packing(nn.Module):
    """Packs a batch by its lengths, and reads the last states."""

    def __init__(self, enforce_sorted):
        super().__init__()
        torch.manual_seed(0)
        self.recurrent, self.readout = br.nn.GRU(2, 8, batch_first=True, dropout=0.3), nn.Linear(8, 2)
        self.enforce_sorted = enforce_sorted

    def forward(self, x, sizes):
        packed = pack_padded_sequence(x, sizes, batch_first=True, enforce_sorted=self.enforce_sorted)
        return likelihoods.gaussian(self.readout(self.recurrent(packed)[1][-1]))


@pytest.mark.parametrize("max_memory", [None, 3_000])
@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, tuple])
def test_lengths_of_every_kind_go_with_their_rows(kind, max_memory):
    model, x, sizes = Packing(False), torch.randn(4, 5, 2), [5, 2, 4, 1]
    if kind is tuple:
        sizes = torch.tensor(sizes)
    p = br.predict(model, x, sizes if kind is tuple else kind(sizes), draws=16, max_memory=max_memory)
    one = br.predict(model, x[2:3, :4], torch.tensor([4]), draws=16, sequence_ids=[2])
    torch.testing.assert_close(p.mean[2:3], one.mean)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_sorted_batch_stays_sorted(rows):
    x, sizes = torch.randn(rows, 5, 2), torch.tensor([5, 4, 2])[:rows]
    loose = Packing(False)
    p = br.predict(Packing(True), x, sizes, draws=16)
    torch.testing.assert_close(p.mean, br.predict(loose, x, sizes, draws=16).mean)
    if rows > 1:
        with pytest.raises(RuntimeError, match="sorted in decreasing order"):
            br.predict(Packing(True), x, sizes.flip(0), draws=16)


class FromState(nn.Module):
    """Takes the state of its layers, (layers, rows, H), and returns it, with None beside it."""

    def __init__(self, layers=2, cell=br.nn.LSTM):
        super().__init__()
        torch.manual_seed(0)
        self.recurrent, self.readout = cell(1, 4, layers, batch_first=True, dropout=0.3), nn.Linear(4, 1)

    def forward(self, x, state, scale=None):
        out, state = self.recurrent(x, state)
        return self.readout(out[:, -1]), None, state


@pytest.mark.parametrize("max_memory", [None, 2_000, 1])
@pytest.mark.parametrize(("rows", "layers"), [(4, 2), (3, 1), (1, 2), (1, 1)])
def test_a_state_as_input_has_its_rows_in_the_middle(rows, layers, max_memory):
    model, x = FromState(layers).double(), torch.randn(rows, 6, 1, dtype=torch.float64)
    state = tuple(torch.randn(layers, rows, 4, dtype=torch.float64) for _ in "hc")
    found, nothing, (h, c) = br.predict(model, x, state, draws=20, max_memory=max_memory)
    assert nothing is None
    assert found.mean.shape == (rows, 1)
    assert h.mean.shape == c.mean.shape == (rows, layers, 4)
    last = rows - 1
    own = tuple(s[:, last:] for s in state)
    one, _, (h_one, _) = br.predict(model, x[last:], own, draws=20, sequence_ids=[last])
    torch.testing.assert_close(found.mean[last:], one.mean)
    torch.testing.assert_close(h.draws[:, last:], h_one.draws)


def test_batch_dims_say_where_the_rows_of_each_input_are():
    model, x = FromState(4).double(), torch.randn(4, 6, 1, dtype=torch.float64)  # as many rows as layers
    state = tuple(torch.randn(4, 4, 4, dtype=torch.float64) for _ in "hc")
    found = br.predict(model, x, state, draws=20, batch_dims=(0, 1))[0]
    torch.testing.assert_close(found.mean, br.predict(model, x, state, draws=20)[0].mean)
    one = br.predict(model, x[2:3], tuple(s[:, 2:3] for s in state), draws=20, sequence_ids=[2])[0]
    torch.testing.assert_close(found.mean[2:3], one.mean)
    weights = torch.randn(3, 1)  # the same for all rows

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout = br.nn.Dropout(0.4)

        def forward(self, x, weights):
            return point(self.dropout(x) @ weights)

    x = torch.randn(3, 3)
    p = br.predict(Shared(), x, weights, draws=16, batch_dims=(0, None))
    torch.testing.assert_close(p.draws, br.predict(Named(), x, draws=16).draws @ weights)
    for bad in ((0,), (0, 1, 0), (0, -1), (0, "1")):
        with pytest.raises(ValueError, match=r"batch_dims must be one dimension .* for each of the 2 inputs"):
            br.predict(Shared(), x, weights, draws=16, batch_dims=bad)
    with pytest.raises(ValueError, match="batch_dims= with one for each, and None for an input without rows"):
        br.predict(Shared(), torch.randn(5, 3), weights, draws=16)


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.dropout = br.nn.Dropout(0.4)

    def forward(self, x):
        return point(self.dropout(x))


def test_an_output_of_two_fitting_dimensions_is_told_apart():
    class Horizon(nn.Module):
        def __init__(self, horizon):
            super().__init__()
            torch.manual_seed(0)
            self.recurrent, self.readout = br.nn.GRU(1, 4, dropout=0.4), nn.Linear(4, horizon)

        def forward(self, x):
            return point(self.readout(self.recurrent(x)[0][-1]))

    x = torch.randn(5, 1, 1)
    for horizon, rows, draws in ((16, 1, 16), (32, 2, 16), (2, 2, 0)):
        inputs = x.repeat(1, rows, 1) * torch.arange(1, rows + 1).view(1, -1, 1)
        p = br.predict(Horizon(horizon), inputs, draws=draws, batch_dim=1)
        many = br.predict(Horizon(horizon), inputs, draws=draws, batch_dim=1, max_memory=1)
        torch.testing.assert_close(p.mean, many.mean)
        assert p.mean.shape == (rows, horizon)


@pytest.mark.parametrize(
    ("units", "steps", "threads", "rows"),
    [
        (32, 24, 1, 5461),
        (1, 2, 1, 8192),
        (64, 168, 1, 390),
        (64, 1000, 1, 384),
        (64, 1000, 32, 768),
        (650, 35, 1, 1024),
    ],
)
def test_a_pass_holds_outputs_of_16_mebibytes(units, steps, threads, rows, monkeypatch):
    """Within bounds: rows that share the weights of each thread, more where the weights are large."""
    monkeypatch.setattr("bayesrnn.inference.inputs.free_memory", lambda model: 2**50)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    given, _ = with_rows((torch.zeros(3, steps, 1),), 0)
    assert rows_at_once(br.nn.LSTM(1, units, dropout=0.1, batch_first=True), given, None) == rows
