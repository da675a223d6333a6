"""Which masks a stack of recurrent layers needs, of which shapes, and which of them belong to which layer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.cells import Cell
from bayesrnn.schemes import Placement, Scheme

Masks = Mapping[str, Tensor]
MODEL_SITES = ("word", "output")
"""Sites that belong to br.nn.Embedding and br.nn.Dropout."""
_NAMES = {"weight": "weight_hh", "between": "input"}  # of sites, in the keys of masks


@dataclass(frozen=True)
class MaskPlan:
    """The masks of a stack of recurrent layers.

    Args:
        cell: The recurrence.
        scheme: Where masks act.
        input_size: Features of the input.
        hidden_size: Units.
        num_layers: How many layers.
        bidirectional: Whether each layer has two directions.
        proj_size: Features to which the hidden state is projected; 0 for none.
    """

    cell: Cell
    scheme: Scheme
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool
    proj_size: int = 0

    @property
    def outputs(self) -> int:
        """Features of the hidden state, as the next step and the next layer read it."""
        return self.proj_size or self.hidden_size

    def directions(self) -> Iterator[tuple[int, str]]:
        """Yield (layer, suffix) in the order of torch's parameters."""
        for layer in range(self.num_layers):
            yield layer, ""
            if self.bidirectional:
                yield layer, "_reverse"

    def placements(self) -> dict[str, Placement]:
        """Return the active sites, keyed like the masks: `hidden_l0`, `input_l1_reverse`, `weight_hh_l0`, ..."""
        return {
            _key(placement.site, *place): placement
            for place in self.directions()
            for placement in self._of_layer(place[0])
            if placement.rate > 0.0
        }

    def _of_layer(self, layer: int) -> list[Placement]:
        """Return the placements of one layer: of `input` and `between`, which share their keys, at most one."""
        foreign = "between" if layer == 0 else "input" if "between" in self.scheme.sites else None
        return [p for p in self.scheme.placements if p.site not in (foreign, *MODEL_SITES)]

    def shape(self, key: str, placement: Placement, rows: int, steps: int) -> tuple[int, int, int, int]:
        """Return a mask's shape: (steps or 1, gates or 1, rows, features); (1, 1, gates * H, H) for a weight."""
        if placement.site == "weight":
            return 1, 1, self.cell.gates * self.hidden_size, self.outputs
        width = self.outputs if placement.site in ("hidden", "keep_hidden") else self.hidden_size
        if placement.site in ("input", "between"):
            first = key in ("input_l0", "input_l0_reverse")
            width = self.input_size if first else self.outputs * (2 if self.bidirectional else 1)
        times = steps if placement.span == "step" else 1
        return times, self.cell.gates if placement.gates == "untied" else 1, rows, width

    def check(self, masks: Masks) -> Masks:
        """Return a user's masks if they have the keys of this stack.

        Raises:
            ValueError: If a key is missing or foreign.
        """
        placements = self.placements()
        missing, foreign = sorted(set(placements) - set(masks)), sorted(set(masks) - set(placements))
        if missing or foreign:
            raise ValueError(
                f"masks for {self.scheme} need the keys {sorted(placements)}; missing: {missing or 'none'}, foreign: "
                f"{foreign or 'none'}. Masks of words and outputs belong to nn.Embedding and nn.Dropout."
            )
        return masks

    def keeps(self) -> bool:
        """Whether the scheme keeps old values (zoneout), which has an expectation where there is no mask."""
        return any(place.keeps_old for place in self.scheme.placements)

    def of(self, masks: Masks, kept: Mapping[str, Placement], layer: int, suffix: str) -> SiteMasks:
        """Return the masks of one layer and direction; where zoneout has none, its expectation.

        Args:
            masks: Of four dimensions, by key.
            kept: Placements of zoneout, by key.
            layer: Number of the layer.
            suffix: Empty or `_reverse`.
        """
        own: dict[str, Tensor] = {}
        for site in (p.site for p in self._of_layer(layer)):
            key = _key(site, layer, suffix)
            if key in masks:
                own["input" if site == "between" else site] = masks[key]
            elif key in kept and kept[key].keeps_old:
                own[site] = torch.full((1, 1, 1, 1), kept[key].rate, dtype=torch.float64)
        return SiteMasks(**own)


def check_sites(scheme: Scheme, cell: Cell) -> Scheme:
    """Return `scheme` if every site of it is in `cell` or belongs to another layer of the model.

    Raises:
        ValueError: If the cell lacks a site.
    """
    foreign = [p.site for p in scheme.placements if p.site not in cell.sites | set(MODEL_SITES) and p.rate > 0.0]
    if foreign:
        raise ValueError(
            f"the scheme {scheme} acts on {foreign}, which a {cell.name} does not have; its sites are "
            f"{sorted(cell.sites)}. A memory cell to mask or keep is only in an LSTM, a candidate in LSTM and GRU."
        )
    return scheme


def _key(site: str, layer: int, suffix: str) -> str:
    return f"{_NAMES.get(site, site)}_l{layer}{suffix}"
