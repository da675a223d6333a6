"""A recurrent language model whose embedding, recurrence and output carry the masks of a scheme."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from bayesrnn._checks import check_choice, check_flag, check_number, check_whole
from bayesrnn.nn import GRU, LSTM, CappedLSTM, Dropout, Embedding
from bayesrnn.schemes import Scheme, as_scheme

State = Tensor | tuple[Tensor, Tensor]
"""h, or (h, c): each (layers, rows, H)."""

_CELLS: dict[str, type[LSTM] | type[CappedLSTM] | type[GRU]] = {"lstm": LSTM, "capped_lstm": CappedLSTM, "gru": GRU}
_SHORT = (torch.uint8, torch.int8, torch.int16)  # whole numbers that torch does not look up


class LanguageModel(nn.Module):
    r"""The distribution of the next token: $p(w_{t+1} \mid w_{\le t}) = \mathrm{softmax}(V (h_t \circ z_o) + b)$.

    Word types are masked where they are looked up (site `word`), the layers as the scheme says, and the top layer's
    output before the decoder (site `output`). With shared embeddings the decoder's matrix is the embedding, which is
    not masked there; if the sizes differ, a matrix without bias takes H to the embedding's size. All parameters start
    from U(-a, a), biases too, as in the papers.

    Source: Zaremba et al. (2014), arXiv:1409.2329; Gal & Ghahramani (2016), arXiv:1512.05287; shared embeddings: Press
    & Wolf (2016), arXiv:1608.05859.

    Args:
        vocabulary_size: Number of tokens V.
        embedding_size: Length of an embedding.
        hidden_size: Units H of each layer.
        num_layers: Layers.
        cell: `lstm`, `gru`, or `capped_lstm`, whose input gate is $\min(i, 1 - f)$.
        dropout: Rate p (= ``schemes.gal(p)``) or a scheme.
        shared_embeddings: Whether decoder and embedding are one matrix.
        sum_layers: Whether the decoder reads the sum of the outputs of all layers, in the place of the top layer's.
        init_range: The a of the initial U(-a, a).

    Raises:
        ValueError: If a size is below 1, the cell unknown, the init range not positive, or the scheme does not fit.

    Example:
        >>> model = LanguageModel(50, 8, 16, dropout=0.3).eval()
        >>> distribution, state = model(torch.zeros(2, 7, dtype=torch.long))
        >>> distribution.logits.shape
        torch.Size([2, 7, 50])
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_size: int = 650,
        hidden_size: int = 650,
        num_layers: int = 2,
        cell: str = "lstm",
        *,
        dropout: float | Scheme = 0.0,
        shared_embeddings: bool = False,
        sum_layers: bool = False,
        init_range: float = 0.05,
    ) -> None:
        super().__init__()
        self.vocabulary_size = check_whole(vocabulary_size, "vocabulary_size", 2)
        self.embedding_size = check_whole(embedding_size, "embedding_size")
        self.hidden_size = check_whole(hidden_size, "hidden_size")
        self.num_layers = check_whole(num_layers, "num_layers")
        self.cell = check_choice(cell, "cell", _CELLS)
        self.scheme = as_scheme(dropout)
        self.shared_embeddings = check_flag(shared_embeddings, "shared_embeddings")
        self.sum_layers = check_flag(sum_layers, "sum_layers")
        self.init_range = check_number(init_range, "init_range", "the positive a of U(-a, a)", 0.0, above=True)
        self.embedding = Embedding(vocabulary_size, embedding_size, dropout=self.scheme)
        self.recurrent = _CELLS[cell](
            embedding_size, hidden_size, num_layers, batch_first=True, dropout=self.scheme, sum_layers=sum_layers
        )
        output = self.scheme.placement("output")
        self.output_dropout = Dropout(output.rate, output.span) if output else Dropout(0.0)
        project = shared_embeddings and embedding_size != hidden_size
        self.projection = nn.Linear(hidden_size, embedding_size, bias=False) if project else None
        weight = None if shared_embeddings else nn.Parameter(torch.empty(vocabulary_size, hidden_size))
        self.decoder_weight: nn.Parameter | None
        self.register_parameter("decoder_weight", weight)
        self.decoder_bias = nn.Parameter(torch.empty(vocabulary_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter from U(-a, a)."""
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -self.init_range, self.init_range)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Categorical, State]:
        """Return the distribution of the token after each of `tokens` (rows, steps), and the state after the last.

        Args:
            tokens: Whole numbers in [0, V).
            state: State to go on from; zeros if not given.

        Returns:
            A Categorical of batch shape (rows, steps), and the state: (layers, rows, H), twice for an LSTM.

        Raises:
            ValueError: If tokens are not (rows, steps) or not in the vocabulary, or the state does not fit.
            TypeError: If tokens are no tensor.
        """
        features, last = self.features(tokens, state)
        return Categorical(logits=self.logits(features), validate_args=False), last

    def features(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return what the decoder sees, (rows, steps, features), and the state after the last token."""
        if not isinstance(tokens, Tensor):
            raise TypeError(
                f"tokens must be a tensor of whole numbers (rows, steps), but a {type(tokens).__name__} was given. "
                "Pass torch.tensor(tokens)."
            )
        if tokens.dim() != 2:
            raise ValueError(
                f"tokens must be (rows, steps), but their shape is {tuple(tokens.shape)}. For one stream: tokens[None]."
            )
        if tokens.dtype in _SHORT:
            tokens = tokens.long()
        hidden, last = self.recurrent(self.embedding(tokens), state)
        hidden = self.output_dropout(hidden)
        return hidden if self.projection is None else self.projection(hidden), last

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (..., V) of `features` (..., features)."""
        return nn.functional.linear(features, self.decoder_matrix, self.decoder_bias)

    @property
    def decoder_matrix(self) -> Tensor:
        """The matrix from features to logits, (V, features): the embedding's where that is shared."""
        return self.embedding.weight if self.decoder_weight is None else self.decoder_weight

    def weights_behind(self) -> dict[str, str]:
        """Return the weight whose input the output mask multiplies, as {its name: name of the Dropout before it}.

        That is the projection, where there is one; else the decoder's matrix, which may be the embedding's.
        """
        if self.projection is not None:
            return {"projection.weight": "output_dropout"}
        return {"embedding.weight" if self.decoder_weight is None else "decoder_weight": "output_dropout"}

    def config(self) -> dict[str, Any]:
        """Return the arguments that make a model of this shape, as plain data."""
        return {
            "vocabulary_size": self.vocabulary_size,
            "embedding_size": self.embedding_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "cell": self.cell,
            "dropout": self.scheme.to_dict(),
            "shared_embeddings": self.shared_embeddings,
            "sum_layers": self.sum_layers,
            "init_range": self.init_range,
        }
