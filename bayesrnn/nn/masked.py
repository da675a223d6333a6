"""The base of layers with masks: each declares its masks and asks one source for them."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from bayesrnn.masks import Fresh, Given, MaskSite, MaskSource, OneSequence
from bayesrnn.masks.sequence import unclear
from bayesrnn.nn.transformers import no_fused_transformers
from bayesrnn.schemes import Placement


class MaskedModule(nn.Module):
    """A layer that multiplies by masks: the protocol for layers of your own.

    A subclass sets `places`, and in its forward pass asks `factors` for the masks. `predict`, `audit`, `compare`,
    `ConcreteDropout` and `bayesrnn.pyro` then treat it like the layers of this package. (Those override `declared`,
    describe masks of other forms by `site`, and ask `masks`.)

    Attributes:
        places: Where masks act, by the key of the mask: which site, rate, span and gates.
        source: Where masks come from during a prediction; None outside.
        calls: How often masks were taken from this source.
        rates: Rates by mask key that override the declared ones: numbers, or tensors while they are learned.
        stepwise: Whether a call is one step of a loop in the user's code; masks hold until the sequence ends.

    Example:
        >>> class Highway(MaskedModule):
        ...     def __init__(self, units, rate):
        ...         super().__init__()
        ...         self.places, self.gate = {"input": Placement("input", rate)}, nn.Linear(units, units)
        ...     def forward(self, x, masks=None):
        ...         z = self.factors(x, masks, rows=len(x), input=x.shape[-1])
        ...         return x * torch.sigmoid(self.gate(x * z["input"]))
        >>> Highway(3, 0.5).train()(torch.zeros(2, 3)).shape
        torch.Size([2, 3])
    """

    places: Mapping[str, Placement] | None = None
    source: MaskSource | None = None
    calls: int = 0
    rates: Mapping[str, float | Tensor] = MappingProxyType({})
    stepwise: bool = False

    def declared(self) -> dict[str, Placement]:
        """Return the sites with a rate above 0, by mask key, at the rates they were built with."""
        if self.places is None:
            raise TypeError(f"{type(self).__name__} must say where its masks act: set self.places.")
        return {key: place for key, place in self.places.items() if place.rate > 0.0}

    def placements(self) -> dict[str, Placement]:
        """Return the active sites, by mask key, at the rates of this moment."""
        return {
            key: replace(place, rate=_number(self.rates[key])) if key in self.rates else place
            for key, place in self.declared().items()
        }

    def set_rates(self, rates: Mapping[str, float]) -> None:
        """Set rates by mask key; they take the place of all that were set or learned before.

        Raises:
            ValueError: If the layer has no such mask, or a rate is not in [0, 1).
        """
        declared = self.declared()
        foreign = sorted(set(rates) - set(declared))
        if foreign:
            raise ValueError(f"this {type(self).__name__} has no masks {foreign}; it has {sorted(declared)}.")
        self.rates = {key: replace(declared[key], rate=rate).rate for key, rate in rates.items()}

    def site(
        self,
        key: str,
        placement: Placement,
        shape: tuple[int, int, int, int],
        like: Tensor,
        tokens: Tensor | None = None,
    ) -> MaskSite:
        """Return the description of a mask, at its current rate, with the dtype and device of `like`."""
        rate = self.rates.get(key, placement.rate)
        return MaskSite(placement, shape, like.dtype, like.device, rate, tokens)

    def idle(self, given: object) -> bool:
        """Whether a call has no masks: none given, no source, and not in train mode."""
        return given is None and self.source is None and not self.training

    def masks(
        self, sites: Mapping[str, MaskSite], rows: int, given: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return the masks of one call: those given, else of the source, else fresh in train mode, else none.

        Args:
            sites: The masks that the layer needs.
            rows: Rows of the input.
            given: Masks from the user.

        Raises:
            ValueError: If the source has masks for another number of rows, or a given mask does not fit.
        """
        source: MaskSource | None = Given(given) if given is not None else self.source
        if source is None and self.training:
            source = self.fresh()
        if source is None:
            return {}
        if source.rows is not None and (rows == 0 or rows % source.rows):
            raise ValueError(
                f"this {type(self).__name__} was bound to {source.rows} rows (draws x sequences) but was given {rows}. "
                "The rows of the inputs must reach the layer one to one: check batch_dim, the layer's batch_first, and "
                "that the module neither flattens rows into steps nor repeats them before the layer."
            )
        if isinstance(source, OneSequence):
            if type(self).stepwise:
                source.check(rows, type(self).__name__)
        elif source is self.source and not torch.compiler.is_compiling():
            self.calls += 1
        masks = {key: source.mask(key, site) for key, site in sites.items()}
        return {key: mask for key, mask in masks.items() if mask is not None}

    def factors(
        self,
        like: Tensor,
        given: Mapping[str, Tensor] | None = None,
        *,
        rows: int,
        steps: int = 1,
        gates: int = 1,
        **features: int,
    ) -> dict[str, Tensor | float]:
        """Return what to multiply by at each declared site: its mask, or 1.0 where there is none.

        Args:
            like: A tensor of the type and on the device of the masks.
            given: Masks from the user, one per declared site.
            rows: Rows of the input.
            steps: Steps of this call, for masks of the span `step`.
            gates: How many gates there are, for masks with untied gates.
            **features: The features of each mask, by its key.

        Returns:
            Masks ([steps,] [gates,] rows, features), by key: steps for the span `step`, gates where they are untied.

        Raises:
            ValueError: If the keys are not those declared, or masks do not fit.
        """
        declared = self.declared()
        for keys in (features, features if given is None else given):
            if set(declared) - set(keys):
                raise ValueError(
                    f"this {type(self).__name__} declares masks for {sorted(declared)}, but {sorted(keys)} were given."
                )
        sites = {}
        for key, place in declared.items():
            times, copies = steps if place.span == "step" else 1, gates if place.gates == "untied" else 1
            sites[key] = self.site(key, place, (times, copies, rows, features[key]), like)
        masks = {} if self.idle(given) else self.masks(sites, rows, given)
        ones: dict[str, Tensor | float] = dict.fromkeys(features, 1.0)
        return ones | {key: sites[key].public(mask) for key, mask in masks.items()}

    def fresh(self) -> MaskSource:
        """Return where masks come from in train mode, outside of a pass that has a source.

        Raises:
            ValueError: If a call is one step of a sequence: it does not say where the sequence begins.
        """
        if type(self).stepwise:
            raise ValueError(unclear(type(self).__name__))
        return Fresh()


def _number(rate: float | Tensor) -> float:
    return rate.item() if isinstance(rate, Tensor) else rate


def qualified(owner: str, name: str) -> str:
    """Return `owner.name`, or the one of the two that is not empty."""
    return f"{owner}.{name}" if owner and name else owner or name


def masked_modules(model: nn.Module) -> dict[str, MaskedModule]:
    """Return the modules of `model` with at least one active site, by qualified name."""
    modules = {name: module for name, module in model.named_modules() if isinstance(module, MaskedModule)}
    return {name: module for name, module in modules.items() if module.declared()}


@contextmanager
def sourced(model: nn.Module, source: MaskSource) -> Iterator[dict[str, MaskedModule]]:
    """Within the block, the layers inside `model` that have no source yet take their masks from `source`."""
    modules = {name: module for name, module in masked_modules(model).items() if module.source is None}
    try:
        for name, module in modules.items():
            at = source.at(_address(model, name))
            module.source, module.calls = OneSequence(at) if module.stepwise else at, 0
        yield modules
    finally:
        for module in modules.values():
            module.source = None


@contextmanager
def bound(model: nn.Module, source: MaskSource) -> Iterator[None]:
    """Take the masks of every layer inside `model` from `source` within the block, and from nowhere else.

    Nothing else of the model changes; the source is taken off again also when the block raises. A warning names the
    layers that were called more than once: each call begins with the same masks, where training draws new ones.
    torch's fused kernels for transformers are off meanwhile, since they leave out the dropout inside.

    Raises:
        ValueError: If a layer is bound already: two predictions run on one model object at once.
    """
    taken = [name for name, module in masked_modules(model).items() if module.source is not None]
    if taken:
        raise ValueError(
            f"the layers {taken} are bound to masks already: another prediction is running on this same model object. "
            "Wait for it, or give each thread its own copy.deepcopy(model)."
        )
    with sourced(model, source) as modules:
        with no_fused_transformers():
            yield
        _warn_of_repeated({name: module.calls for name, module in modules.items() if module.calls > 1})


def _warn_of_repeated(calls: dict[str, int]) -> None:
    if calls:
        names = ", ".join(f"{name or 'the model itself'} ({count} times)" for name, count in calls.items())
        warnings.warn(
            f"layers were called more than once in one pass: {names}. Every call had the same masks (masks of single "
            "steps began anew), but in training each call draws new ones, so this model is predicted with other masks "
            "than it was trained with. Give a recurrent layer the whole sequence in one call, and each place a Dropout "
            "of its own.",
            stacklevel=2,
        )


def _address(model: nn.Module, name: str) -> str:
    """Return a module's name without the wrappers of `torch.compile` and data parallelism."""
    parts = name.split(".")
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        parts = parts[1:]
    return ".".join(part for part in parts if part != "_orig_mod")
