"""Encode a batch of sequences of words or numbers: a recurrent network's last state, or every step."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bayesrnn._checks import check_choice, check_finite, check_lengths, check_whole
from bayesrnn.models.heads import spread
from bayesrnn.nn import GRU, LSTM, RNN, Dropout, Embedding
from bayesrnn.nn.devices import watched
from bayesrnn.nn.recurrent import Recurrent
from bayesrnn.schemes import Scheme, as_scheme

CellName = Literal["lstm", "gru", "rnn"]
_LAYERS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}


def scheme_of(dropout: float | Scheme | Mapping[str, Any]) -> Scheme:
    """Return the scheme that a rate, a scheme or the plain data of `Scheme.to_dict` stands for."""
    return Scheme.from_dict(dropout) if isinstance(dropout, Mapping) else as_scheme(dropout)


class Encoder(nn.Module):
    """Words or numbers, through recurrent layers, to features of width `features`, masked at the site `output`.

    Raises:
        ValueError: If not exactly one of `input_size` and `vocabulary` is given, or a size or name is not legal.
    """

    input_mean: Tensor
    input_std: Tensor

    def __init__(
        self,
        input_size: int | None,
        hidden_size: int,
        num_layers: int,
        dropout: Scheme,
        cell: CellName,
        *,
        vocabulary: int | None,
        embedding_size: int | None,
        padding_idx: int | None,
        bidirectional: bool,
        every_step: bool,
    ) -> None:
        super().__init__()
        _check_kind(input_size, vocabulary, embedding_size, padding_idx)
        check_choice(cell, "cell", _LAYERS)
        self.input_size, self.vocabulary, self.every_step = input_size, vocabulary, every_step
        if vocabulary is not None:
            width = check_whole(embedding_size or hidden_size, "embedding_size")
            check_whole(vocabulary, "vocabulary")
            self.embedding = Embedding(vocabulary, width, padding_idx, dropout=dropout)
        else:
            width = check_whole(input_size, "input_size") if input_size is not None else 0
            self.register_buffer("input_mean", torch.zeros(width))
            self.register_buffer("input_std", torch.ones(width))
        self.recurrent = _LAYERS[cell](
            width, hidden_size, num_layers, batch_first=True, dropout=dropout, bidirectional=bidirectional
        )
        placement = dropout.placement("output")
        self.dropout = Dropout(placement.rate, placement.span) if placement else nn.Identity()
        self.directions = 2 if bidirectional else 1
        self.features = hidden_size * self.directions

    def standardize(self, x: Tensor, lengths: Tensor | Iterable[int] | None = None) -> None:
        """Take the mean and standard deviation of each input feature over all steps that are no padding."""
        if self.vocabulary is not None:
            return
        sizes = self._check(x, lengths)
        values = x.detach().to(self.input_mean)
        if sizes is not None:
            values = values[torch.arange(x.shape[1], device=x.device) < sizes.to(x.device)[:, None]]
        values = values.reshape(-1, values.shape[-1])
        self.input_mean.copy_(values.mean(0))
        self.input_std.copy_(spread(values))

    def forward(self, x: Tensor, lengths: Tensor | Iterable[int] | None = None) -> Tensor:
        """Return the features, (rows, features) of the last state, or (rows, steps, features) of every step."""
        sizes = self._check(x, lengths)
        inputs = (x - self.input_mean) / self.input_std if self.vocabulary is None else self.embedding(x)
        outputs, state = self._read(inputs, sizes)
        if self.every_step:
            return self.dropout(outputs)
        hidden = state[0] if isinstance(state, tuple) else state
        return self.dropout(hidden[-self.directions :].transpose(0, 1).flatten(1))

    def _read(self, inputs: Tensor, sizes: Tensor | None) -> tuple[Tensor, Any]:
        """Run the recurrent layers; layers of torch (after `revert`) take lengths from packed sequences only."""
        if sizes is None or isinstance(self.recurrent, Recurrent):
            return self.recurrent(inputs, **({} if sizes is None else {"lengths": sizes}))
        outputs, state = self.recurrent(pack_padded_sequence(inputs, sizes, True, enforce_sorted=False))
        return pad_packed_sequence(outputs, True, total_length=inputs.shape[1])[0], state

    def _check(self, x: Tensor, lengths: Tensor | Iterable[int] | None) -> Tensor | None:
        rank, layout = (3, "(rows, steps, features)") if self.vocabulary is None else (2, "(rows, steps)")
        if not isinstance(x, Tensor) or x.dim() != rank or 0 in x.shape:
            what = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            hint = " For one feature use x.unsqueeze(-1)." if isinstance(x, Tensor) and x.dim() == rank - 1 else ""
            raise ValueError(f"x must be a tensor {layout} with at least one of each, but {what} was given.{hint}")
        if self.vocabulary is None:
            if x.shape[-1] != self.input_size:
                raise ValueError(
                    f"the model was made for input_size={self.input_size} features, but x has shape {tuple(x.shape)}. "
                    "The features are the last dimension."
                )
            if not x.is_floating_point():
                raise ValueError(f"x must be floating point, but its type is {x.dtype}. Use x.float().")
            if not watched():
                check_finite(x, "x")
        if lengths is None:
            return None
        return check_lengths(lengths, x.shape[0], x.shape[1])


def _check_kind(
    input_size: int | None, vocabulary: int | None, embedding_size: int | None, padding_idx: int | None
) -> None:
    if (input_size is None) == (vocabulary is None):
        given = "both" if input_size is not None else "neither"
        raise ValueError(
            f"give input_size for sequences of numbers or vocabulary for sequences of tokens; {given} was given."
        )
    if vocabulary is None and (embedding_size is not None or padding_idx is not None):
        raise ValueError("embedding_size and padding_idx belong to token inputs: give vocabulary, or leave them out.")
