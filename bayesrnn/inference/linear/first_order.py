"""The effect of masks on a prediction to first order: one gradient per output, by all masks at their mean."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn.inference.job import Job
from bayesrnn.inference.linear.sources import MeanMasks, by_row
from bayesrnn.inference.linear.targets import targets
from bayesrnn.inference.outputs import OutputDistribution
from bayesrnn.masks import MaskSite

Masks = dict[str, tuple[Tensor, MaskSite]]
MOST_OUTPUTS = 1024
"""Numbers per row of which gradients are taken: more of them cost more than the draws that they save."""


@dataclass(frozen=True, eq=False)
class Place:
    """The gradient by the masks of one place.

    Attributes:
        rate: Probability of dropping.
        gradient: By the mask of each unit, (B, units, C), float64; of a word type, where the row first has it.
        site: What the masks look like.
    """

    rate: float
    gradient: Tensor
    site: MaskSite

    @property
    def variances(self) -> Tensor:
        r"""What each unit adds to the variance, $J_j^2\, p/(1-p)$, (B, units, C)."""
        return self.gradient.square() * (self.rate / (1.0 - self.rate))


@dataclass(frozen=True, eq=False)
class FirstOrder:
    r"""$f(z) \approx f(1) + J (z - 1)$ for C numbers of each row.

    Attributes:
        value: f(1), of the deterministic pass, (B, C), float64.
        places: By address, such as `lstm.hidden_l0`.
        distributions: Of the deterministic pass, batch shape (1, B, ...).
        structure: What the model returned.
    """

    value: Tensor
    places: Mapping[str, Place]
    distributions: list[OutputDistribution]
    structure: Any

    @property
    def variance(self) -> Tensor:
        r"""$\sum_j J_j^2\, p_j/(1-p_j)$, the variance of the linear part, (B, C)."""
        return torch.stack([place.variances.sum(1) for place in self.places.values()]).sum(0)

    def linear(self, masks: Mapping[str, tuple[Tensor, MaskSite]], draws: int) -> Tensor:
        """Return $J (z - 1)$ for the masks of draws, (S, B, C)."""
        total = self.value.new_zeros(draws, *self.value.shape)
        for name, (mask, site) in masks.items():
            deviation = by_row(mask, site, draws, len(self.value)) - 1.0
            total += torch.einsum("sbu,buc->sbc", deviation, self.places[name].gradient)
        return total


def first_order(job: Job, rows: Tensor, at_once: int, means: bool = False) -> FirstOrder:
    """Differentiate the numbers of a prediction by all masks at their mean.

    Each number gets a copy of its row, so that one backward pass serves as many numbers as fit at once.

    Args:
        job: What to run; its stream is not read.
        rows: Positions of the rows, (B,).
        at_once: Rows that one pass may hold.
        means: Of means and probabilities only, neither variances nor entropies.

    Raises:
        ValueError: If there are more than `MOST_OUTPUTS` numbers per row, or none has a derivative by a mask.
    """
    with torch.enable_grad(), _frozen(job.model):
        masks: Masks = {}
        structure, distributions = _mean_pass(job, rows, 1, masks)
        pieces = _pieces(distributions, means)
        columns = [k for k, piece in enumerate(pieces) for _ in range(piece[0, 0].numel())]
        active = [c for c, piece in enumerate(columns) if pieces[piece].requires_grad]
        _check(len(columns), bool(active))
        value = torch.cat([piece[0].detach().reshape(len(rows), -1) for piece in pieces], 1)
        gradients: dict[str, Tensor] = {}
        size = max(at_once // len(rows), 1)
        for few in torch.tensor(active).split(size):
            if len(active) > 1:
                masks = {}
                pieces = _pieces(_mean_pass(job, rows, len(few), masks)[1], means)
            flat = torch.cat([piece.reshape(*piece.shape[:2], -1) for piece in pieces], 2)
            chosen = flat[torch.arange(len(few)), :, few].sum()
            leaves = [mask for mask, _ in masks.values()]
            by_masks = torch.autograd.grad(chosen, leaves, allow_unused=True)
            for (name, (mask, site)), gradient in zip(masks.items(), by_masks, strict=True):
                if gradient is None:
                    gradient = torch.zeros_like(mask)
                if site.tokens is not None:
                    gradient = _of_types(gradient[0, 0], site.tokens)[None, None]
                new = by_row(gradient, site, len(few), len(rows)).permute(1, 2, 0)
                whole = gradients.setdefault(name, new.new_zeros(*new.shape[:2], len(columns)))
                whole[..., few] = new
    places = {name: Place(site.number, gradients[name], site) for name, (_, site) in masks.items()}
    return FirstOrder(value, places, distributions, structure)


def _mean_pass(job: Job, rows: Tensor, copies: int, masks: Masks) -> tuple[Any, list[OutputDistribution]]:
    """Run copies of rows with all masks at their mean, which are put into `masks`."""
    draws = torch.arange(copies, device=job.ids.device)
    return job.run(draws, rows, lambda binding: MeanMasks(binding, masks))


def _pieces(distributions: list[OutputDistribution], means: bool) -> list[Tensor]:
    return [piece for d in distributions for piece in targets(d)[: 1 if means else 2]]


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """Within the block, no parameter asks for a gradient: only the masks do."""
    learned = [p for p in model.parameters() if p.requires_grad]
    try:
        for parameter in learned:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


def _of_types(gradient: Tensor, tokens: Tensor) -> Tensor:
    """Sum the gradients (rows, T) over all tokens of a word type, at its first position in the row."""
    ordered, order = tokens.sort(dim=1, stable=True)
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    place = torch.arange(tokens.shape[1], device=tokens.device)
    start = torch.where(starts, place, 0).cummax(1).values
    first = torch.empty_like(order).scatter_(1, order, order.gather(1, start))
    return torch.zeros_like(gradient).scatter_add_(1, first, gradient)


def _check(columns: int, active: bool) -> None:
    if columns > MOST_OUTPUTS:
        raise ValueError(
            f"the output has {columns} numbers per row (means and variances, or probabilities of classes), and the "
            f"first order takes a gradient of each: {MOST_OUTPUTS} at most. Predict with control=None: stratified "
            "draws serve all numbers at once. For language models there is bayesrnn.perplexity."
        )
    if not active:
        raise ValueError(
            "the model's output has no derivative by its masks: does its forward pass detach, round, or run under "
            "torch.no_grad or torch.inference_mode? Predict with control=None."
        )
