"""What `LSTM`, `GRU` and `RNN` share: parameters, states, masks, layers and directions."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from bayesrnn._checks import check_ids, check_lengths, check_whole
from bayesrnn.masks import Binding, MaskSite, MaskSource, SiteMasks, stream
from bayesrnn.nn.kernels.cells import Cell
from bayesrnn.nn.kernels.dispatch import run
from bayesrnn.nn.kernels.reference import Weights
from bayesrnn.nn.kernels.torch_kernel import flatten
from bayesrnn.nn.layouts import note_output
from bayesrnn.nn.mask_plan import MaskPlan, Masks, check_sites
from bayesrnn.nn.masked import MaskedModule
from bayesrnn.nn.sequences import repack, unpack, without_padding
from bayesrnn.nn.states import UserState, as_state, as_user, check_input, initial
from bayesrnn.nn.torch_names import torch_names
from bayesrnn.schemes import Placement, Scheme, as_scheme

__all__ = ["Recurrent"]


class Recurrent(MaskedModule):
    """A stack of recurrent layers with the parameters and the results of torch's, and masks where the scheme says."""

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
        self.scheme = check_sites(as_scheme(dropout), cell)
        for layer, suffix in self.plan.directions():
            width = self.input_size if layer == 0 else self.hidden_size * self.num_directions
            rows = cell.gates * self.hidden_size
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, self.hidden_size)}
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

    @property
    def plan(self) -> MaskPlan:
        """Which masks the layer needs."""
        sizes = (self.input_size, self.hidden_size, self.num_layers, self.bidirectional)
        return MaskPlan(self.cell, self.scheme, *sizes)

    def declared(self) -> dict[str, Placement]:
        """Return the active sites, keyed like the masks: `hidden_l0`, `input_l1_reverse`, `weight_hh_l0`, ..."""
        return self.plan.placements()

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """Set rates by mask key: in the scheme where all masks of a site have one, else beside it."""
        super().set_rates(rates)
        by_site: dict[str, set[float]] = {}
        for place in self.placements().values():
            by_site.setdefault(place.site, set()).add(place.rate)
        same = {site: values.pop() for site, values in by_site.items() if len(values) == 1}
        mixed = {key: self.rates.get(key, p.rate) for key, p in self.declared().items() if p.site not in same}
        self.scheme, self.rates = self.scheme.with_rates(**same), mixed

    def sites(self, rows: int, steps: int) -> dict[str, MaskSite]:
        """Return what the masks of a pass over so many rows and steps look like, by key."""
        plan, weight = self.plan, self._weight()
        return {
            key: self.site(key, place, plan.shape(key, place, rows, steps), weight)
            for key, place in plan.placements().items()
        }

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
            >>> import bayesrnn as br
            >>> br.nn.LSTM(3, 8, dropout=0.5).sample_masks(2, seed=0)["hidden_l0"].shape
            torch.Size([4, 2, 8])
        """
        check_whole(rows, "rows")
        check_whole(draw, "draw", 0)
        weight = self._weight()
        ids = torch.arange(rows) if sequence_ids is None else check_ids(torch.as_tensor(sequence_ids), rows)
        if steps is None and any(p.span == "step" for p in self.placements().values()):
            raise ValueError(f"the masks of {self.scheme} change each step: say how many with steps=.")
        draws = torch.tensor([draw], device=weight.device)
        return self.masks_of(Binding(stream(sampling, seed), draws, ids.long().to(weight.device)), rows, steps or 0)

    def masks_of(self, source: MaskSource, rows: int, steps: int) -> dict[str, Tensor]:
        """Return the masks of a source for a pass over so many rows and steps, in the shapes of `sample_masks`."""
        sites = self.sites(rows, steps)
        masks = {key: source.mask(key, site) for key, site in sites.items()}
        return {key: sites[key].public(mask) for key, mask in masks.items() if mask is not None}

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
        states = initial(state, self.cell, shape, self._weight())
        ends = None
        if sizes is not None:
            x, ends = without_padding(x, sizes)
        layers = [(self._weights(*place), own) for place, own in self._site_masks(rows, steps, masks)]
        outputs, last = run(self.cell, x, states, layers, lengths=ends, bidirectional=self.bidirectional)
        note_output(shape[0], rows, steps, self.hidden_size, self.num_directions)
        return outputs, as_user(last)

    def _site_masks(self, rows: int, steps: int, given: Masks | None) -> list[tuple[tuple[int, str], SiteMasks]]:
        """Return the masks of every layer and direction: those given, else of the source, else fresh, else none."""
        plan, masks = self.plan, {}
        if not self.idle(given):
            masks = self.masks(self.sites(rows, steps), rows, None if given is None else plan.check(given))
        kept = {} if masks or not plan.keeps() else self.placements()
        return [(place, plan.of(masks, kept, *place)) for place in plan.directions()]

    def _checked(self, x: object, batch_first: bool) -> Tensor:
        return check_input(x, self.input_size, batch_first, self._weight().dtype)

    def _weight(self) -> Tensor:
        weight: Tensor = self.weight_hh_l0  # type: ignore[assignment]  # no Parameter under torch.func.functional_call
        return weight

    def _weights(self, layer: int, suffix: str) -> Weights:
        end = f"_l{layer}{suffix}"
        first, second = getattr(self, "weight_ih" + end), getattr(self, "weight_hh" + end)
        if not self.bias:
            return first, second, None, None
        return first, second, getattr(self, "bias_ih" + end), getattr(self, "bias_hh" + end)

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of every layer and direction, as torch lists them."""
        return [[w for w in self._weights(*place) if w is not None] for place in self.plan.directions()]

    def flatten_parameters(self) -> None:
        """Put the parameters into one piece of memory where cuDNN runs, as torch's layers do; else do nothing."""
        flatten(self.all_weights, self.cell, self.num_layers, self.bidirectional)

    def extra_repr(self) -> str:
        """Describe the layer as torch does, with the scheme in the place of dropout."""
        text = f"{self.input_size}, {self.hidden_size}"
        text += f", num_layers={self.num_layers}" if self.num_layers != 1 else ""
        text += "" if self.bias else ", bias=False"
        text += ", batch_first=True" if self.batch_first else ""
        text += f", dropout={self.scheme}" if self.scheme.active else ""
        return text + (", bidirectional=True" if self.bidirectional else "")
