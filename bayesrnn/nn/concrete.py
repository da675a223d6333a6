"""Dropout rates that are learned: the relaxed masks of concrete dropout for the layers of this library."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from bayesrnn._checks import as_number, check_choice
from bayesrnn.nn.injection import MaskSite, drawn, injected
from bayesrnn.nn.masked import MaskedModule, masked_modules
from bayesrnn.nn.rates import set_layer_rates
from bayesrnn.nn.recurrent import Recurrent
from bayesrnn.schemes import Site

__all__ = ["ConcreteDropout", "learned_rates", "relaxed_mask"]

Share = Literal["layer", "site"]
_LEARNABLE: tuple[Site, ...] = ("word", "input", "hidden", "output", "candidate", "cell")
_EDGE = 1e-6


class ConcreteDropout(nn.Module):
    r"""Learn the rates of a model's masks together with its weights.

    In train mode every mask is relaxed, $z = (1 - \sigma((\mathrm{logit}\,p + \mathrm{logit}\,u)/t)) / (1-p)$ with u
    uniform, so that p gets a gradient; the layers receive it through their `masks=` argument. In eval mode there are
    no masks, and `predict` draws masks of exactly 0 or 1/(1-p) at the learned rates. The loss needs the KL with its
    entropy, or the rates fall to 0:

        loss = nll + objective.model_kl(wrapped.model, length_scale, rates=wrapped.rates()) / size

    As the data grow, the rates fall: what dropout expresses is uncertainty about the weights.

    Source: Gal, Hron & Kendall (2017), Concrete Dropout, arXiv:1705.07832, sections 3 and 4.

    Args:
        model: A module with layers of this library and rates above 0, which are the starting point.
        temperature: t; lower is closer to 0/1 masks and noisier in the gradient.
        share: `layer` for a rate of its own for every mask of every layer, `site` for one rate a site (all hidden
            masks one rate, ...).

    Raises:
        TypeError: If the model is no torch module or the temperature no number.
        ValueError: If no mask is active, a site is not a multiplicative mask on units, rates of the model are being
            learned already, or the temperature is not positive and finite.

    Example:
        >>> from bayesrnn.nn import GRU
        >>> wrapped = ConcreteDropout(GRU(2, 4, dropout=0.1))
        >>> {key: round(rate.item(), 3) for key, rate in wrapped.rates().items()}
        {'input_l0': 0.1, 'hidden_l0': 0.1}
    """

    def __init__(self, model: nn.Module, *, temperature: float = 0.1, share: Share = "layer") -> None:
        super().__init__()
        _check_model(model)
        check_choice(share, "share", get_args(Share))
        self.model, self.temperature, self.share = model, _check_temperature(temperature), share
        self._groups = _groups(model, share)
        starts = dict(self._groups.values())
        self.logits = nn.ParameterDict(
            {_escaped(group): torch.logit(torch.tensor(rate)) for group, rate in starts.items()}
        )

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Run the model; in train mode with relaxed masks, under `predict` with masks at the learned rates."""
        if not self.training:
            self._write(self._values())
        with injected(self.model, self._masks):
            return self.model(*inputs, **options)

    def train(self, mode: bool = True) -> "ConcreteDropout":
        """Set the mode; on the way to eval mode the layers are told the rates, which are what `audit` shows of them."""
        super().train(mode)
        if not mode:
            self._write(self._values())
        return self

    def rates(self) -> dict[str, Tensor]:
        """Return the current rate of every mask, by its qualified key in the wrapped model; differentiable."""
        return {
            key: torch.sigmoid(self.logits[_escaped(group)]).clamp(_EDGE, 1.0 - _EDGE)
            for key, (group, _) in self._groups.items()
        }

    def _values(self) -> dict[str, float]:
        return {key: rate.item() for key, rate in self.rates().items()}

    def settle(self) -> nn.Module:
        """Write the learned rates into the layers' schemes and return the model, which is then an ordinary one.

        Raises:
            ValueError: If the layers of a stacked or bidirectional network learned different rates for one site: a
                scheme holds one. Use `share="site"` or one module a layer, or go on with the wrapped model.
        """
        rates = self._values()
        by_site: dict[str, set[float]] = {}
        for name, module in masked_modules(self.model).items():
            for key, placement in module.placements().items():
                by_site.setdefault(_qualified(name, placement.site), set()).add(rates[_qualified(name, key)])
        mixed = {site: sorted(values) for site, values in by_site.items() if len(values) > 1}
        if mixed:
            raise ValueError(
                f"a layer's scheme holds one rate a site, but these learned several: {mixed}. Use share='site', build "
                "the stack from modules of one layer, or keep the wrapped model: predict takes it as it is."
            )
        self._write(rates)
        return self.model

    def _masks(self, name: str, module: MaskedModule, sites: dict[str, MaskSite]) -> Mapping[str, Tensor] | None:
        rates = self.rates()
        if module.binding is not None:
            if not isinstance(module, Recurrent):
                return None  # its one rate was written into the layer, which draws for itself
            binding = module.binding
            return {
                key: drawn(binding, key, site, replace(site.placement, rate=rates[_qualified(name, key)].item()))
                for key, site in sites.items()
            }
        if not self.training:
            return None
        return {key: relaxed_mask(rates[_qualified(name, key)], site, self.temperature) for key, site in sites.items()}

    def _write(self, rates: dict[str, float]) -> None:
        """Set the layers' own rates, what audit shows: the mean where layers of one stack differ."""
        for name, module in masked_modules(self.model).items():
            found: dict[str, list[float]] = {}
            for key, placement in module.placements().items():
                found.setdefault(placement.site, []).append(rates[_qualified(name, key)])
            means = {site: sum(values) / len(values) for site, values in found.items()}
            set_layer_rates(self.model, {name: means})


def learned_rates(model: nn.Module) -> dict[str, Tensor]:
    """Return the rates that every `ConcreteDropout` inside `model` has learned, by the qualified key of the mask.

    These are the rates at which `predict` draws, differentiable in what is learned. The layers' own, which
    `placements()` tells, are older: they are written in an evaluation, and are a mean where the layers of one stack
    differ.

    Args:
        model: Any torch module, itself a `ConcreteDropout` or holding some; without one nothing is returned.

    Example:
        >>> from bayesrnn.nn import GRU
        >>> sorted(learned_rates(nn.Sequential(ConcreteDropout(GRU(2, 4, dropout=0.1)))))
        ['0.model.hidden_l0', '0.model.input_l0']
    """
    names = {module: name for name, module in masked_modules(model).items()}
    found: dict[str, Tensor] = {}
    for wrapped in model.modules():
        if not isinstance(wrapped, ConcreteDropout):
            continue
        rates = wrapped.rates()
        for name, module in masked_modules(wrapped.model).items():
            for key in module.placements():
                found.setdefault(_qualified(names[module], key), rates[_qualified(name, key)])
    return found


def relaxed_mask(rate: Tensor, site: MaskSite, temperature: float) -> Tensor:
    """Draw a relaxed mask from torch's global state, for training; differentiable in the rate."""
    uniform = torch.rand(site.shape, dtype=site.dtype, device=site.device)
    edge = torch.finfo(site.dtype).eps
    fallen = torch.sigmoid((torch.logit(rate) + torch.logit(uniform, eps=edge)) / temperature)
    return (1.0 - fallen) / (1.0 - rate)


def _groups(model: nn.Module, share: Share) -> dict[str, tuple[str, float]]:
    """From the qualified key of each mask to the group whose rate it has, and the rate to start from."""
    found: dict[str, tuple[str, float]] = {}
    for name, module in masked_modules(model).items():
        for key, placement in module.placements().items():
            if placement.site not in _LEARNABLE:
                raise ValueError(
                    f"the rate of {_qualified(name, key)!r} cannot be learned: relaxed masks exist for the sites "
                    f"{list(_LEARNABLE)}, which multiply units."
                )
            qualified = _qualified(name, key)
            found[qualified] = (placement.site if share == "site" else qualified, placement.rate)
    if not found:
        raise ValueError(
            "no mask of this model is active, so there is no rate to learn. Build it with a rate to start from, "
            "such as dropout=schemes.gal(0.1)."
        )
    return found


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"ConcreteDropout wraps a torch module with layers of this library, but {model!r} "
            f"({type(model).__name__}) was given."
        )
    inner = next((name for name, part in model.named_modules() if isinstance(part, ConcreteDropout)), None)
    if inner is not None:
        raise ValueError(
            f"the rates of {f'{inner!r} in this model' if inner else 'this model'} are being learned already, by a "
            "ConcreteDropout: a mask has one rate. Wrap once, around the whole model."
        )


def _check_temperature(temperature: float) -> float:
    number = as_number(temperature)
    if number is None:
        raise TypeError(
            f"temperature must be a positive number, but {temperature!r} ({type(temperature).__name__}) was given. "
            "0.1 is the usual one."
        )
    if not (math.isfinite(number) and number > 0.0):
        raise ValueError(
            f"temperature must be positive and finite, but {temperature!r} was given. 0.1 is the usual one; 0 has no "
            "gradient, and at an infinite one every mask is the same and tells nothing of the rate."
        )
    return float(number)


def _qualified(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _escaped(group: str) -> str:
    return group.replace(".", "/")  # a ParameterDict takes no dots
