"""How a scan wants its input laid out: long rows first, time forward, and on a GPU whole 16 bytes."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from bayesrnn.masks import SiteMasks
from bayesrnn.nn.kernels.reference import Weights
from bayesrnn.nn.sequences import turned_steps

_BYTES = 16


class Order:
    """The order in which a scan wants its input: long rows first, and time forward."""

    def __init__(self, lengths: Tensor | None, steps: int, reverse: bool, device: torch.device) -> None:
        self.reverse = reverse
        self.lengths: Tensor | None = None
        self.forth: Tensor | None = None
        self.sizes: list[int] = []
        if lengths is None:
            return
        lengths = lengths.cpu()
        ordered, forth = lengths.sort(descending=True, stable=True)
        if not bool((forth[1:] > forth[:-1]).all()):
            self.forth, self.inverse = forth.to(device), forth.argsort().to(device)
        self.lengths = ordered.to(device)
        times = torch.arange(steps)
        self.sizes = (ordered.unsqueeze(0) > times.unsqueeze(1)).sum(1).tolist()
        self.turn = turned_steps(ordered, steps).to(device)

    def rows(self, value: Tensor, dim: int = 0) -> Tensor:
        """Put the rows into the order of the scan."""
        return value if self.forth is None else value.index_select(dim, self.forth)

    def back(self, value: Tensor, dim: int = 0) -> Tensor:
        """Put the rows back into the caller's order."""
        return value if self.forth is None else value.index_select(dim, self.inverse)

    def inward(self, x: Tensor) -> Tensor:
        """Order (steps, rows, features) for the scan."""
        return self._turned(self.rows(x, 1))

    def outward(self, out: Tensor) -> Tensor:
        """Undo `inward`."""
        return self.back(self._turned(out), 1)

    def mask(self, site: str, mask: Tensor) -> Tensor:
        """Order a mask of four dimensions."""
        if mask.shape[2] > 1:
            mask = self.rows(mask, 2)
        if mask.shape[0] == 1 or not self.reverse:
            return mask
        if self.lengths is None:
            return mask.flip(0)
        full = mask.expand(-1, -1, self.lengths.shape[0], -1)
        return full.gather(0, self.turn[:, None, :, None].expand_as(full))

    def ends(self, out: Tensor) -> Tensor:
        """Return indices (1, rows, H) of each row's last step."""
        if self.lengths is None:
            raise ValueError("rows without lengths end together")
        return (self.lengths - 1).view(1, -1, 1).expand(1, -1, out.shape[2])

    def _turned(self, value: Tensor) -> Tensor:
        if not self.reverse:
            return value
        if self.lengths is None:
            return value.flip(0)
        return value.gather(0, self.turn.unsqueeze(-1).expand_as(value))


@dataclass(frozen=True)
class Alignment:
    """How many zeros are put behind the features and the units of a layer.

    This is exact: a unit without weights and biases stays 0.
    """

    features: int
    units: int

    @classmethod
    def of(cls, features: int, units: int, product: torch.dtype) -> "Alignment":
        """Return what is missing to whole 16 bytes in the type of the products."""
        whole = _BYTES // product.itemsize
        return cls(-features % whole, -units % whole)

    def __bool__(self) -> bool:
        return self.features > 0 or self.units > 0

    def entering(self, value: Tensor) -> Tensor:
        """Widen inputs or their mask, (..., features)."""
        return pad(value, (0, self.features))

    def held(self, value: Tensor) -> Tensor:
        """Widen states or a mask of units, (..., H)."""
        return pad(value, (0, self.units))

    def masks(self, masks: SiteMasks) -> SiteMasks:
        """Widen masks; one number for all features or units stays one."""
        return masks.map(lambda s, m: m if m.shape[3] == 1 else self.entering(m) if s == "input" else self.held(m))

    def weights(self, weights: Weights, gates: int) -> Weights:
        """Widen weights (gates * H, ...) gate by gate."""
        w_ih, w_hh, b_ih, b_hh = weights
        ih = pad(w_ih.unflatten(0, (gates, -1)), (0, self.features, 0, self.units)).flatten(0, 1)
        hh = pad(w_hh.unflatten(0, (gates, -1)), (0, self.units, 0, self.units)).flatten(0, 1)
        return ih, hh, self._bias(b_ih, gates), self._bias(b_hh, gates)

    def _bias(self, bias: Tensor | None, gates: int) -> Tensor | None:
        return None if bias is None else self.held(bias.unflatten(0, (gates, -1))).flatten()
