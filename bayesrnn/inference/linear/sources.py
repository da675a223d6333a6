"""Masks at their mean, by which a model is differentiated, and the masks of draws, remembered."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bayesrnn.masks import Binding, MaskSite
from bayesrnn.nn.masked import masked_modules


@dataclass(frozen=True)
class RememberedMasks:
    """The masks of a binding, remembered.

    Attributes:
        binding: Where the masks come from.
        masks: What the layers were given and what it looks like, by place such as `lstm.hidden_l0`.
    """

    binding: Binding
    masks: dict[str, tuple[Tensor, MaskSite]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows that a layer must be given."""
        return self.binding.rows

    def at(self, name: str) -> "RememberedMasks":
        """Return the same source for the layer of that qualified name."""
        return type(self)(self.binding.at(name), self.masks)

    def later(self, steps: int) -> "RememberedMasks":
        """Return the same source, so many steps later: its masks hold for all steps."""
        return type(self)(self.binding.later(steps), self.masks)

    def mask(self, key: str, site: MaskSite) -> Tensor | None:
        """Return the mask of one site; see `MaskSource.mask`.

        Raises:
            ValueError: If a layer was called for other rows or words before in the same pass.
        """
        place = f"{self.binding.name}.{key}" if self.binding.name else key
        mask, before = self.draw(key, site), self.masks.get(place)
        if mask is None:
            return None
        if before is None:
            self.masks[place] = mask, site
            return mask
        if before[0].shape != mask.shape or not _same(before[1].tokens, site.tokens):
            raise ValueError(
                f"the layer at {place!r} was called several times in one pass, with other rows or words each time, but "
                "the effect of its masks is taken to first order for one call. Look all tokens up in one call, or "
                "predict with control=None."
            )
        return before[0]

    def draw(self, key: str, site: MaskSite) -> Tensor | None:
        """Return the mask of one site for the first time."""
        return self.binding.mask(key, site)


class MeanMasks(RememberedMasks):
    """Every mask is 1, its mean, and requires a gradient; the binding says for which rows."""

    def draw(self, key: str, site: MaskSite) -> Tensor:
        """Return ones in the shape of the site."""
        shape = site.shape if site.tokens is None else (1, 1, *site.tokens.shape)
        return torch.ones(shape, dtype=site.dtype, device=site.device, requires_grad=True)


def by_row(mask: Tensor, site: MaskSite, draws: int, rows: int) -> Tensor:
    """Return a mask by draw and row, (S, B, units), float64.

    Gates and parts of a row are among the units.
    """
    whole = mask[0].expand(-1, site.shape[2], -1)  # (gates, parts of rows, features)
    return whole.transpose(0, 1).reshape(draws, rows, -1).double()


def check_control(models: Sequence[nn.Module]) -> None:
    """Refuse masks that have no derivative per sequence, and ensembles.

    Raises:
        ValueError: If there are several networks, or a mask is of single steps, of a weight or keeps old values.
    """
    if len(models) > 1:
        raise ValueError(
            f"control='linear' serves one network, but an ensemble of {len(models)} was given. Predict it with "
            "control=None, or each network by itself."
        )
    model = models[0]
    for name, module in masked_modules(model).items():
        for key, place in module.placements().items():
            weight = place.site in ("weight", "keep_cell", "keep_hidden")
            if weight or place.span == "step":
                raise ValueError(
                    f"the first order needs masks that hold for a sequence, but {key!r} of {name or 'the model'!r} is "
                    f"{f'a mask of site {place.site}' if weight else 'a mask of single steps'}: a derivative for each "
                    "would cost more than the draws that it saves. Predict with control=None (stratified draws), or "
                    "train with a scheme whose masks hold for a sequence, such as schemes.gal."
                )


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))
