"""A recurrent encoder-decoder with attention: a sentence in, the distribution of each word of another out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from bayesrnn._checks import check_choice, check_flag, check_lengths, check_whole
from bayesrnn.models.encoder import scheme_of
from bayesrnn.nn import GRU, LSTM, Dropout, Embedding
from bayesrnn.nn.states import UserState, as_state, as_user
from bayesrnn.schemes import Scheme

_CELLS: dict[str, type[LSTM] | type[GRU]] = {"lstm": LSTM, "gru": GRU}
_WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True, eq=False)
class EncodedSource:
    """What the encoder says of source sentences: values and keys to attend to, and where the decoder begins.

    Attributes:
        values: (rows, steps, 2 H), the masked outputs of both directions.
        keys: (rows, steps, H), what the decoder's states are compared with.
        inside: (rows, steps) bool, False at padding.
        state: First state of the decoder, (layers, rows, H), twice for an LSTM.
    """

    values: Tensor
    keys: Tensor
    inside: Tensor
    state: UserState

    def take(self, rows: Tensor) -> "EncodedSource":
        """Return the sources of some rows, (n,) int64."""
        state = as_user(tuple(part[:, rows] for part in as_state(self.state)))
        return EncodedSource(self.values[rows], self.keys[rows], self.inside[rows], state)


class EncoderDecoder(nn.Module):
    r"""The distribution of each target token given a source: $p(y_t \mid y_{<t}, x, z)$ under one draw z of masks.

    A bidirectional encoder reads x to values $v_s$; the decoder reads the target so far to $h_t$ and attends:

    $$a_{ts} = \mathrm{softmax}_s(h_t^\top K v_s), \quad u_t = \tanh(C [\textstyle\sum_s a_{ts} v_s; h_t]), \quad
    p = \mathrm{softmax}(V (u_t \circ z_o) + b).$$

    Masks act on the word types of both languages, on inputs and states of both recurrences, and on the outputs $v_s$
    and $u_t$ (site `output`). One draw of a scheme of Gal's holds over the whole sentence in both halves. Attention
    comes after the recurrence, so that the decoder reads a known target in one call.

    Source: Luong et al. (2015), arXiv:1508.04025, general attention without input feeding; masks of arXiv:1512.05287.

    Args:
        source_size: Tokens of the source's vocabulary.
        target_size: Tokens of the target's vocabulary V; None if both languages share one vocabulary and its vectors.
        embedding_size: Length of a token's vector, and of $u_t$.
        hidden_size: Units H of each layer and direction.
        num_layers: Layers of the encoder, and of the decoder.
        cell: ``"lstm"`` or ``"gru"``.
        dropout: Rate p (= ``schemes.gal(p)``) or a scheme.
        shared_embeddings: Whether the matrix V is the target's embedding, which is not masked there.
        padding: The token behind the end of shorter sentences, in both languages.
        start: The target's token before the first word.
        end: The target's token after the last word.

    Raises:
        ValueError: If a size is below 1, the cell unknown, or the special tokens are not three of the vocabulary.

    Example:
        >>> model = EncoderDecoder(50, 40, 8, 8, dropout=0.3).eval()
        >>> source, known = torch.randint(3, 40, (2, 6)), torch.randint(3, 40, (2, 5))
        >>> model(source, known).probs.shape
        torch.Size([2, 5, 40])
    """

    def __init__(
        self,
        source_size: int,
        target_size: int | None = None,
        embedding_size: int = 256,
        hidden_size: int = 256,
        num_layers: int = 1,
        cell: str = "lstm",
        *,
        dropout: float | Scheme = 0.0,
        shared_embeddings: bool = True,
        padding: int = 0,
        start: int = 1,
        end: int = 2,
    ) -> None:
        super().__init__()
        self.source_size = check_whole(source_size, "source_size")
        self.target_size = self.source_size if target_size is None else check_whole(target_size, "target_size")
        self.one_vocabulary = target_size is None
        self.embedding_size = check_whole(embedding_size, "embedding_size")
        self.hidden_size = check_whole(hidden_size, "hidden_size")
        self.num_layers = check_whole(num_layers, "num_layers")
        self.cell = check_choice(cell, "cell", _CELLS)
        self.scheme = scheme_of(dropout)
        self.shared_embeddings = check_flag(shared_embeddings, "shared_embeddings")
        self.padding, self.start, self.end = _special(padding, start, end, self.target_size)
        width, layer, sizes = self.embedding_size, _CELLS[cell], (self.hidden_size, self.num_layers)
        words: dict[str, Any] = {"padding_idx": padding, "dropout": self.scheme, "per_row": True}
        self.embedding = Embedding(self.target_size, width, **words)
        self.source_embedding = None if self.one_vocabulary else Embedding(self.source_size, width, **words)
        self.encoder = layer(width, *sizes, batch_first=True, dropout=self.scheme, bidirectional=True)
        self.decoder = layer(width, *sizes, batch_first=True, dropout=self.scheme)
        placement = self.scheme.placement("output")
        rate, span = (placement.rate, placement.span) if placement else (0.0, "sequence")
        self.value_dropout, self.output_dropout = Dropout(rate, span), Dropout(rate, span)
        states = len(self.decoder.cell.states)
        self.bridges = nn.ModuleList(nn.Linear(2 * hidden_size, hidden_size) for _ in range(states))
        self.keys = nn.Linear(2 * hidden_size, hidden_size, bias=False)
        self.combine = nn.Linear(3 * hidden_size, width, bias=False)
        self.output_weight = None if shared_embeddings else nn.Parameter(torch.empty(self.target_size, width))
        self.output_bias = nn.Parameter(torch.zeros(self.target_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw token vectors and the matrix V from U(-a, a), so that they have a mean squared length of 1.

        a = sqrt(3 / embedding_size). The other parameters start as torch starts them.
        """
        bound = (3.0 / self.embedding_size) ** 0.5
        tables = [self.embedding.weight, self.output_weight]
        tables += [] if self.source_embedding is None else [self.source_embedding.weight]
        for table in tables:
            if table is not None:
                nn.init.uniform_(table, -bound, bound)

    def forward(
        self,
        source: Tensor | PackedSequence,
        known: Tensor | PackedSequence,
        lengths: Tensor | Iterable[int] | None = None,
    ) -> Categorical:
        """Return the distributions of the tokens that follow each of `known`, batch shape (rows, target steps).

        Args:
            source: (rows, steps) tokens with padding behind, or packed.
            known: The target so far, with `start` in front: position t is given, position t + 1 is predicted.
            lengths: Tokens of each row of `known`; what lies beyond counts as padding, and `br.fit` leaves it out.

        Raises:
            ValueError: If tokens are not (rows, steps) of whole numbers in the vocabulary, a sentence is empty, or
                padding stands before a token.
        """
        if lengths is not None and isinstance(known, Tensor) and known.dim() == 2:
            beyond = torch.arange(known.shape[1]) >= check_lengths(lengths, *known.shape)[:, None]
            known = known.masked_fill(beyond.to(known.device), self.padding)
        source, known = self._tokens(source, "source"), self._tokens(known, "known")
        if len(source) != len(known):
            raise ValueError(
                f"source and known must hold the same sentences, but they have {len(source)} and {len(known)} rows."
            )
        if self.source_embedding is None:  # one call, so that a word is dropped in both languages or in none
            both = self.embedding(torch.cat([source, known], 1))
            embedded_source, embedded_known = both.split([source.shape[1], known.shape[1]], 1)
        else:
            embedded_source, embedded_known = self.source_embedding(source), self.embedding(known)
        features, _ = self._decoded(embedded_known, self._encoded(source, embedded_source))
        return Categorical(logits=self.logits(features), validate_args=False)

    def encode(self, source: Tensor | PackedSequence) -> EncodedSource:
        """Return what the decoder needs of the source sentences (rows, steps)."""
        source = self._tokens(source, "source")
        return self._encoded(source, (self.source_embedding or self.embedding)(source))

    def decode(
        self, tokens: Tensor, encoded: EncodedSource, state: UserState | None = None
    ) -> tuple[Tensor, UserState]:
        """Read target tokens (rows, steps) on from a state; return features (rows, steps, E) and the state after."""
        return self._decoded(self.embedding(tokens), encoded, state)

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (..., V) of `features` (..., E)."""
        weight = self.embedding.weight if self.output_weight is None else self.output_weight
        return nn.functional.linear(features, weight, self.output_bias)

    def weights_behind(self) -> dict[str, str]:
        """Return the weights whose input an output mask multiplies, as {its name: name of the Dropout before it}."""
        weight = "embedding.weight" if self.output_weight is None else "output_weight"
        return {"keys.weight": "value_dropout", weight: "output_dropout"}

    def config(self) -> dict[str, Any]:
        """Return the arguments that make a model of this shape, as plain data."""
        names = ("source_size", "embedding_size", "hidden_size", "num_layers", "cell", "shared_embeddings")
        return {
            **{name: getattr(self, name) for name in (*names, "padding", "start", "end")},
            "target_size": None if self.one_vocabulary else self.target_size,
            "dropout": self.scheme.to_dict(),
        }

    def _encoded(self, source: Tensor, vectors: Tensor) -> EncodedSource:
        inside = source != self.padding
        outputs, state = self.encoder(vectors, lengths=inside.sum(1))
        values = self.value_dropout(outputs)
        first = []
        for bridge, part in zip(self.bridges, as_state(state), strict=True):
            both = part.unflatten(0, (self.num_layers, 2)).transpose(1, 2).flatten(2)
            first.append(torch.tanh(bridge(both)))
        return EncodedSource(values, self.keys(values), inside, as_user(tuple(first)))

    def _decoded(
        self, vectors: Tensor, encoded: EncodedSource, state: UserState | None = None
    ) -> tuple[Tensor, UserState]:
        hidden, last = self.decoder(vectors, encoded.state if state is None else state)
        scores = (hidden @ encoded.keys.transpose(1, 2)).masked_fill(~encoded.inside[:, None], -torch.inf)
        context = torch.softmax(scores, -1) @ encoded.values
        return self.output_dropout(torch.tanh(self.combine(torch.cat([context, hidden], -1)))), last

    def _tokens(self, tokens: Tensor | PackedSequence, name: str) -> Tensor:
        """Return tokens (rows, steps) as int64, or say what is wrong with them."""
        if isinstance(tokens, PackedSequence):
            tokens = pad_packed_sequence(tokens, True, self.padding)[0]
        if not isinstance(tokens, Tensor) or tokens.dim() != 2 or tokens.dtype not in _WHOLE:
            what = f"{tokens.dtype} {tuple(tokens.shape)}" if isinstance(tokens, Tensor) else type(tokens).__name__
            raise ValueError(
                f"{name} must be a tensor of token numbers (rows, steps), but {what} was given. For one sentence: "
                f"{name}[None]."
            )
        tokens = tokens.long()
        inside = tokens != self.padding
        if not len(tokens):
            raise ValueError(f"{name} holds no sentence: its shape is {tuple(tokens.shape)}. Give at least one row.")
        empty = ~inside[:, :1].any(1)
        if bool(empty.any()):
            raise ValueError(
                f"{name} sentence {int(empty.int().argmax())} is empty: a sentence has at least "
                f"one token before its padding ({self.padding}). Leave out empty lines in both languages."
            )
        torn = (inside[:, 1:] & ~inside[:, :-1]).any(1)
        if bool(torn.any()):
            raise ValueError(
                f"{name} sentence {int(torn.int().argmax())} has padding ({self.padding}) before a token. Padding "
                "stands behind the sentence: pad at the end."
            )
        return tokens


def _special(padding: int, start: int, end: int, size: int) -> tuple[int, int, int]:
    padding, start, end = (
        check_whole(v, name, 0) for v, name in ((padding, "padding"), (start, "start"), (end, "end"))
    )
    if len({padding, start, end}) < 3 or max(padding, start, end) >= size:
        raise ValueError(
            f"padding, start and end must be three different tokens below target_size {size}, but "
            f"{(padding, start, end)} was given."
        )
    return padding, start, end
