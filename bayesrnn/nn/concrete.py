"""Dropout rates that are learned: the relaxed masks of concrete dropout for the layers of this library."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from bayesrnn._checks import check_choice, check_number
from bayesrnn.masks import MaskSite
from bayesrnn.nn.masked import masked_modules, qualified, sourced
from bayesrnn.schemes import Site

Share = Literal["layer", "site"]
_LEARNABLE: tuple[Site, ...] = ("word", "input", "between", "hidden", "output", "candidate", "cell")
_EDGE = 1e-6


class ConcreteDropout(nn.Module):
    r"""Learn the rates of a model's masks together with its weights.

    In train mode every mask is relaxed, $z = (1 - \sigma((\mathrm{logit}\,p + \mathrm{logit}\,u)/t)) / (1-p)$ with u
    uniform, so that p gets a gradient. In eval mode there are no masks, and `predict` draws masks of exactly 0 or
    1/(1-p) at the learned rates. The loss needs the KL with its entropy, or the rates fall to 0:

        loss = nll + objective.model_kl(wrapped.model, length_scale, rates=wrapped.rates()) / size

    As the data grow, the rates fall: what dropout expresses is uncertainty about the weights.

    Source: Gal, Hron & Kendall (2017), Concrete Dropout, arXiv:1705.07832, sections 3 and 4.

    Args:
        model: A module with layers of this library and rates above 0, which are the starting point.
        temperature: t; lower is closer to 0/1 masks and noisier in the gradient.
        share: `layer` for one rate per mask and layer, `site` for one rate per site (all hidden masks, ...).

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
        self.model, self.share = model, share
        fix = " 0.1 is the usual one; 0 has no gradient, and at an infinite one masks tell nothing of the rate."
        self.temperature = check_number(temperature, "temperature", "positive and finite", 0.0, above=True, fix=fix)
        self._groups = _groups(model, share)
        starts = dict(self._groups.values())
        self.logits = nn.ParameterDict(
            {_escaped(group): torch.logit(torch.tensor(rate)) for group, rate in starts.items()}
        )
        self._attach()

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Run the model; in train mode with relaxed masks, under `predict` with masks at the learned rates."""
        if not self.training:
            return self.model(*inputs, **options)
        self._attach()
        with sourced(self.model, Relaxed(self.temperature)):
            return self.model(*inputs, **options)

    def rates(self) -> dict[str, Tensor]:
        """Return the current rate of every mask, by its qualified key in the wrapped model; differentiable."""
        return {key: self.rate(key) for key in self._groups}

    def rate(self, key: str) -> Tensor:
        """Return the current rate of one mask."""
        return torch.sigmoid(self.logits[_escaped(self._groups[key][0])]).clamp(_EDGE, 1.0 - _EDGE)

    def settle(self) -> nn.Module:
        """Fix the layers' rates at what was learned and return the model, which is then an ordinary one."""
        for module in masked_modules(self.model).values():
            module.set_rates({key: place.rate for key, place in module.placements().items()})
        return self.model

    def _attach(self) -> None:
        """Let the layers ask this module for their rates."""
        for name, module in masked_modules(self.model).items():
            module.rates = _Learned(self, name, tuple(module.declared()))


@dataclass(frozen=True, eq=False)
class _Learned(Mapping[str, Tensor]):
    """The learned rates of one layer at this moment, by mask key."""

    owner: ConcreteDropout
    layer: str
    keys_: tuple[str, ...]

    def __getitem__(self, key: str) -> Tensor:
        if key not in self.keys_:
            raise KeyError(key)
        return self.owner.rate(qualified(self.layer, key))

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys_)

    def __len__(self) -> int:
        return len(self.keys_)

    def __contains__(self, key: object) -> bool:
        return key in self.keys_


@dataclass(frozen=True)
class Relaxed:
    """Relaxed masks from torch's global state, for training: differentiable in a rate that is a tensor."""

    temperature: float

    @property
    def rows(self) -> None:
        """None: any number of rows will do."""

    def at(self, name: str) -> "Relaxed":
        """Return the same source."""
        return self

    def later(self, steps: int) -> "Relaxed":
        """Return the same source: every call draws anew."""
        return self

    def mask(self, key: str, site: MaskSite) -> Tensor:
        """Return the mask of one site; see `MaskSource.mask`."""
        rate = torch.as_tensor(site.rate, device=site.device)
        uniform = torch.rand(site.shape, dtype=site.dtype, device=site.device)
        edge = torch.finfo(site.dtype).eps
        fallen = torch.sigmoid((torch.logit(rate) + torch.logit(uniform, eps=edge)) / self.temperature)
        return site.of_tokens((1.0 - fallen) / (1.0 - rate))


def learned_rates(model: nn.Module) -> dict[str, Tensor]:
    """Return the rates that layers inside `model` are learning, by the qualified key of the mask; differentiable.

    Args:
        model: Any torch module; without a `ConcreteDropout` nothing is returned.

    Example:
        >>> from bayesrnn.nn import GRU
        >>> sorted(learned_rates(nn.Sequential(ConcreteDropout(GRU(2, 4, dropout=0.1)))))
        ['0.model.hidden_l0', '0.model.input_l0']
    """
    return {
        qualified(name, key): rate
        for name, module in masked_modules(model).items()
        for key, rate in module.rates.items()
        if isinstance(rate, Tensor)
    }


def _groups(model: nn.Module, share: Share) -> dict[str, tuple[str, float]]:
    """From the qualified key of each mask to the group whose rate it has, and the rate to start from."""
    groups: dict[str, tuple[str, float]] = {}
    for name, module in masked_modules(model).items():
        for key, placement in module.placements().items():
            if placement.site not in _LEARNABLE:
                raise ValueError(
                    f"the rate of {qualified(name, key)!r} cannot be learned: relaxed masks exist for the sites "
                    f"{list(_LEARNABLE)}, which multiply units."
                )
            mask = qualified(name, key)
            groups[mask] = (placement.site if share == "site" else mask, placement.rate)
    if not groups:
        raise ValueError(
            "no mask of this model is active, so there is no rate to learn. Build it with a rate to start from, "
            "such as dropout=schemes.gal(0.1)."
        )
    return groups


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


def _escaped(group: str) -> str:
    return group.replace(".", "/")  # a ParameterDict takes no dots
