"""`LSTMCell`, `GRUCell` and `RNNCell`: torch's cells, with masks that hold over the steps of a loop."""

import threading
from collections.abc import Callable
from typing import Literal
from weakref import ref

import torch
from torch import Tensor

from bayesrnn._checks import check_choice
from bayesrnn.masks import Fresh, MaskSource, OneSequence
from bayesrnn.masks.sequence import unclear
from bayesrnn.nn.kernels.cells import CELLS, State
from bayesrnn.nn.kernels.reference import masked_product
from bayesrnn.nn.mask_plan import Masks
from bayesrnn.nn.recurrence import MaskedRecurrence
from bayesrnn.nn.states import UserState, as_state, as_user, check_input, initial
from bayesrnn.nn.torch_names import torch_names
from bayesrnn.schemes import Scheme

_KERNELS: dict[str, Callable[..., Tensor | tuple[Tensor, Tensor]]] = {
    "lstm": torch._VF.lstm_cell,
    "gru": torch._VF.gru_cell,
    "rnn_tanh": torch._VF.rnn_tanh_cell,
    "rnn_relu": torch._VF.rnn_relu_cell,
}


class _Open(threading.local):
    """The sequence that a cell is in the middle of, and the state it returned last."""

    def __init__(self) -> None:
        self.sequence: OneSequence | None = None
        self.last: Callable[[], Tensor | None] = lambda: None

    def __reduce__(self) -> tuple[type["_Open"], tuple[()]]:
        return _Open, ()


class RecurrentCell(MaskedRecurrence):
    """One step of a recurrence, with the parameters and the results of torch's cell, and masks that hold.

    Which calls are one sequence, and so have the same masks:

    - under `predict`, all calls of a pass of the model: the masks of the draw;
    - in train mode, all calls of a pass of a model made by `convert`, or of a block ``with br.nn.sequence(model):``;
    - elsewhere in train mode, a call without state, or with one that has no history (zeros, learned, detached), begins
      a sequence, and a call with the state that the cell returned last goes on with it. Any other state is refused: it
      does not say which of the two is meant.
    """

    stepwise = True
    kind: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        dropout: float | Scheme = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(CELLS[self.kind], input_size, hidden_size, bias, dropout)
        self._open = _Open()
        self._register(self._ending(0), self.input_size, device=device, dtype=dtype)
        self.reset_parameters()

    def _ending(self, layer: int | str, suffix: str = "") -> str:
        return ""

    @torch_names(input="x", hx="state")
    def forward(self, x: Tensor, state: UserState | None = None, *, masks: Masks | None = None) -> UserState:
        """Run one step.

        Args:
            x: (rows, D), or (D,) for one sequence.
            state: h, or (h, c) of an LSTM, each (rows, H) or (H,); zeros if not given.
            masks: Masks of this step, in train or eval mode, as `sample_masks` gives them with ``steps=1``.

        Returns:
            The new state, shaped as torch's cell shapes it.

        Raises:
            ValueError: On a wrong rank, size or type; if masks do not fit; if the rows are another sequence's;
                or if, in train mode, the state does not say whether the sequence goes on.
        """
        if masks is None and self.source is None and self.training and self.scheme.active and self._begins(state):
            self._open.sequence = OneSequence(Fresh())
        if isinstance(x, Tensor) and x.dim() == 1:
            batched = None if state is None else tuple(s.unsqueeze(0) for s in as_state(state))
            new = tuple(s.squeeze(0) for s in self._step(x.unsqueeze(0), batched, masks))
        else:
            new = self._step(x, state, masks)
        self._open.last = ref(new[0])
        return as_user(new)

    def _begins(self, state: object) -> bool:
        """Whether a call in train mode begins a sequence, by the state it is given.

        Raises:
            ValueError: If the state does not tell.
        """
        h = None if state is None else as_state(state)[0]
        if h is not None and h is self._open.last():
            return False
        learning = torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
        if h is None or (learning and h.grad_fn is None):
            return True
        raise ValueError(unclear(type(self).__name__))

    def fresh(self) -> MaskSource:
        """Return the masks of the sequence that the cell is in the middle of; see `MaskedModule.fresh`."""
        return self._open.sequence or super().fresh()

    def _step(self, x: Tensor, state: object, masks: Masks | None) -> State:
        if isinstance(x, Tensor) and x.dim() == 3:
            raise ValueError(
                f"a {type(self).__name__} reads one step, (rows, {self.input_size}), but x has shape {tuple(x.shape)}: "
                f"call it in a loop over the steps, or use {type(self).__name__.removesuffix('Cell')} for all at once."
            )
        w_ih, w_hh, b_ih, b_hh = self._weights(0, "")
        check_input(x, self.input_size, False, w_ih.dtype)
        old = initial(state, self.cell, (x.shape[0], self.hidden_size), w_ih)
        ((_, now),) = self._site_masks(x.shape[0], 1, masks)
        if not now.all():
            return as_state(_KERNELS[self.cell.name](x, old if len(old) == 2 else old[0], w_ih, w_hh, b_ih, b_hh))
        w_hh = w_hh if now.weight is None else w_hh * now.weight[0, 0]
        inward = masked_product(x, w_ih, b_ih, now.input, self.cell.gates)
        recurrent = masked_product(old[0], w_hh, b_hh, now.hidden, self.cell.gates)
        return self.cell.step(inward, recurrent, old, now)

    def extra_repr(self) -> str:
        """Describe the cell as torch does, with the scheme."""
        text = f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")
        return text + (f", dropout={self.scheme}" if self.scheme.active else "")


class LSTMCell(RecurrentCell):
    """One step of `LSTM`, with the signature and the state_dict keys of `torch.nn.LSTMCell`.

    Masks hold over the steps of a loop; see `RecurrentCell` for where a sequence begins. They equal the masks of an
    `LSTM` of the same name and sizes, with the same keys (`input_l0`, `hidden_l0`, ...).

    Raises:
        ValueError: If a size is below 1, a rate outside [0, 1), or the scheme has a site that this cell lacks.

    Example:
        >>> cell, state = LSTMCell(3, 8, dropout=0.25), None
        >>> for x in torch.zeros(5, 2, 3):
        ...     state = cell(x, state)
        >>> state[0].shape
        torch.Size([2, 8])
    """

    kind = "lstm"


class GRUCell(RecurrentCell):
    """One step of `GRU`, with the signature and the state_dict keys of `torch.nn.GRUCell`; otherwise as `LSTMCell`.

    Example:
        >>> GRUCell(3, 8, dropout=0.25)(torch.zeros(2, 3)).shape
        torch.Size([2, 8])
    """

    kind = "gru"


class RNNCell(RecurrentCell):
    """One step of `RNN`, with the signature and the state_dict keys of `torch.nn.RNNCell`; otherwise as `LSTMCell`.

    Raises:
        ValueError: If the nonlinearity is neither `tanh` nor `relu`.

    Example:
        >>> RNNCell(3, 8, nonlinearity="relu", dropout=0.25)(torch.zeros(2, 3)).shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        dropout: float | Scheme = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_choice(nonlinearity, "nonlinearity", ("tanh", "relu"))
        self.nonlinearity, self.kind = nonlinearity, f"rnn_{nonlinearity}"
        super().__init__(input_size, hidden_size, bias, dropout, device, dtype)

    def extra_repr(self) -> str:
        """Describe the cell as torch does."""
        return super().extra_repr() + (", nonlinearity='relu'" if self.nonlinearity == "relu" else "")
