"""What `export` traces: a model whose masks are inputs and whose outputs are tensors, by name."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from bayesrnn.masks import MaskSite
from bayesrnn.masks.sources import Anywhere
from bayesrnn.nn.concrete import learned_rates
from bayesrnn.nn.masked import masked_modules, qualified, sourced
from bayesrnn.schemes import Placement


@dataclass(frozen=True)
class MaskInput:
    """One mask as an input of a graph.

    Attributes:
        placement: Site, rate, span and gates.
        gates: How many gates have a mask of their own, or 1.
        features: Units of the mask; words of a vocabulary.
        dtype: Type of the mask.
    """

    placement: Placement
    gates: int
    features: int
    dtype: torch.dtype

    @property
    def per_step(self) -> bool:
        """Whether the mask is a new one each step."""
        return self.placement.span == "step"

    def shape(self, rows: Any, steps: Any) -> tuple[Any, ...]:
        """Return the shape of the input, ([steps,] [gates,] rows, features)."""
        untied = self.placement.gates == "untied"
        return (*((steps,) if self.per_step else ()), *((self.gates,) if untied else ()), rows, self.features)

    def neutral(self, rows: int, steps: int) -> Tensor:
        """Return the mask that leaves everything as it is."""
        fill = torch.zeros if self.placement.keeps_old else torch.ones
        return fill(self.shape(rows, steps), dtype=self.dtype)

    def random(self, rows: int, steps: int, generator: torch.Generator) -> Tensor:
        """Return a random mask."""
        return torch.randint(0, 2, self.shape(rows, steps), generator=generator).to(self.dtype)

    def described(self) -> dict[str, Any]:
        """Return what the sampler must know."""
        return {
            "rate": self.placement.rate, "gates": self.gates, "features": self.features, "per_step": self.per_step,
            "untied": self.placement.gates == "untied", "keeps_old": self.placement.keeps_old,
            "dtype": str(self.dtype).removeprefix("torch."),
        }  # fmt: skip


@dataclass(frozen=True)
class _Inputs(Anywhere):
    """A source of masks: the inputs of the graph, or, before these are known, neutral masks, noting what is asked."""

    masks: Mapping[str, Tensor] | None = None
    sites: dict[str, MaskSite] = field(default_factory=dict)
    layer: str = ""

    def at(self, name: str) -> "_Inputs":
        """Return the same source for the layer of that qualified name."""
        return replace(self, layer=name)

    def mask(self, key: str, site: MaskSite) -> Tensor:
        """Return the mask of one site; see `MaskSource.mask`."""
        name = qualified(self.layer, key)
        if self.masks is not None:
            return site.internal(self.masks[name])
        self.sites[name] = site
        fill = torch.zeros if site.placement.keeps_old else torch.ones
        return site.of_tokens(fill(site.shape, dtype=site.dtype))


class Graph(nn.Module):
    """A model with its masks as a keyword input, and with named tensors as outputs."""

    def __init__(self, model: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names
        self.layers = masked_modules(model)  # by the names that the masks have; tracing may reorder shared modules

    def forward(self, *inputs: Tensor, masks: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return the outputs by name."""
        if masks is None:
            return named_tensors(self.model(*inputs))
        try:
            for name, layer in self.layers.items():
                layer.source = _Inputs(masks).at(name)
            return named_tensors(self.model(*inputs))
        finally:
            for layer in self.layers.values():
                layer.source = None

    def input_names(self, count: int) -> list[str]:
        """Return the names of the inputs: the parameters of the model's `forward`, then the masks."""
        names = [name for name in inspect.signature(self.model.forward).parameters if name not in ("args", "kwargs")]
        own = names[:count] if len(names) >= count else [f"input_{k}" for k in range(count)]
        return [*own, *self.names]


def check_exportable(model: nn.Module, *, masks: bool) -> None:
    """Refuse a model whose masks cannot be inputs.

    Raises:
        TypeError: If it is no module.
        ValueError: If a mask is of weights, a rate is learned, or there is no mask.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"export takes a torch module, but a {type(model).__name__} was given. Export the members of an ensemble "
            "one by one."
        )
    if not masks:
        return
    placed = {
        qualified(name, key): place
        for name, module in masked_modules(model).items()
        for key, place in module.placements().items()
    }
    if not placed:
        raise ValueError(
            "the model has no mask that could be an input of the graph. Give its layers a rate above 0, or export the "
            "deterministic pass with masks=False."
        )
    weights = [name for name, place in placed.items() if place.site == "weight"]
    if weights:
        raise ValueError(
            f"the masks {weights} are of weights: every draw has other weights, so draws cannot be rows of one graph. "
            "Export the deterministic pass with masks=False, or use a scheme that masks units, such as schemes.gal."
        )
    learned = sorted(learned_rates(model))
    if learned:
        raise ValueError(
            f"the rates of {learned} are learned by a ConcreteDropout, and a graph has fixed ones. Export what "
            "wrapped.settle() returns: the model with the rates that were learned."
        )


def examples(example: Any, batch_dim: int) -> tuple[Tensor, ...]:
    """Return the example inputs, with at least two rows.

    Raises:
        ValueError: If they are no tensors, or hold one step only.
    """
    inputs = tuple(example) if isinstance(example, tuple | list) else (example,)
    if not inputs or not all(isinstance(x, Tensor) and x.dim() for x in inputs):
        kinds = [type(x).__name__ for x in inputs]
        raise ValueError(
            f"example must be a tensor or a tuple of tensors with rows, but {kinds} was given. A packed sequence "
            "becomes the padded tensor and its lengths."
        )
    if any(x.dim() > 2 and x.shape[1 - batch_dim] < 2 for x in inputs):
        raise ValueError("example must hold at least two steps: a graph that was traced with one holds for one only.")
    places = [0 if x.dim() == 1 else batch_dim for x in inputs]
    if any(x.shape[place] == 1 for x, place in zip(inputs, places)):
        inputs = tuple(torch.cat([x, x], place) for x, place in zip(inputs, places))
    return inputs


def find_masks(model: nn.Module, inputs: tuple[Tensor, ...], batch_dim: int) -> dict[str, MaskInput]:
    """Return the masks that a pass asks for, by qualified name.

    Raises:
        ValueError: If a layer sees other rows than the inputs have.
    """
    rows = inputs[0].shape[0 if inputs[0].dim() == 1 else batch_dim]
    source = _Inputs()
    with sourced(model, source), torch.no_grad():
        model(*inputs)
    for name, site in source.sites.items():
        if site.shape[2] != rows:
            raise ValueError(
                f"the mask {name!r} has {site.shape[2]} rows where the inputs have {rows}: a model that regroups its "
                "rows cannot have masks as inputs."
            )
    return {
        name: MaskInput(replace(site.placement, rate=site.number), site.shape[1], site.shape[3], site.dtype)
        for name, site in source.sites.items()
    }


def dynamic_shapes(inputs: tuple[Tensor, ...], masks: Mapping[str, MaskInput], batch_dim: int) -> dict[str, Any]:
    """Return which dimensions of the inputs may vary: rows everywhere, steps where there are steps."""
    rows, steps = torch.export.Dim("rows", min=1), torch.export.Dim("steps", min=1)

    def of(x: Tensor) -> dict[int, Any]:
        if x.dim() == 1:
            return {0: rows}
        sequence = x.dim() > 2 or not x.is_floating_point()
        return {batch_dim: rows, 1 - batch_dim: steps if sequence else torch.export.Dim.AUTO}

    asked = {
        name: {k: dim for k, dim in enumerate(mask.shape(rows, steps)) if not isinstance(dim, int)}
        for name, mask in masks.items()
    }
    return {"inputs": tuple(of(x) for x in inputs)} | ({"masks": asked} if asked else {})


def named_tensors(output: Any, name: str = "") -> dict[str, Tensor]:
    """Return the tensors of an output by name; of a distribution, its parameters."""
    if isinstance(output, Tensor):
        return {name or "output": output}
    if isinstance(output, Independent):
        return named_tensors(output.base_dist, name)
    if isinstance(output, Distribution):
        parameters = [key for key in output.arg_constraints if key != "probs" or "logits" not in output.arg_constraints]
        values: dict[str, Any] = {key: getattr(output, key, None) for key in parameters}
        if values and all(isinstance(value, Tensor) for value in values.values()):
            return {f"{name}_{key}" if name else key: value for key, value in values.items()}
        raise ValueError(
            f"the model returns a {type(output).__name__}, whose parameters are no tensors. Return the tensors that it "
            "is made from."
        )
    parts = dict(enumerate(output)) if isinstance(output, tuple | list) else output
    if not isinstance(parts, Mapping):
        raise ValueError(f"the model returns a {type(output).__name__}; a graph returns tensors or distributions.")
    tensors: dict[str, Tensor] = {}
    for key, part in parts.items():
        tensors |= named_tensors(part, f"{name or 'output'}_{key}")
    return tensors
