"""Which mask acts on the input of which weight of a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bayesrnn.nn.concrete import ConcreteDropout
from bayesrnn.nn.dropout import Dropout
from bayesrnn.nn.embedding import Embedding
from bayesrnn.nn.masked import masked_modules, qualified
from bayesrnn.nn.recurrence import MaskedRecurrence

_WITH_KL = ("word", "input", "between", "hidden", "output", "weight")


@dataclass(frozen=True)
class WeightTerm:
    """One parameter and the mask that multiplies what enters it.

    Attributes:
        name: Qualified name of the parameter.
        parameter: The stored (not rescaled) weight.
        mask: Qualified key of the mask, such as ``lstm.hidden_l0``; None where the weight sees no mask.
        rate: Rate of that mask, 0 without one.
        units: How many mask entries one draw of the weight has: the count of its Bernoulli variables. Where one
            `Dropout` feeds several weights they are counted at the first.
    """

    name: str
    parameter: Tensor
    mask: str | None = None
    rate: float = 0.0
    units: int = 0


_Mask = tuple[str, float, int]
"""Of a mask on the input of a weight: key, rate and units."""


def weight_terms(model: nn.Module, behind: Mapping[str, str | None] | None = None) -> list[WeightTerm]:
    """Return the terms of every trainable parameter of the model: one for each mask on it, or one without mask.

    Recurrent layers and embeddings say themselves which mask acts where. For a `bayesrnn.nn.Dropout` these are asked,
    later ones first:

    1. the order of registration: a `Linear` right after the Dropout in the same parent module sees its mask;
    2. the model: a module may have a method ``weights_behind()`` that returns the name of a weight -> the name of the
       Dropout before it, both relative to the module (the models of this library have one);
    3. `behind`.

    A matrix E that is both embedding and decoder acts twice in a pass: as $z_w E$ in the lookup (word mask) and as
    $E z_o$ in the decoder (output mask). It has two terms, one per mask, each with the prior; where one of the two
    masks is missing, its term has rate 0.

    The logits of a `ConcreteDropout` are rates, not weights, and have no term; `rate` is then what was learned.

    Args:
        model: Any module with layers of this library inside.
        behind: Name of a weight -> name of the `Dropout` module before it, or None for no such module.

    Raises:
        ValueError: If `behind` names what the model does not have, a Dropout acts on no weight that is known or on one
            whose layer masks the same product already, or a mask has no KL of this form: masks that change each step
            are not a distribution over weights, and those on cells, candidates or kept states enter no product.
    """
    return [term for term in all_terms(model, behind) if term.parameter.requires_grad]


def all_terms(model: nn.Module, behind: Mapping[str, str | None] | None = None) -> list[WeightTerm]:
    """Return the terms of all parameters, frozen ones too, whose masks may have learned rates."""
    _check_sites(model)
    masks = _layer_masks(model)
    for name, mask in _dropout_masks(model, behind).items():
        masks.setdefault(name, []).append(mask)
    rates = rate_parameters(model)
    terms: list[WeightTerm] = []
    doubled = _with_two_roles(model)
    for name, parameter in model.named_parameters():
        if name in rates:
            continue
        masked = [WeightTerm(name, parameter, *mask) for mask in masks.get(name, [])]
        terms += masked
        if not masked or (len(masked) == 1 and name in doubled):
            terms.append(WeightTerm(name, parameter))
    return terms


def _with_two_roles(model: nn.Module) -> set[str]:
    """Return the weights that are both embedding and decoder."""
    names = _names(model)

    def owned(kind: type[nn.Module]) -> set[str]:
        modules = model.named_modules(remove_duplicate=False)
        return {names[qualified(name, "weight")] for name, module in modules if isinstance(module, kind)}

    return owned(nn.Embedding) & (owned(nn.Linear) | set(_dropout_before(model)))


def rate_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters of the model that are rates and no weights: the logits of a `ConcreteDropout`."""
    names = _names(model)
    return {
        names[qualified(owner, f"logits.{key}")]: logit
        for owner, wrapped in model.named_modules()
        if isinstance(wrapped, ConcreteDropout)
        for key, logit in wrapped.logits.named_parameters()
    }


def _layer_masks(model: nn.Module) -> dict[str, list[_Mask]]:
    names = _names(model)
    masks: dict[str, list[_Mask]] = {}
    for owner, module in masked_modules(model).items():
        for key, placement in module.placements().items():
            if isinstance(module, Embedding):
                name, units = "weight", module.num_embeddings
            elif isinstance(module, MaskedRecurrence):
                name = module.weight_of(key)
                weight = getattr(module, name)
                copies = module.cell.gates if placement.gates == "untied" else 1
                units = weight.numel() if placement.site == "weight" else copies * weight.shape[1]
            else:
                continue
            if (own := qualified(owner, name)) in names:
                masks.setdefault(names[own], []).append((qualified(owner, key), placement.rate, units))
    return masks


def _dropout_masks(model: nn.Module, behind: Mapping[str, str | None] | None) -> dict[str, _Mask]:
    """From the name of a weight to the mask of the active Dropout before it."""
    active = {name: module for name, module in masked_modules(model).items() if isinstance(module, Dropout)}
    guessed = {name: owner for name, owner in _dropout_before(model).items() if owner in active}
    explicit = _checked(model, dict(behind or {}))
    denied = {guessed[name] for name, owner in explicit.items() if owner is None and name in guessed}
    masks: dict[str, _Mask] = {}
    met: set[str] = set()
    for name, owner in (guessed | explicit).items():
        if owner in active:
            _check_alone(model, name, owner)
            units = 0 if owner in met else model.get_parameter(name).shape[-1]
            masks[name] = (qualified(owner, "output"), active[owner].placements()["output"].rate, units)
            met.add(owner)
    lost = sorted(set(active) - met - denied)
    if lost:
        raise ValueError(_unplaced(model, lost[0]))
    return masks


def _dropout_before(model: nn.Module) -> dict[str, str]:
    """Return what the order of registration and the modules' own `weights_behind` say of active Dropouts."""
    pairs: dict[str, str] = {}
    for owner, parent in model.named_modules():
        last = None
        for name, child in parent._modules.items():  # named_children would leave out a module that comes twice
            if isinstance(child, nn.Linear) and last is not None:
                pairs[qualified(owner, f"{name}.weight")] = qualified(owner, last)
            last = name if isinstance(child, Dropout) else None
    for owner, parent in model.named_modules():
        said: Any = getattr(parent, "weights_behind", None)
        pairs |= {qualified(owner, w): qualified(owner, d) for w, d in said().items()} if callable(said) else {}
    names, modules = _names(model), _module_names(model)
    return {names[weight]: modules[dropout] for weight, dropout in pairs.items() if weight in names}


def _checked(model: nn.Module, behind: dict[str, str | None]) -> dict[str, str | None]:
    names, modules = _names(model), dict(model.named_modules(remove_duplicate=False))
    for name, dropout in behind.items():
        if name not in names:
            raise ValueError(f"behind names the parameter {name!r}, which the model lacks; it has {sorted(names)}.")
        if dropout is not None and not isinstance(modules.get(dropout), Dropout):
            legal = sorted(n for n, m in modules.items() if isinstance(m, Dropout))
            raise ValueError(f"behind names {dropout!r}, which is no Dropout of the model; those are {legal}.")
    places = _module_names(model)
    return {names[name]: None if owner is None else places[owner] for name, owner in behind.items()}


def _check_alone(model: nn.Module, name: str, dropout: str) -> None:
    """Refuse two masks in one product: a Dropout before a weight whose recurrent layer masks its input as well."""
    layer = model.get_submodule(name.rpartition(".")[0])
    own = [key for key, *_ in _layer_masks(model).get(name, [])]
    if own and isinstance(layer, MaskedRecurrence):
        raise ValueError(
            f"{name!r} sees two masks in one product, {own[0]!r} and the mask of the Dropout {dropout!r}, and "
            "the KL of their product is not offered. Give one of the two the rate 0."
        )


def _unplaced(model: nn.Module, dropout: str) -> str:
    weights = [name for name, parameter in model.named_parameters() if parameter.dim() > 1]
    return (
        f"the Dropout {dropout!r} acts on no weight that is known: no Linear is registered right after it. Name the "
        f"weight whose input it masks, behind={{weight: {dropout!r}}}; the weights are {weights}. If what it masks "
        "enters no weight's product, it has no KL of this form: give the optimizer a weight decay yourself."
    )


def _check_sites(model: nn.Module) -> None:
    for owner, module in masked_modules(model).items():
        for key, placement in module.placements().items():
            place = qualified(owner, key)
            if placement.site not in _WITH_KL:
                raise ValueError(
                    f"the mask {place!r} acts on {placement.site!r}, which enters no weight's product, so it has no KL "
                    "of this form. Use a scheme with the sites word, input, hidden, output or weight."
                )
            if placement.span == "step":
                raise ValueError(
                    f"the mask {place!r} changes each step, so it is no distribution over weights and has no KL. "
                    "Give the optimizer a weight decay yourself, or use a scheme with the span 'sequence' such as gal."
                )


def _names(model: nn.Module) -> dict[str, str]:
    """From every name of a parameter, also of one that is shared, to the one that `named_parameters` has."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    return {name: first[id(parameter)] for name, parameter in model.named_parameters(remove_duplicate=False)}


def _module_names(model: nn.Module) -> dict[str, str]:
    first = {module: name for name, module in model.named_modules()}
    return {name: first[module] for name, module in model.named_modules(remove_duplicate=False)}
