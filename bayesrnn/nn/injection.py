"""Hand masks to the layers inside a model, through their `masks=` argument, without touching the model's own code."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from bayesrnn.masks import Binding
from bayesrnn.nn.dropout import Dropout
from bayesrnn.nn.embedding import Embedding
from bayesrnn.nn.masked import MaskedModule, masked_modules
from bayesrnn.nn.recurrent import Recurrent
from bayesrnn.schemes import Placement

__all__ = ["MaskSite", "Provider", "drawn", "injected", "mask_sites"]


@dataclass(frozen=True)
class MaskSite:
    """What the mask of one site looks like in one forward pass.

    Attributes:
        placement: Rate, span and gates.
        shape: ([steps,] [gates,] rows, features); (rows, V) for words, (gates * H, H) for a weight.
        rows: Sequences of the pass.
        steps: Steps of the pass.
        gates: Gates of the layer.
        dtype: Type of the mask.
        device: Where the layer lives.
    """

    placement: Placement
    shape: tuple[int, ...]
    rows: int
    steps: int
    gates: int
    dtype: torch.dtype
    device: torch.device


Provider = Callable[[str, MaskedModule, dict[str, MaskSite]], Mapping[str, Tensor] | None]
"""From the name of a layer, the layer and its sites to its masks by key, or None to leave the layer alone."""


@contextmanager
def injected(model: nn.Module, provider: Provider) -> Iterator[None]:
    """Within the block, every layer with an active site inside `model` gets the masks that `provider` returns.

    A call that already has `masks=` is left as it is.
    """

    def hook_of(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
            assert isinstance(module, MaskedModule)  # noqa: S101 (masked_modules yields nothing else)
            if options.get("masks") is not None:
                return None
            masks = provider(name, module, mask_sites(module, args[0] if args else next(iter(options.values()))))
            if masks is None:
                return None
            return args, options | {"masks": masks if isinstance(module, Recurrent) else next(iter(masks.values()))}

        return hook

    handles = [
        module.register_forward_pre_hook(hook_of(name), with_kwargs=True)
        for name, module in masked_modules(model).items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def mask_sites(module: MaskedModule, x: Tensor | PackedSequence) -> dict[str, MaskSite]:
    """Return the sites of a layer for the input `x` of one forward pass, by the key of the mask.

    Example:
        >>> from bayesrnn.nn import LSTM
        >>> mask_sites(LSTM(3, 8, dropout=0.5), torch.zeros(5, 2, 3))["hidden_l0"].shape
        (4, 2, 8)
    """
    rows, steps = _extent(module, x)
    parameter = next(module.parameters(), None)
    reference = parameter if parameter is not None else (x.data if isinstance(x, PackedSequence) else x)
    gates = module.cell.gates if isinstance(module, Recurrent) else 1
    found = {}
    for key, placement in module.placements().items():
        shape: tuple[int, ...] = (rows, _width(module, key, placement, x))
        if placement.site == "weight":
            shape = (gates * shape[1], shape[1])
        else:
            shape = (gates, *shape) if placement.gates == "untied" else shape
            shape = (steps, *shape) if placement.span == "step" else shape
        found[key] = MaskSite(placement, shape, rows, steps, gates, reference.dtype, reference.device)
    return found


def drawn(binding: Binding, key: str, site: MaskSite, placement: Placement | None = None) -> Tensor:
    """Return the mask of one site as a bound layer would draw it, at another rate if `placement` says so."""
    place = placement or site.placement
    if place.site == "word":
        words = torch.arange(site.shape[-1], device=site.device).expand(site.rows, -1).contiguous()
        return binding.words(key, place, words, site.dtype)
    if place.site == "weight":
        size = site.shape[0] * site.shape[1]
        shared = Binding(binding.stream, binding.draws, binding.sequences, True, binding.name)
        return shared.mask(key, place, size, gates=1, steps=1, dtype=site.dtype).view(site.shape)
    return binding.mask(key, place, site.shape[-1], gates=site.gates, steps=site.steps, dtype=site.dtype)


def _extent(module: MaskedModule, x: Tensor | PackedSequence) -> tuple[int, int]:
    """Rows and steps of the input."""
    if isinstance(x, PackedSequence):
        return int(x.batch_sizes[0]), len(x.batch_sizes)
    batch_first = bool(getattr(module, "batch_first", True))
    features = 0 if isinstance(module, Embedding) else 1
    if x.dim() == 1 + features:  # one sequence, or for a Dropout rows without steps
        return (x.shape[0], 1) if isinstance(module, Dropout) else (1, x.shape[0])
    return (x.shape[0], x.shape[1]) if batch_first else (x.shape[1], x.shape[0])


def _width(module: MaskedModule, key: str, placement: Placement, x: Tensor | PackedSequence) -> int:
    if isinstance(module, Embedding):
        return module.num_embeddings
    if isinstance(module, Recurrent):
        if placement.site != "input":
            return module.hidden_size
        return module.input_size if "_l0" in key else module.hidden_size * module.num_directions
    return int((x.data if isinstance(x, PackedSequence) else x).shape[-1])
