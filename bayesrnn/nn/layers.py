"""`LSTM`, `GRU` and `RNN`: torch's signatures on the common recurrent layer."""

from typing import Any, Literal

import torch

from bayesrnn._checks import check_choice
from bayesrnn.nn.recurrent import Recurrent
from bayesrnn.schemes import Scheme


class LSTM(Recurrent):
    r"""Long short-term memory with masks on what enters the gates' products.

    $i, f, o = \sigma(\cdot)$, $g = \tanh(\cdot)$ of $W_k (x_t \circ z_x^k) + b_k + U_k (h_{t-1} \circ z_h^k) + d_k$;
    $c_t = f \circ c_{t-1} + i \circ g$; $h_t = o \circ \tanh c_t$. Signature, parameter names and state_dict keys are
    `torch.nn.LSTM`'s, except that `dropout` is a rate p (= ``schemes.gal(p)``) or a scheme. With `proj_size` the state
    h is $W_{hr} (o \circ \tanh c_t)$, and the masks of the site `hidden` act on it.

    Source: Gal & Ghahramani (2016), arXiv:1512.05287, section 4.

    With `sum_layers` the output is $\sum_l h^{(l)}$, the sum over all layers, in the place of the last layer's.

    Raises:
        ValueError: If a size is below 1, a rate outside [0, 1), or the scheme has a site that this layer lacks.

    Example:
        >>> layer = LSTM(3, 8, num_layers=2, dropout=0.25)
        >>> output, (h, c) = layer(torch.zeros(5, 2, 3))
        >>> output.shape
        torch.Size([5, 2, 8])
    """

    kind = "lstm"


class _Unprojected(Recurrent):
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float | Scheme = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        sum_layers: bool = False,
    ) -> None:
        options: dict[str, Any] = {"device": device, "dtype": dtype, "sum_layers": sum_layers}
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, **options)


class CappedLSTM(_Unprojected):
    r"""LSTM whose input gate is $\min(i, 1 - f)$: what is let in is at most what is forgotten.

    The memory then stays within the candidate's bounds, $|c_t| \le \max(|c_{t-1}|, 1)$. Otherwise as `LSTM`, with the
    names of `torch.nn.LSTM`.

    Source: Melis et al. (2018), arXiv:1707.05589, section 3.

    Args:
        input_size: Features D of the input.
        hidden_size: Units H.
        num_layers: How many layers.
        bias: Whether gates have biases.
        batch_first: Whether inputs are (rows, steps, D).
        dropout: Rate p (= ``schemes.gal(p)``) or a scheme.
        bidirectional: Whether each layer has two directions.
        device: Of the parameters.
        dtype: Of the parameters.
        sum_layers: Whether the output is the sum of the outputs of all layers, in the place of the last one's.

    Example:
        >>> output, (h, c) = CappedLSTM(3, 8, num_layers=2, dropout=0.25, sum_layers=True)(torch.zeros(5, 2, 3))
        >>> output.shape
        torch.Size([5, 2, 8])
    """

    kind = "lstm_capped"


class GRU(_Unprojected):
    r"""Gated recurrent unit with masks on what enters the gates' products, never on the carry $z \circ h_{t-1}$.

    $r, z = \sigma(\cdot)$; $n = \tanh(W_n (x_t \circ z_x^n) + b_n + r \circ (U_n (h_{t-1} \circ z_h^n) + d_n))$;
    $h_t = (1 - z) \circ n + z \circ h_{t-1}$. Otherwise as `LSTM`, with the names of `torch.nn.GRU`.

    Example:
        >>> output, h = GRU(3, 8, dropout=0.25)(torch.zeros(5, 2, 3))
        >>> h.shape
        torch.Size([1, 2, 8])
    """

    kind = "gru"


class RNN(Recurrent):
    r"""Elman network with masks on what enters the products, and $\phi$ = tanh or relu.

    $h_t = \phi(W (x_t \circ z_x) + b + U (h_{t-1} \circ z_h) + d)$. Otherwise as `LSTM`, with the names of
    `torch.nn.RNN`. After `num_layers` the options may be given by position, in the order of `LSTM` or, where a
    nonlinearity comes first, in the order of torch.

    Args:
        input_size: Features D of the input.
        hidden_size: Units H.
        num_layers: How many layers.
        *options: ([nonlinearity,] bias, batch_first, dropout, bidirectional, device, dtype) by position.
        **named: The same by name.

    Raises:
        TypeError: If an option is unknown, given twice, or too many are given.
        ValueError: If the nonlinearity is neither `tanh` nor `relu`.

    Example:
        >>> output, h = RNN(3, 8, nonlinearity="relu")(torch.zeros(5, 2, 3))
        >>> output.shape
        torch.Size([5, 2, 8])
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, *options: Any, **named: Any) -> None:
        given = _options(options, named)
        self.nonlinearity: Literal["tanh", "relu"] = given.pop("nonlinearity", "tanh")
        check_choice(self.nonlinearity, "nonlinearity", ("tanh", "relu"))
        self.kind = f"rnn_{self.nonlinearity}"
        super().__init__(input_size, hidden_size, num_layers, **given)

    def extra_repr(self) -> str:
        """Describe the layer as torch does."""
        return super().extra_repr() + (", nonlinearity='relu'" if self.nonlinearity == "relu" else "")


_NAMES = ("bias", "batch_first", "dropout", "bidirectional", "device", "dtype")


def _options(options: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """Give names to the options of an RNN."""
    names = ("nonlinearity", *_NAMES) if options and isinstance(options[0], str) else _NAMES
    unknown = sorted(set(named) - {"nonlinearity", *_NAMES})
    twice = sorted(set(named) & set(names[: len(options)]))
    if unknown or twice or len(options) > len(names):
        raise TypeError(
            f"RNN takes input_size, hidden_size, num_layers, then {', '.join(names)}; unknown: {unknown or 'none'}, "
            f"given twice: {twice or 'none'}, by position: {len(options)} of at most {len(names)}."
        )
    return dict(zip(names, options)) | named
