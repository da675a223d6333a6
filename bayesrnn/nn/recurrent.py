"""What `LSTM`, `GRU` and `RNN` share: parameters, states, masks, layers and directions."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from bayesrnn._checks import check_lengths, check_whole, is_exporting
from bayesrnn.masks import SiteMasks
from bayesrnn.nn.exported import run_exported
from bayesrnn.nn.kernels.cells import CELLS, State
from bayesrnn.nn.kernels.dispatch import run
from bayesrnn.nn.kernels.torch_kernel import flatten
from bayesrnn.nn.layouts import note_output
from bayesrnn.nn.mask_plan import Masks
from bayesrnn.nn.projection import run_projected
from bayesrnn.nn.recurrence import MaskedRecurrence
from bayesrnn.nn.sequences import repack, unpack, without_padding
from bayesrnn.nn.states import UserState, as_state, as_user, check_input, initial
from bayesrnn.nn.torch_names import torch_names
from bayesrnn.schemes import Scheme

Placed = tuple[tuple[int, str], SiteMasks]
"""Layer and suffix of its direction, and its masks."""


class Recurrent(MaskedRecurrence):
    """A stack of recurrent layers with the parameters and the results of torch's, and masks where the scheme says."""

    kind: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float | Scheme = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        sum_layers: bool = False,
    ) -> None:
        super().__init__(CELLS[self.kind], input_size, hidden_size, bias, dropout)
        self.sum_layers = sum_layers
        self.num_layers, self.proj_size = check_whole(num_layers, "num_layers"), check_whole(proj_size, "proj_size", 0)
        self.batch_first, self.bidirectional = batch_first, bidirectional
        if self.proj_size >= self.hidden_size:
            raise ValueError(
                f"proj_size must be smaller than hidden_size={hidden_size}, but {proj_size} was given. 0 is no "
                "projection."
            )
        for layer, suffix in self.plan.directions():
            width = self.input_size if layer == 0 else self.plan.outputs * self.num_directions
            self._register(self._ending(layer, suffix), width, device=device, dtype=dtype)
        self.reset_parameters()

    @property
    def num_directions(self) -> int:
        """1, or 2 for a bidirectional layer."""
        return 2 if self.bidirectional else 1

    @torch_names(input="x", hx="state")
    def forward(
        self,
        x: Tensor | PackedSequence,
        state: UserState | None = None,
        *,
        lengths: Tensor | Iterable[int] | None = None,
        masks: Masks | None = None,
    ) -> tuple[Tensor | PackedSequence, UserState]:
        """Run the layer over a batch of sequences.

        Args:
            x: (steps, rows, D), or (rows, steps, D) with `batch_first`, or (steps, D) for one sequence, or packed.
            state: Initial state as in torch, (layers * directions, rows, H); zeros if not given.
            lengths: Steps of each row; outputs beyond are 0 and the state stops there.
            masks: Masks to use, in train or eval mode. Without them: the masks of a running prediction, else fresh
                ones in train mode, else none, which is the deterministic pass.

        Returns:
            The outputs and the last state, shaped as torch's layer shapes them, in the type of the parameters.

        Raises:
            ValueError: On a wrong rank, size or type, lengths outside 1..steps, or masks that do not fit.
        """
        if isinstance(x, PackedSequence):
            if lengths is not None:
                raise ValueError("a PackedSequence knows its lengths: leave out lengths=, or pass the padded tensor.")
            padded, ends = unpack(x)
            outputs, last = self._batched(self._checked(padded, False), state, ends, masks)
            return repack(outputs, ends, x), last
        self._checked(x, self.batch_first)
        if x.dim() == 2:
            return self._single(x, state, lengths, masks)
        time_first = x.transpose(0, 1) if self.batch_first else x
        sizes = None if lengths is None else check_lengths(lengths, time_first.shape[1], time_first.shape[0])
        outputs, last = self._batched(time_first, state, sizes, masks)
        return (outputs.transpose(0, 1) if self.batch_first else outputs), last

    def _single(self, x: Tensor, state: object, lengths: object, masks: Masks | None) -> tuple[Tensor, UserState]:
        if lengths is not None:
            raise ValueError("one unbatched sequence (steps, features) has no padding: leave out lengths=.")
        rows = None if state is None else as_state(state)
        if rows is not None and any(s.dim() != 2 for s in rows):
            raise ValueError(
                "the state of one unbatched sequence must be (layers * directions, hidden), but "
                f"{[tuple(s.shape) for s in rows]} was given."
            )
        batched = None if rows is None else tuple(s.unsqueeze(1) for s in rows)
        outputs, last = self._batched(x.unsqueeze(1), batched, None, masks)
        return outputs.squeeze(1), as_user(tuple(s.squeeze(1) for s in as_state(last)))

    def _batched(self, x: Tensor, state: object, sizes: Tensor | None, masks: Masks | None) -> tuple[Tensor, UserState]:
        steps, rows = x.shape[:2]
        shape = (self.num_layers * self.num_directions, rows, self.hidden_size)
        states = initial(state, self.cell, shape, self._weight(), self.proj_size)
        ends = None
        if sizes is not None:
            x, ends = without_padding(x, sizes)
        own = self._site_masks(rows, steps, masks)
        outputs, last = (self._summed if self.sum_layers else self._run)(x, states, own, ends)
        note_output(shape[0], rows, steps, self.plan.outputs, self.num_directions)
        return outputs, as_user(last)

    def _run(self, x: Tensor, states: State, own: list[Placed], ends: Tensor | None) -> tuple[Tensor, State]:
        """Run the layers and directions in `own`, and return the outputs of the last layer."""
        layers = [(self._weights(*place), masks) for place, masks in own]
        run_layers: Callable[..., tuple[Tensor, State]] = run
        if self.proj_size or is_exporting():
            kernel = run_exported if is_exporting() else run_projected
            run_layers = partial(kernel, [w for place, _ in own for w in self._projection(*place)])
        return run_layers(self.cell, x, states, layers, lengths=ends, bidirectional=self.bidirectional)

    def _summed(self, x: Tensor, states: State, own: list[Placed], ends: Tensor | None) -> tuple[Tensor, State]:
        """Run layer by layer, and return the sum of their outputs."""
        outputs, last = [], []
        for start in range(0, len(own), self.num_directions):
            some = slice(start, start + self.num_directions)
            x, state = self._run(x, tuple(s[some] for s in states), own[some], ends)
            outputs.append(x)
            last.append(state)
        return torch.stack(outputs).sum(0), tuple(torch.cat(values) for values in zip(*last, strict=True))

    def _checked(self, x: object, batch_first: bool) -> Tensor:
        return check_input(x, self.input_size, batch_first, self._weight().dtype)

    def _projection(self, layer: int, suffix: str) -> list[Tensor]:
        return [getattr(self, "weight_hr" + self._ending(layer, suffix))] if self.proj_size else []

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of every layer and direction, as torch lists them."""
        places = self.plan.directions()
        return [[w for w in (*self._weights(*p), *self._projection(*p)) if w is not None] for p in places]

    def flatten_parameters(self) -> None:
        """Put the parameters into one piece of memory where cuDNN runs, as torch's layers do; else do nothing."""
        if not self.proj_size:
            flatten(self.all_weights, self.cell, self.num_layers, self.bidirectional)

    def extra_repr(self) -> str:
        """Describe the layer as torch does, with the scheme in the place of dropout."""
        text = f"{self.input_size}, {self.hidden_size}"
        text += f", num_layers={self.num_layers}" if self.num_layers != 1 else ""
        text += f", proj_size={self.proj_size}" if self.proj_size else ""
        text += "" if self.bias else ", bias=False"
        text += ", batch_first=True" if self.batch_first else ""
        text += f", dropout={self.scheme}" if self.scheme.active else ""
        text += ", bidirectional=True" if self.bidirectional else ""
        return text + (", sum_layers=True" if self.sum_layers else "")
