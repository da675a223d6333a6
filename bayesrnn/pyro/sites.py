"""Masks as values of Pyro sample sites: sampled by Pyro, or taken from a prediction."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn

from bayesrnn._checks import check_ids, check_seed, check_whole
from bayesrnn.inference.context import undisturbed
from bayesrnn.masks import Binding, MaskSite, stream
from bayesrnn.masks.sources import Anywhere
from bayesrnn.nn.masked import masked_modules, qualified, sourced
from bayesrnn.pyro.distributions import Mask


def masks_of(
    model: nn.Module,
    *inputs: Any,
    seed: int,
    draw: int = 0,
    sampling: str = "stratified",
    sequence_ids: Iterable[int] | None = None,
    **options: Any,
) -> dict[str, Tensor]:
    """Return the masks that `bayesrnn.predict` uses in one draw, by site name, ready for `pyro.condition`.

    Modes, buffers and torch's random state are left as they were. Inside a `ConcreteDropout` masks are drawn at the
    learned rates.

    Args:
        model: A module with layers of `bayesrnn.nn`.
        *inputs: Of the model; they say how many rows and steps there are.
        seed: As given to `predict`.
        draw: Number of the draw.
        sampling: As given to `predict`.
        sequence_ids: As given to `predict`, one per row; by default 0, 1, 2, ...
        **options: Of the model.

    Raises:
        ValueError: If no mask of the model is active, or a layer is called again with masks of another shape.
    """
    check_active(model)
    check_whole(draw, "draw", 0)
    source = stream(sampling, check_seed(seed))
    ids = None if sequence_ids is None else torch.as_tensor(list(sequence_ids))
    masks: dict[str, Tensor] = {}

    def drawn(layer: str, key: str, site: MaskSite) -> Tensor:
        rows, weight = site.shape[2], site.placement.site == "weight"  # a weight mask belongs to no row
        sequences = torch.arange(rows) if ids is None or weight else check_ids(ids, rows)
        binding = Binding(source, torch.tensor([draw], device=site.device), sequences.to(site.device), name=layer)
        mask = cast(Tensor, binding.mask(key, site))  # None only where a caller keeps the words
        return site.public(mask)

    with undisturbed(model), sourced(model, Once(drawn, masks)):
        model(*inputs, **options)
    return masks


@dataclass(frozen=True)
class Once(Anywhere):
    """A source that makes a mask, in its public shape, at a layer's first call and reuses it later."""

    make: Callable[[str, str, MaskSite], Tensor]
    masks: dict[str, Tensor] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    layer: str = ""

    def at(self, name: str) -> "Once":
        """Return the same source for the layer of that qualified name."""
        return replace(self, layer=name)

    def later(self, steps: int) -> "Once":
        """Return the same source at the first step; the masks of later steps would be sample sites of their own."""
        if steps:
            raise ValueError(
                f"{self.layer or 'the model'!r} is called at every step of a loop, and its scheme draws a mask per "
                "step: one sample site has one value. Use a scheme with the span 'sequence', such as gal, or a "
                "recurrent layer that is given all steps at once."
            )
        return self

    def mask(self, key: str, site: MaskSite) -> Tensor:
        """Return the mask of one site; see `MaskSource.mask`."""
        name, shape = qualified(self.layer, key), site.public_shape
        if self.shapes.setdefault(name, shape) != shape:
            raise ValueError(
                f"{self.layer or 'the model'!r} is called several times in one pass, first with masks {name!r} of "
                f"shape {self.shapes[name]} and then of shape {shape}; one sample site has one value. Call it with the "
                "same rows and steps each time, or give each call a layer of its own."
            )
        if name not in self.masks:
            self.masks[name] = self.make(self.layer, key, site.every_word())
        return site.internal(self.masks[name])


def sampled(layer: str, key: str, site: MaskSite) -> Tensor:
    """Return a mask that Pyro samples."""
    name = qualified(layer, key)
    value: Tensor = pyro.sample(name, _distribution(site))
    if not site.fits(value):
        raise ValueError(
            f"the mask {name!r} must have shape {site.public_shape}, but its value has {tuple(value.shape)}. A pass "
            "takes one mask per row: use Predictive(parallel=False) and Trace_ELBO(vectorize_particles=False), put no "
            "pyro.plate around the model, and condition on masks made for these inputs (masks_of)."
        )
    return value


def _distribution(site: MaskSite) -> Any:
    rates = torch.full(site.public_shape, site.number, dtype=site.dtype, device=site.device)
    distribution = dist.Bernoulli(rates) if site.placement.keeps_old else Mask(rates)
    return distribution.to_event(len(site.public_shape))


def check_active(model: nn.Module) -> None:
    """Refuse a model without an active mask."""
    if not masked_modules(model):
        raise ValueError(
            "no mask of this model is active, so there is nothing to sample. Build it with layers of bayesrnn.nn and a "
            "rate above 0, or turn torch's layers into ours with bayesrnn.convert(model, dropout=0.25)."
        )
