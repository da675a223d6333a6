"""`LSTM`, `GRU` and `RNN`: torch's layers with masks at every site of a scheme."""

import math
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from bayesrnn._checks import check_choice, check_lengths, check_whole
from bayesrnn.masks import Binding, fresh, stream
from bayesrnn.nn.cells import CELLS, Cell, SiteMasks, State
from bayesrnn.nn.masked import MaskedModule
from bayesrnn.nn.packing import repack, unpack
from bayesrnn.nn.reference import Weights, reference
from bayesrnn.schemes import Placement, Scheme, Site, as_scheme

__all__ = ["GRU", "LSTM", "RNN", "Recurrent"]

Masks = Mapping[str, Tensor]
_MODEL_SITES = ("word", "output")  # these belong to br.nn.Embedding and br.nn.Dropout


class Recurrent(MaskedModule):
    """The part that LSTM, GRU and RNN share: parameters, states, masks, layers and directions."""

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float | Scheme = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.input_size = check_whole(input_size, "input_size")
        self.hidden_size = check_whole(hidden_size, "hidden_size")
        self.num_layers = check_whole(num_layers, "num_layers")
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.scheme = as_scheme(dropout)
        _check_sites(self.scheme, cell)
        for layer, suffix in self._directions():
            width = self.input_size if layer == 0 else self.hidden_size * self.num_directions
            rows = cell.gates * self.hidden_size
            shapes = {"weight_ih": (rows, width), "weight_hh": (rows, self.hidden_size)}
            if bias:
                shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
            for name, shape in shapes.items():
                value = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                self.register_parameter(f"{name}_l{layer}{suffix}", value)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter from U(-1/sqrt(H), 1/sqrt(H)), as torch does."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    @property
    def num_directions(self) -> int:
        """1, or 2 for a bidirectional layer."""
        return 2 if self.bidirectional else 1

    def placements(self) -> dict[str, Placement]:
        """Return the active sites, keyed like the masks: `hidden_l0`, `input_l1_reverse`, `weight_hh_l0`, ..."""
        found = {}
        for layer, suffix in self._directions():
            for placement in self.scheme.placements:
                if placement.rate > 0.0 and placement.site not in _MODEL_SITES:
                    found[_key(placement.site, layer, suffix)] = placement
        return found

    def sample_masks(
        self,
        rows: int,
        *,
        seed: int,
        draw: int = 0,
        steps: int | None = None,
        sampling: str = "independent",
        sequence_ids: Iterable[int] | Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the masks of one draw, to be passed to the layer as `masks`.

        Args:
            rows: How many sequences.
            seed: Seed of the mask stream.
            draw: Number of the draw.
            steps: How many steps; needed by schemes whose masks change each step.
            sampling: `independent` or `stratified`.
            sequence_ids: The ids of the sequences; 0, 1, 2, ... if not given.

        Returns:
            Masks keyed like torch's parameters: (rows, features), (gates, rows, features) where untied, with the
            steps in front for the span `step`, and (gates * H, H) for the weight.

        Raises:
            ValueError: If a scheme needs `steps` and none are given.

        Example:
            >>> LSTM(3, 8, dropout=0.5).sample_masks(2, seed=0)["hidden_l0"].shape
            torch.Size([4, 2, 8])
        """
        check_whole(rows, "rows")
        check_whole(draw, "draw", 0)
        device = next(self.parameters()).device
        ids = torch.arange(rows) if sequence_ids is None else torch.as_tensor(sequence_ids)
        if ids.shape != (rows,):
            raise ValueError(
                f"sequence_ids must hold one id for each of the {rows} rows; its shape is {tuple(ids.shape)}."
            )
        if steps is None and any(p.span == "step" for p in self.placements().values()):
            raise ValueError(f"the masks of {self.scheme} change each step: say how many with steps=.")
        binding = Binding(stream(sampling, seed), torch.tensor([draw], device=device), ids.long().to(device))
        return self._drawn(binding, steps or 0)

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: Tensor | tuple[Tensor, Tensor] | None = None,
        *,
        lengths: Tensor | Iterable[int] | None = None,
        masks: Masks | None = None,
    ) -> tuple[Tensor | PackedSequence, Tensor | tuple[Tensor, Tensor]]:
        """Run the layer over a batch of sequences.

        Args:
            x: (steps, rows, D), or (rows, steps, D) with `batch_first`, or (steps, D) for one sequence, or packed.
            state: Initial state as in torch, (layers * directions, rows, H); zeros if not given.
            lengths: Steps of each row; outputs beyond are 0 and the state stops there.
            masks: Masks to use, in train or eval mode. Without them: those of a running prediction; else fresh ones
                in train mode; else none, which is the deterministic pass.

        Returns:
            The outputs and the last state, shaped as torch's layer shapes them.

        Raises:
            ValueError: On a wrong rank or size, lengths outside 1..steps, or masks that do not fit.
        """
        if isinstance(x, PackedSequence):
            if lengths is not None:
                raise ValueError("a PackedSequence knows its lengths: leave out lengths=, or pass the padded tensor.")
            padded, sizes = unpack(x)
            outputs, last = self._batched(padded, state, sizes, masks)
            return repack(outputs, sizes, x), last
        self._check_input(x)
        if x.dim() == 2:
            return self._single(x, state, lengths, masks)
        time_first = x.transpose(0, 1) if self.batch_first else x
        sizes = None if lengths is None else check_lengths(lengths, time_first.shape[1], time_first.shape[0])
        outputs, last = self._batched(time_first, state, sizes, masks)
        return (outputs.transpose(0, 1) if self.batch_first else outputs), last

    def _single(
        self, x: Tensor, state: Tensor | tuple[Tensor, Tensor] | None, lengths: object, masks: Masks | None
    ) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        if lengths is not None:
            raise ValueError("one unbatched sequence (steps, features) has no padding: leave out lengths=.")
        given = None if state is None else tuple(s.unsqueeze(1) for s in _as_tuple(state))
        outputs, last = self._batched(x.unsqueeze(1), given, None, masks)
        single = tuple(s.squeeze(1) for s in _as_tuple(last))
        return outputs.squeeze(1), single[0] if len(single) == 1 else (single[0], single[1])

    def _batched(
        self, x: Tensor, state: object, sizes: Tensor | None, masks: Masks | None
    ) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        steps, rows = x.shape[:2]
        states = self._initial(state, x)
        chosen = self._choose(masks, rows, steps, x)
        lengths = None if sizes is None else sizes.to(x.device)
        last: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self.num_directions):
                index = layer * self.num_directions + direction
                suffix = "_reverse" if direction else ""
                out, final = reference(
                    self.cell,
                    x,
                    tuple(s[index] for s in states),
                    self._weights(layer, suffix),
                    self._site_masks(chosen, layer, suffix),
                    lengths=lengths,
                    reverse=bool(direction),
                )
                outputs.append(out)
                last.append(final)
            x = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
        stacked = tuple(torch.stack(values) for values in zip(*last, strict=True))
        return x, stacked[0] if len(stacked) == 1 else (stacked[0], stacked[1])

    def _initial(self, state: object, x: Tensor) -> State:
        shape = (self.num_layers * self.num_directions, x.shape[1], self.hidden_size)
        if state is None:
            return tuple(x.new_zeros(shape) for _ in self.cell.states)
        given = _as_tuple(state)
        names = ", ".join(self.cell.states)
        if len(given) != len(self.cell.states):
            raise ValueError(
                f"the state of this {type(self).__name__} is ({names}), but {len(given)} tensors were given."
            )
        for name, value in zip(self.cell.states, given, strict=True):
            if value.shape != shape:
                raise ValueError(
                    f"the state {name} must have shape {shape} (layers * directions, rows, hidden), but "
                    f"{tuple(value.shape)} was given. It has no batch_first form: rows are always in the middle."
                )
        return given

    def _choose(self, masks: Masks | None, rows: int, steps: int, x: Tensor) -> Masks:
        """Masks given, else bound, else fresh in train mode, else none."""
        if masks is not None:
            self._check_masks(masks, rows, steps)
            return masks
        if self.binding is not None:
            if self.binding.rows != rows:
                raise ValueError(
                    f"this layer was bound to {self.binding.rows} rows (draws x sequences) but was given {rows}. "
                    "The rows of the inputs must reach the layer one to one: check batch_dim, and that the module "
                    "neither flattens rows into steps nor repeats them before the layer."
                )
            return self._drawn(self.binding, steps, x.dtype)
        if not self.training:
            return {}
        return {
            key: torch.as_tensor(
                fresh(
                    placement,
                    *self._extent(key, placement, rows),
                    gates=self.cell.gates,
                    steps=steps,
                    dtype=x.dtype,
                    device=x.device,
                )
            )
            for key, placement in self.placements().items()
        }

    def _drawn(self, binding: Binding, steps: int, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        dtype = dtype or next(self.parameters()).dtype
        found = {}
        for key, placement in self.placements().items():
            if placement.site == "weight":
                if binding.draws.numel() > 1:
                    raise ValueError("a weight mask belongs to one draw: bind one draw at a time.")
                shared = Binding(binding.stream, binding.draws, binding.sequences, True, binding.name)
                size = self.cell.gates * self.hidden_size * self.hidden_size
                mask = shared.mask(key, placement, size, gates=1, steps=1, dtype=dtype)
                found[key] = mask.view(-1, self.hidden_size)
            else:
                width = self._width(key, placement)
                found[key] = binding.mask(key, placement, width, gates=self.cell.gates, steps=steps, dtype=dtype)
        return found

    def _extent(self, key: str, placement: Placement, rows: int) -> tuple[int, int]:
        if placement.site == "weight":
            return self.cell.gates * self.hidden_size, self.hidden_size
        return rows, self._width(key, placement)

    def _width(self, key: str, placement: Placement) -> int:
        if placement.site != "input":
            return self.hidden_size
        return self.input_size if "_l0" in key else self.hidden_size * self.num_directions

    def _site_masks(self, masks: Masks, layer: int, suffix: str) -> SiteMasks:
        found: dict[str, Tensor] = {}
        per_step = set()
        for placement in self.scheme.placements:
            mask = masks.get(_key(placement.site, layer, suffix))
            if mask is not None:
                found[placement.site] = mask
                if placement.span == "step":
                    per_step.add(placement.site)
            elif placement.site in ("keep_cell", "keep_hidden") and placement.rate > 0.0:
                found[placement.site] = next(self.parameters()).new_tensor(placement.rate)
        return SiteMasks(per_step=frozenset(per_step), **found)

    def _check_masks(self, masks: Masks, rows: int, steps: int) -> None:
        placements = self.placements()
        missing, foreign = sorted(set(placements) - set(masks)), sorted(set(masks) - set(placements))
        if missing or foreign:
            raise ValueError(
                f"masks for {self.scheme} need the keys {sorted(placements)}; missing: {missing or 'none'}, foreign: "
                f"{foreign or 'none'}. Masks of words and outputs belong to nn.Embedding and nn.Dropout."
            )
        for key, placement in placements.items():
            extent = self._extent(key, placement, rows)
            front = (steps,) if placement.span == "step" else ()
            front += (self.cell.gates,) if placement.gates == "untied" else ()
            legal = {(*front, *extent), (*front, 1, extent[1])}
            if tuple(masks[key].shape) not in legal:
                raise ValueError(
                    f"the mask {key!r} must have shape {(*front, *extent)} (1 row if all rows share it), but "
                    f"{tuple(masks[key].shape)} was given."
                )

    def _check_input(self, x: Tensor) -> None:
        if not isinstance(x, Tensor) or x.dim() not in (2, 3):
            what = f"a tensor of shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"{type(x).__name__}"
            layout = "(rows, steps, features)" if self.batch_first else "(steps, rows, features)"
            raise ValueError(f"x must be {layout} or (steps, features) or a PackedSequence, but {what} was given.")
        if x.shape[-1] != self.input_size:
            raise ValueError(
                f"the last dimension of x must be the {self.input_size} input features, but x has shape "
                f"{tuple(x.shape)}. For one feature use x.unsqueeze(-1)."
            )
        if 0 in x.shape[:-1]:
            raise ValueError(f"x holds no steps or no rows: its shape is {tuple(x.shape)}.")

    def _weights(self, layer: int, suffix: str) -> Weights:
        end = f"_l{layer}{suffix}"
        if not self.bias:
            return getattr(self, "weight_ih" + end), getattr(self, "weight_hh" + end), None, None
        first, second = getattr(self, "weight_ih" + end), getattr(self, "weight_hh" + end)
        return first, second, getattr(self, "bias_ih" + end), getattr(self, "bias_hh" + end)

    def _directions(self) -> list[tuple[int, str]]:
        suffixes = ("", "_reverse") if self.bidirectional else ("",)
        return [(layer, suffix) for layer in range(self.num_layers) for suffix in suffixes]

    def flatten_parameters(self) -> None:
        """Do nothing: kept so that code written for torch's layers runs."""

    def extra_repr(self) -> str:
        """Describe the layer as torch does, with the scheme in the place of dropout."""
        text = f"{self.input_size}, {self.hidden_size}"
        text += f", num_layers={self.num_layers}" if self.num_layers != 1 else ""
        text += "" if self.bias else ", bias=False"
        text += ", batch_first=True" if self.batch_first else ""
        text += f", dropout={self.scheme}" if self.scheme.active else ""
        return text + (", bidirectional=True" if self.bidirectional else "")


class LSTM(Recurrent):
    r"""Long short-term memory with masks on what enters the gates' products.

    $i, f, o = \sigma(\cdot)$, $g = \tanh(\cdot)$ of $W_k (x_t \circ z_x^k) + b_k + U_k (h_{t-1} \circ z_h^k) + d_k$;
    $c_t = f \circ c_{t-1} + i \circ g$; $h_t = o \circ \tanh c_t$. Signature, parameter names and state_dict keys are
    those of `torch.nn.LSTM`, except that `dropout` is a rate p (= ``schemes.gal(p)``) or a scheme.

    Source: Gal & Ghahramani (2016), arXiv:1512.05287, section 4.

    Raises:
        ValueError: If a size is below 1, a rate outside [0, 1), or the scheme has a site that this layer lacks.

    Example:
        >>> layer = LSTM(3, 8, num_layers=2, dropout=0.25)
        >>> output, (h, c) = layer(torch.zeros(5, 2, 3))
        >>> output.shape
        torch.Size([5, 2, 8])
    """

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
    ) -> None:
        super().__init__(
            CELLS["lstm"], input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype
        )


class GRU(Recurrent):
    r"""Gated recurrent unit with masks on what enters the gates' products, never on the carry $z \circ h_{t-1}$.

    $r, z = \sigma(\cdot)$; $n = \tanh(W_n (x_t \circ z_x^n) + b_n + r \circ (U_n (h_{t-1} \circ z_h^n) + d_n))$;
    $h_t = (1 - z) \circ n + z \circ h_{t-1}$. Otherwise as `LSTM`, with the names of `torch.nn.GRU`.

    Example:
        >>> output, h = GRU(3, 8, dropout=0.25)(torch.zeros(5, 2, 3))
        >>> h.shape
        torch.Size([1, 2, 8])
    """

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
    ) -> None:
        super().__init__(
            CELLS["gru"], input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, device, dtype
        )


class RNN(Recurrent):
    r"""Elman network, $h_t = \phi(W (x_t \circ z_x) + b + U (h_{t-1} \circ z_h) + d)$, with $\phi$ tanh or relu.

    Otherwise as `LSTM`, with the names of `torch.nn.RNN`.

    Example:
        >>> output, h = RNN(3, 8, nonlinearity="relu")(torch.zeros(5, 2, 3))
        >>> output.shape
        torch.Size([5, 2, 8])
    """

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
        nonlinearity: Literal["tanh", "relu"] = "tanh",
    ) -> None:
        check_choice(nonlinearity, "nonlinearity", ("tanh", "relu"))
        self.__dict__["nonlinearity"] = nonlinearity
        super().__init__(
            CELLS[f"rnn_{nonlinearity}"],
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device,
            dtype,
        )


def _key(site: Site, layer: int, suffix: str) -> str:
    return f"{'weight_hh' if site == 'weight' else site}_l{layer}{suffix}"


def _as_tuple(state: object) -> State:
    values = state if isinstance(state, tuple | list) else (state,)
    if not all(isinstance(v, Tensor) for v in values):
        raise TypeError(f"the state must be a tensor or a tuple of tensors, but {type(state).__name__} was given.")
    return tuple(values)


def _check_sites(scheme: Scheme, cell: Cell) -> None:
    legal = cell.sites | set(_MODEL_SITES)
    foreign = [p.site for p in scheme.placements if p.site not in legal and p.rate > 0.0]
    if foreign:
        raise ValueError(
            f"the scheme {scheme} acts on {foreign}, which a {cell.name} does not have; its sites are "
            f"{sorted(cell.sites & set(get_args(Site)))}. A memory cell to mask or keep is only in an LSTM, a candidate in LSTM and GRU."
        )
