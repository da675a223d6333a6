"""Which mask acts on the input of which weight of a model."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from bayesrnn.nn.dropout import Dropout
from bayesrnn.nn.embedding import Embedding
from bayesrnn.nn.masked import masked_modules
from bayesrnn.nn.recurrent import Recurrent
from bayesrnn.schemes import Placement

__all__ = ["WeightTerm", "weight_terms"]

_WITH_KL = ("word", "input", "hidden", "output", "weight")


@dataclass(frozen=True)
class WeightTerm:
    """One parameter and the mask that multiplies what enters it.

    Attributes:
        name: Qualified name of the parameter.
        parameter: The stored (not rescaled) weight.
        mask: Qualified key of the mask, such as ``lstm.hidden_l0``; None where the weight sees no mask.
        rate: Rate of that mask, 0 without one.
        units: How many mask entries one draw of the weight has: the count of its Bernoulli variables.
    """

    name: str
    parameter: Tensor
    mask: str | None = None
    rate: float = 0.0
    units: int = 0


def weight_terms(model: nn.Module, behind: Mapping[str, str | None] | None = None) -> list[WeightTerm]:
    """Return a term for every trainable parameter of the model, each parameter once.

    Recurrent layers and embeddings say themselves which mask acts where. A `Linear` sees the mask of a
    `bayesrnn.nn.Dropout` that is registered right before it in the same parent module; name other cases in `behind`.

    Args:
        model: Any module with layers of this library inside.
        behind: Name of a weight -> name of the `Dropout` module before it, or None for no mask.

    Raises:
        ValueError: If `behind` names what the model does not have, or a mask has no KL of this form: masks that change
            each step are not a law over weights, and those on cells, candidates or kept states enter no product.
    """
    _check_sites(model)
    chosen = _dropout_before(model) | _checked(model, dict(behind or {}))
    found = dict(_masked_parameters(model))
    for name, dropout in chosen.items():
        module = None if dropout is None else model.get_submodule(dropout)
        if dropout is not None and isinstance(module, Dropout):
            width = model.get_parameter(name).shape[-1]
            found[name] = ("output", dropout, module.placements().get("output"), width)
    terms = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        key, owner, placement, units = found.get(name, ("", "", None, 0))
        if placement is None:
            terms.append(WeightTerm(name, parameter))
        else:
            terms.append(WeightTerm(name, parameter, f"{owner}.{key}".lstrip("."), placement.rate, units))
    return terms


_Found = tuple[str, str, Placement | None, int]


def _masked_parameters(model: nn.Module) -> Iterator[tuple[str, _Found]]:
    for owner, module in masked_modules(model).items():
        start = f"{owner}." if owner else ""
        for key, placement in module.placements().items():
            if isinstance(module, Embedding):
                yield f"{start}weight", (key, owner, placement, module.num_embeddings)
            elif isinstance(module, Recurrent):
                site, end = key.rsplit("_l", 1)
                name = f"weight_{'ih' if site == 'input' else 'hh'}_l{end}"
                weight = getattr(module, name)
                copies = module.cell.gates if placement.gates == "untied" else 1
                units = weight.numel() if placement.site == "weight" else copies * weight.shape[1]
                yield f"{start}{name}", (key, owner, placement, units)


def _dropout_before(model: nn.Module) -> dict[str, str | None]:
    pairs: dict[str, str | None] = {}
    for owner, parent in model.named_modules():
        start = f"{owner}." if owner else ""
        last = None
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear) and last is not None:
                pairs[f"{start}{name}.weight"] = f"{start}{last}"
            last = name if isinstance(child, Dropout) else None
    names = dict(model.named_parameters())
    return {name: dropout for name, dropout in pairs.items() if name in names}


def _checked(model: nn.Module, behind: dict[str, str | None]) -> dict[str, str | None]:
    names, modules = dict(model.named_parameters()), dict(model.named_modules())
    for name, dropout in behind.items():
        if name not in names:
            raise ValueError(f"behind names the parameter {name!r}, which the model lacks; it has {sorted(names)}.")
        if dropout is not None and not isinstance(modules.get(dropout), Dropout):
            legal = sorted(n for n, m in modules.items() if isinstance(m, Dropout))
            raise ValueError(f"behind names {dropout!r}, which is no Dropout of the model; those are {legal}.")
    return behind


def _check_sites(model: nn.Module) -> None:
    for owner, module in masked_modules(model).items():
        for key, placement in module.placements().items():
            place = f"{owner}.{key}".lstrip(".")
            if placement.site not in _WITH_KL:
                raise ValueError(
                    f"the mask {place!r} acts on {placement.site!r}, which enters no weight's product, so it has no KL "
                    "of this form. Use a scheme with the sites word, input, hidden, output or weight."
                )
            if placement.span == "step":
                raise ValueError(
                    f"the mask {place!r} changes each step, so it is no law over weights and has no KL. Give the "
                    "optimizer a weight decay yourself, or use a scheme with the span 'sequence' such as gal."
                )
