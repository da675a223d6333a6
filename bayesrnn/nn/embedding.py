"""An embedding that drops whole word types, for every occurrence in a sequence."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn.nn.devices import watched
from bayesrnn.nn.layouts import Pass, consecutive
from bayesrnn.nn.masked import MaskedModule
from bayesrnn.nn.torch_names import torch_names
from bayesrnn.schemes import Placement, Scheme, as_scheme


class Embedding(MaskedModule, nn.Embedding):
    r"""`torch.nn.Embedding` with one mask per word type and sequence.

    The vector of a word type v in row b is $z_{b,v} e_v$ with $z \in \{0, 1/(1-p)\}$: a dropped word is dropped at
    every place where the sequence holds it. The padding word is never dropped. The mask multiplies what is looked up,
    so a decoder that shares the weight is not masked.

    Source: Gal & Ghahramani (2016), arXiv:1512.05287, section 4.2; `dropout` is a rate or a scheme with a site `word`.

    Args:
        num_embeddings: Size of the vocabulary V.
        embedding_dim: Length of a vector.
        padding_idx: The padding word.
        dropout: Rate of dropping a word type, or a scheme.
        batch_first: Whether tokens are (rows, steps); it says which dimension is a sequence.
        per_row: Whether tokens belong to rows. False: they are the same for all rows (positions) and have no masks.
            None finds out: by the rows of the inputs in a model made by `convert`; else tokens (n,) that are
            0, 1, 2, ... are positions.
        **options: Further arguments of `torch.nn.Embedding`.

    Example:
        >>> Embedding(10, 4, dropout=0.3).eval()(torch.zeros(2, 5, dtype=torch.long)).shape
        torch.Size([2, 5, 4])
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        dropout: float | Scheme = 0.0,
        batch_first: bool = True,
        per_row: bool | None = None,
        **options: Any,
    ) -> None:
        nn.Embedding.__init__(self, num_embeddings, embedding_dim, padding_idx, **options)
        self.scheme = as_scheme(dropout)
        self.batch_first, self.per_row = batch_first, per_row
        self.current: Pass | None = None
        self.positions: bool | None = None

    def declared(self) -> dict[str, Placement]:
        """Return the site `word`, if its rate is above 0."""
        placement = self.scheme.placement("word")
        return {"word": placement} if placement else {}

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """Set the rate, by the key `word`; see `MaskedModule.set_rates`."""
        super().set_rates(rates)
        self.scheme, self.rates = self.scheme.with_rates(word=rates.get("word", self.scheme.rate("word"))), {}

    @torch_names(input="tokens")
    def forward(self, tokens: Tensor, *, masks: Tensor | None = None) -> Tensor:
        """Look up tokens (rows, steps), or (steps, rows) without `batch_first`, or (rows,): one category per row.

        Args:
            tokens: Whole numbers in [0, V).
            masks: One value per row and word type, (rows, V); else bound, fresh in train mode, or none.

        Raises:
            ValueError: If tokens are not whole numbers in [0, V), of rank 1 or 2, or masks do not fit.
        """
        self._check(tokens)
        vectors = super().forward(tokens)
        if masks is None and (self.idle(None) or not self.declared() or not self._of_rows(tokens)):
            return vectors
        rows_first = self._rows_first(tokens)
        mask = self._mask(rows_first, masks)
        if mask is None:
            return vectors
        if self.padding_idx is not None:
            mask = mask.masked_fill(rows_first == self.padding_idx, 1.0)
        shaped = mask if self.batch_first or tokens.dim() == 1 else mask.transpose(0, 1)
        return vectors * shaped.reshape(tokens.shape).unsqueeze(-1)

    def _rows_first(self, tokens: Tensor) -> Tensor:
        if tokens.dim() == 1:
            return tokens.unsqueeze(1)
        return tokens if self.batch_first else tokens.transpose(0, 1)

    def _mask(self, tokens: Tensor, masks: Tensor | None) -> Tensor | None:
        """Return the mask of tokens (rows, T), of the same shape, or None."""
        placement = self.scheme.placement("word")
        shape = (1, 1, tokens.shape[0], self.num_embeddings)
        site = self.site("word", placement or Placement("word", 0.0), shape, self.weight, tokens)
        given = None if masks is None else {"word": masks}
        mask = self.masks({"word": site}, tokens.shape[0], given).get("word")
        return None if mask is None else mask[0, 0]

    def _of_rows(self, tokens: Tensor) -> bool:
        """Whether tokens belong to rows, rather than being the same for all of them, as positions are.

        Raises:
            ValueError: If they do not fit the rows of the model's inputs, or were positions before and are not now.
        """
        if self.per_row is not None:
            return self.per_row
        if self.stepwise and tokens.dim() == 1:  # in a loop over steps: a word per row, or one position for all
            return len(tokens) > 1 or self.source is None or self.source.rows in (None, 1)
        rows = tokens.shape[0 if self.batch_first or tokens.dim() == 1 else 1]
        current = None if torch.compiler.is_compiling() else self.current
        if current is not None and current.rows is not None:
            return self._fits(tokens, rows, current.rows, rows in current.sizes)
        if tokens.dim() == 2:
            return not (rows == 1 and consecutive(tokens))
        return self._are_categories(tokens)

    def _fits(self, tokens: Tensor, rows: int, expected: int, like_steps: bool) -> bool:
        """Whether tokens hold the rows that the model's inputs have, or a multiple of them."""
        if rows == expected:
            return not (tokens.dim() == 1 and like_steps and consecutive(tokens))
        if tokens.dim() == 1 or rows == 1:
            return rows % expected == 0 and not consecutive(tokens)
        if rows % expected:
            raise ValueError(
                f"this Embedding was given tokens of shape {tuple(tokens.shape)}, but the inputs of the model hold "
                f"{expected} rows, so its masks could not belong to rows. For tokens that are the same for all rows "
                "(positions) set its per_row to False: they have no masks then."
            )
        return True

    def _are_categories(self, tokens: Tensor) -> bool:
        """Whether tokens (n,) are a category per row; they are positions where they are 0, 1, 2, ... whenever seen."""
        if tokens.numel() < 3:
            return not self.positions
        positions = consecutive(tokens)
        if self.source is None:
            self.positions = positions if self.positions is None else self.positions
        if self.positions is not None and positions != self.positions:
            raise ValueError(
                "the tokens of this Embedding without steps were 0, 1, 2, ... in one pass and others in another, so "
                "it is unclear whether they are positions, the same for all rows, or one category per row. Set its "
                "per_row to False for positions, to True for categories."
            )
        return not positions

    def _check(self, tokens: Tensor) -> None:
        if tokens.is_floating_point() or tokens.dtype == torch.bool or tokens.dim() not in (1, 2):
            raise ValueError(
                f"tokens must be whole numbers of shape (rows, steps), but {tokens.dtype} of shape "
                f"{tuple(tokens.shape)} was given."
            )
        if tokens.numel() and not watched():
            low, high = int(tokens.min()), int(tokens.max())
            if low < 0 or high >= self.num_embeddings:
                raise ValueError(
                    f"tokens must lie in 0..{self.num_embeddings - 1}, but they reach from {low} to {high}. "
                    "Map unknown words to the vocabulary's <unk>, and check that the vocabulary is the model's."
                )

    def extra_repr(self) -> str:
        """Describe the layer as torch does, with the rate of its words."""
        rate = self.scheme.rate("word")
        return super().extra_repr() + (f", dropout={rate:g}" if rate else "")
