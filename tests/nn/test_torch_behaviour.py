"""At rate 0 our layers are torch's: parameters, outputs, states, gradients, for every constructor argument."""

import itertools
import pickle
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bayesrnn import nn as bnn

KINDS = ("LSTM", "GRU", "RNN")


def pair(kind: str, **options: Any) -> tuple[Any, Any]:
    made = []
    for library in (nn, bnn):
        torch.manual_seed(0)
        made.append(getattr(library, kind)(3, 5, **options))
    return made[0], made[1]


def states(result: Any) -> list[torch.Tensor]:
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("layers", "bias", "batch_first", "both"), list(itertools.product((1, 2), *[(False, True)] * 3))
)
def test_forward_and_gradients(kind: str, layers: int, bias: bool, batch_first: bool, both: bool) -> None:
    theirs, ours = pair(
        kind, num_layers=layers, bias=bias, batch_first=batch_first, bidirectional=both, dtype=torch.float64
    )
    assert list(theirs.state_dict()) == list(ours.state_dict())
    for a, b in zip(theirs.parameters(), ours.parameters(), strict=True):
        assert torch.equal(a, b)
    x = torch.randn(7, 4, 3, dtype=torch.float64)
    results = []
    for layer in (theirs, ours):
        out, last = layer(x)
        loss = out.square().sum() + sum(s.sum() for s in states(last))
        results.append([out, *states(last), *torch.autograd.grad(loss, list(layer.parameters()))])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_packed_sequences_with_a_state(kind: str, training: bool) -> None:
    theirs, ours = pair(kind, num_layers=2, bidirectional=True)
    theirs.train(training)
    ours.train(training)
    x, lengths = torch.randn(7, 4, 3), torch.tensor([3, 7, 1, 5])
    h = torch.randn(4, 4, 5)
    state = (h, torch.randn(4, 4, 5)) if kind == "LSTM" else h
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    a, last_a = theirs(packed, state)
    b, last_b = ours(packed, state)
    torch.testing.assert_close(a.data, b.data)
    for name in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    for s, t in zip(states(last_a), states(last_b), strict=True):
        torch.testing.assert_close(s, t)
    padded, _ = pad_packed_sequence(a)
    torch.testing.assert_close(ours(x, state, lengths=lengths)[0], padded)


@pytest.mark.parametrize("kind", KINDS)
def test_packed_in_order(kind: str) -> None:
    theirs, ours = pair(kind)
    packed = pack_padded_sequence(torch.randn(5, 3, 3), torch.tensor([5, 4, 2]))
    a, b = theirs(packed)[0], ours(packed)[0]
    torch.testing.assert_close(a.data, b.data)
    assert b.sorted_indices is None


@pytest.mark.parametrize("kind", KINDS)
def test_one_unbatched_sequence(kind: str) -> None:
    theirs, ours = pair(kind, num_layers=2)
    x, h = torch.randn(6, 3), torch.randn(2, 5)
    state = (h, torch.randn(2, 5)) if kind == "LSTM" else h
    for a, b in zip(theirs(x, state), ours(x, state), strict=True):
        for s, t in zip(states(a), states(b), strict=True):
            assert s.shape == t.shape
            torch.testing.assert_close(s, t)


@pytest.mark.parametrize("training", [False, True])
def test_empty_trailing_steps_are_zero(training: bool) -> None:
    _, ours = pair("LSTM")
    ours.train(training)
    x = torch.randn(6, 2, 3)
    out, (h, _) = ours(x, lengths=[3, 2])
    assert not out[3:].any()
    torch.testing.assert_close(out[:3], ours(x[:3], lengths=[3, 2])[0])
    assert torch.equal(h[0, 0], out[2, 0])


def test_rnn_takes_torchs_positions_and_ours() -> None:
    ours = bnn.RNN(5, 6, 2, "relu", False, True, 0.0, True)
    theirs = nn.RNN(5, 6, 2, "relu", False, True, 0.0, True)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 4, 5)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0])
    short = bnn.RNN(5, 6, 2, True, False, 0.25, True)
    assert (short.bias, short.batch_first, short.bidirectional, short.nonlinearity) == (True, False, True, "tanh")
    with pytest.raises(ValueError, match="nonlinearity must be one of 'tanh', 'relu'"):
        bnn.RNN(3, 4, nonlinearity="sigmoid")
    with pytest.raises(TypeError, match=r"unknown: \['proj_size'\]"):
        bnn.RNN(3, 4, proj_size=2)
    with pytest.raises(TypeError, match=r"given twice: \['bias'\]"):
        bnn.RNN(3, 4, 1, True, bias=False)


@pytest.mark.parametrize("kind", KINDS)
def test_what_torchs_users_call_is_there(kind: str) -> None:
    theirs, ours = pair(kind, num_layers=2)
    ours.flatten_parameters()
    assert [[w.shape for w in ws] for ws in theirs.all_weights] == [[w.shape for w in ws] for ws in ours.all_weights]
    assert repr(theirs) == repr(ours)
    again = pickle.loads(pickle.dumps(ours))  # noqa: S301
    x = torch.randn(4, 2, 3)
    assert torch.equal(again(x)[0], ours(x)[0])


@pytest.mark.parametrize("lengths", [None, [2, 5]])
def test_only_the_last_state_is_used(lengths: list[int] | None) -> None:
    theirs, ours = pair("LSTM", dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    want_in = x if lengths is None else pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    want = torch.autograd.grad(theirs(want_in)[1][1].sum(), list(theirs.parameters()))
    got = torch.autograd.grad(ours(x, lengths=lengths)[1][1].sum(), list(ours.parameters()))
    torch.testing.assert_close(got, want)
