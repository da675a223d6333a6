"""Which masks a recurrent layer needs: bound, drawn fresh in training, or given and checked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bayesrnn.masks import Binding, fresh
from bayesrnn.nn.kernels.cells import Cell, SiteMasks
from bayesrnn.schemes import Placement, Scheme, Site

__all__ = ["MODEL_SITES", "MaskPlan", "Masks", "check_sites"]

Masks = Mapping[str, Tensor]
MODEL_SITES = ("word", "output")
"""Sites that belong to br.nn.Embedding and br.nn.Dropout."""
_KEPT = ("keep_cell", "keep_hidden")


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
    """

    cell: Cell
    scheme: Scheme
    input_size: int
    hidden_size: int
    num_layers: int
    bidirectional: bool

    def directions(self) -> Iterator[tuple[int, str]]:
        """Yield (layer, suffix) in the order of torch's parameters."""
        for layer in range(self.num_layers):
            yield layer, ""
            if self.bidirectional:
                yield layer, "_reverse"

    def placements(self) -> dict[str, Placement]:
        """Return the active sites, keyed like the masks: `hidden_l0`, `input_l1_reverse`, `weight_hh_l0`, ..."""
        found = {}
        for layer, suffix in self.directions():
            for placement in self.scheme.placements:
                if placement.rate > 0.0 and placement.site not in MODEL_SITES:
                    found[_key(placement.site, layer, suffix)] = placement
        return found

    def drawn(self, binding: Binding, steps: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the masks of a binding."""
        found = {}
        for key, placement in self.placements().items():
            if placement.site == "weight":
                if binding.draws.numel() > 1:
                    raise ValueError("a weight mask belongs to one draw: bind one draw at a time.")
                shared = replace(binding, shared=True)
                size = self.cell.gates * self.hidden_size * self.hidden_size
                mask = shared.mask(key, placement, size, gates=1, steps=1, dtype=dtype)
                found[key] = mask.view(-1, self.hidden_size)
            else:
                width = self._width(key, placement)
                found[key] = binding.mask(key, placement, width, gates=self.cell.gates, steps=steps, dtype=dtype)
        return found

    def fresh(self, rows: int, steps: int, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
        """Return masks drawn from torch's global state, for training."""
        gates = self.cell.gates
        return {
            key: fresh(p, *self._extent(key, p, rows), gates=gates, steps=steps, dtype=dtype, device=device)
            for key, p in self.placements().items()
        }

    def check(self, masks: Masks, rows: int, steps: int) -> Masks:
        """Return `masks` if they fit.

        Raises:
            ValueError: If a key is missing or foreign, or a shape does not fit.
        """
        placements = self.placements()
        missing, foreign = sorted(set(placements) - set(masks)), sorted(set(masks) - set(placements))
        if missing or foreign:
            raise ValueError(
                f"masks for {self.scheme} need the keys {sorted(placements)}; missing: {missing or 'none'}, foreign: "
                f"{foreign or 'none'}. Masks of words and outputs belong to nn.Embedding and nn.Dropout."
            )
        for key, placement in placements.items():
            extent = self._extent(key, placement, rows)
            front: tuple[int, ...] = (steps,) if placement.span == "step" else ()
            front += (self.cell.gates,) if placement.gates == "untied" else ()
            legal = {(*front, *extent), (*front, 1, extent[1])}
            if tuple(masks[key].shape) not in legal:
                raise ValueError(
                    f"the mask {key!r} must have shape {(*front, *extent)} (1 row if all rows share it), but "
                    f"{tuple(masks[key].shape)} was given."
                )
        return masks

    def sites(self, masks: Masks, layer: int, suffix: str) -> SiteMasks:
        """Return the masks of one layer and direction; where zoneout has none, its expectation."""
        found: dict[str, Tensor] = {}
        per_step = set()
        for placement in self.scheme.placements:
            mask = masks.get(_key(placement.site, layer, suffix))
            if mask is not None:
                found[placement.site] = mask
                if placement.span == "step":
                    per_step.add(placement.site)
            elif placement.site in _KEPT and placement.rate > 0.0:
                # of rank 0: it takes the type of what it meets, and is as exact as that
                found[placement.site] = torch.tensor(placement.rate, dtype=torch.float64)
        return SiteMasks(per_step=frozenset(per_step), **found)

    def _extent(self, key: str, placement: Placement, rows: int) -> tuple[int, int]:
        if placement.site == "weight":
            return self.cell.gates * self.hidden_size, self.hidden_size
        return rows, self._width(key, placement)

    def _width(self, key: str, placement: Placement) -> int:
        if placement.site != "input":
            return self.hidden_size
        return self.input_size if key in ("input_l0", "input_l0_reverse") else self._stacked_width()

    def _stacked_width(self) -> int:
        return self.hidden_size * (2 if self.bidirectional else 1)


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


def _key(site: Site, layer: int, suffix: str) -> str:
    return f"{'weight_hh' if site == 'weight' else site}_l{layer}{suffix}"
