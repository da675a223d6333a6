"""What recurrent layers and cells share: which masks they need, their rates, and sets of masks to look at."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn._checks import check_ids, check_whole
from bayesrnn.masks import Binding, MaskSite, MaskSource, SiteMasks, stream
from bayesrnn.nn.kernels.cells import Cell
from bayesrnn.nn.kernels.reference import Weights
from bayesrnn.nn.mask_plan import MaskPlan, Masks, check_sites
from bayesrnn.nn.masked import MaskedModule
from bayesrnn.schemes import Placement, Scheme, as_scheme


class MaskedRecurrence(MaskedModule):
    """A recurrence with masks where its scheme says.

    A subclass registers the parameters: one set per layer and direction.

    Attributes:
        num_layers: How many layers; 1 for a cell.
        bidirectional: Whether each layer has two directions.
        proj_size: Features P to which the hidden state is projected; 0 for no projection.
    """

    num_layers = 1
    bidirectional = False
    proj_size = 0

    def __init__(self, cell: Cell, input_size: int, hidden_size: int, bias: bool, dropout: float | Scheme) -> None:
        super().__init__()
        self.cell, self.bias = cell, bias
        self.input_size = check_whole(input_size, "input_size")
        self.hidden_size = check_whole(hidden_size, "hidden_size")
        self.scheme = check_sites(as_scheme(dropout), cell)

    def reset_parameters(self) -> None:
        """Draw every parameter from U(-1/sqrt(H), 1/sqrt(H)), as torch does."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    @property
    def plan(self) -> MaskPlan:
        """Which masks the layer needs."""
        sizes = (self.input_size, self.hidden_size, self.num_layers, self.bidirectional, self.proj_size)
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

    def _site_masks(self, rows: int, steps: int, given: Masks | None) -> list[tuple[tuple[int, str], SiteMasks]]:
        """Return the masks of every layer and direction: those given, else of the source, else fresh, else none."""
        plan, masks = self.plan, {}
        if not self.idle(given):
            masks = self.masks(self.sites(rows, steps), rows, None if given is None else plan.check(given))
        kept = {} if masks or not plan.keeps() else self.placements()
        return [(place, plan.of(masks, kept, *place)) for place in plan.directions()]

    def weight_of(self, key: str) -> str:
        """Return the name of the weight whose input a mask multiplies, given the key of the mask."""
        site, end = key.rsplit("_l", 1)
        return f"weight_{'ih' if site == 'input' else 'hh'}{self._ending(end)}"

    def _ending(self, layer: int | str, suffix: str = "") -> str:
        """Return how the names of the parameters of a layer and direction end."""
        return f"_l{layer}{suffix}"

    def _register(self, ending: str, width: int, **factory: Any) -> None:
        """Register the parameters of one layer and direction, not yet drawn."""
        rows, outputs = self.cell.gates * self.hidden_size, self.plan.outputs
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, outputs)}
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        for name, shape in shapes.items():
            self.register_parameter(name + ending, nn.Parameter(torch.empty(shape, **factory)))

    def _weights(self, layer: int, suffix: str) -> Weights:
        end = self._ending(layer, suffix)
        first, second = getattr(self, "weight_ih" + end), getattr(self, "weight_hh" + end)
        if not self.bias:
            return first, second, None, None
        return first, second, getattr(self, "bias_ih" + end), getattr(self, "bias_hh" + end)

    def _weight(self) -> Tensor:
        weight: Tensor = getattr(self, "weight_hh" + self._ending(0))  # no Parameter under torch.func.functional_call
        return weight
