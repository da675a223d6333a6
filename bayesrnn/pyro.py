"""A model's masks as Pyro sample sites, so that trace, condition, Predictive and SVI work on them."""

from collections.abc import Callable, Iterable
from typing import Any

import pyro
import torch
from pyro import distributions as dist
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from bayesrnn._checks import check_seed, check_whole
from bayesrnn.masks import Binding, stream
from bayesrnn.nn.injection import MaskSite, drawn, injected
from bayesrnn.nn.masked import MaskedModule, masked_modules

__all__ = ["Lifted", "Mask", "lift", "masks_of"]


class _MaskSupport(constraints.Constraint):
    is_discrete = True

    def __init__(self, kept: Tensor) -> None:
        super().__init__()
        self.kept = kept

    def check(self, value: Tensor) -> Tensor:
        return (value == 0) | torch.isclose(value, self.kept.to(value))


class Mask(TorchDistribution):
    r"""A mask value: 0 with probability p, else $1/(1-p)$.

    Args:
        rate: p, in [0, 1).

    Example:
        >>> Mask(torch.tensor(0.5)).log_prob(torch.tensor([0.0, 2.0]))
        tensor([-0.6931, -0.6931])
    """

    arg_constraints = {"rate": constraints.half_open_interval(0.0, 1.0)}  # noqa: RUF012 (torch's own protocol)
    has_enumerate_support = True

    def __init__(self, rate: Tensor, validate_args: bool | None = None) -> None:
        self.rate = rate
        super().__init__(rate.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        """0 and 1/(1-p)."""
        return _MaskSupport(1.0 / (1.0 - self.rate))

    @property
    def mean(self) -> Tensor:
        """1, at any rate."""
        return torch.ones_like(self.rate)

    @property
    def variance(self) -> Tensor:
        """Odds of the rate, p / (1-p)."""
        return self.rate / (1.0 - self.rate)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw masks, shape (*sample_shape, *batch_shape)."""
        keep = (1.0 - self.rate).expand(torch.Size(sample_shape) + self.batch_shape)
        return torch.bernoulli(keep) / keep

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p where the value is 0, else log(1-p)."""
        if self._validate_args:
            self._validate_sample(value)
        return torch.where(value == 0, self.rate.log(), torch.log1p(-self.rate))

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Mask":
        """Return the same law for a larger batch shape."""
        return Mask(self.rate.expand(torch.Size(batch_shape)), validate_args=False)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return both values, along a new first dimension."""
        kept = 1.0 / (1.0 - self.rate)
        values = torch.stack([torch.zeros_like(kept), kept])
        return values if expand else values[(...,) + (slice(0, 1),) * len(self.batch_shape)]


class Lifted:
    """A model whose masks are Pyro sample sites named like ``lstm.hidden_l0``; made by `lift`."""

    def __init__(
        self, model: nn.Module, likelihood: Callable[[Any], Any] | None, learn: bool, name: str, observed: str
    ) -> None:
        self.model, self.likelihood, self.learn = model, likelihood, learn
        self.name, self.observed = name, observed

    def __call__(self, *inputs: Any, target: Tensor | None = None, **options: Any) -> Any:
        """Run the model, a Pyro sample statement for every mask; observe `target` under the likelihood.

        Args:
            *inputs: Of the model.
            target: Observed values; without them the site is sampled.
            **options: Of the model.

        Returns:
            The model's output.
        """
        if self.learn:
            self._register()
        with injected(self.model, _sampled):
            output = self.model(*inputs, **options)
        if self.likelihood is None:
            if target is not None:
                raise ValueError("a target needs a likelihood: lift(model, likelihood=likelihoods.gaussian).")
            return output
        law = _as_pyro(self.likelihood(output))
        pyro.sample(self.observed, law.to_event(len(law.batch_shape)), obs=target)
        return output

    def guide(self, *inputs: Any, target: Tensor | None = None, **options: Any) -> None:
        """Sample the masks from the same laws: the variational posterior of dropout, for `pyro.infer.SVI`."""
        with injected(self.model, _sampled), torch.no_grad():
            self.model(*inputs, **options)

    def _register(self) -> None:
        pyro.module(self.name, self.model)
        store = pyro.get_param_store()
        for key, parameter in self.model.named_parameters():
            held = store._params.get(f"{self.name}$$${key}")  # the unconstrained tensor itself, not a copy
            if held is not None and held.data_ptr() != parameter.data_ptr():
                raise ValueError(
                    f"Pyro's parameter store already holds another {self.name}$$${key}, so this model would not be "
                    "trained. Call pyro.clear_param_store() first, or give this model its own name=."
                )


def lift(
    model: nn.Module,
    likelihood: Callable[[Any], Any] | None = None,
    *,
    learn: bool = False,
    name: str = "model",
    observed: str = "target",
) -> Lifted:
    """Turn every mask of a model into a Pyro sample site.

    A site is named by the layer's qualified name and the key of the mask (``lstm.hidden_l0``, ``words.word``) and its
    value is the mask itself, 0 or 1/(1-p), so that masks can be passed to `pyro.condition` as they are. For `SVI` use
    the result as the model, its `guide` as the guide, and `learn=True`.

    Args:
        model: A module with layers of `bayesrnn.nn`.
        likelihood: From the model's output to a torch Distribution of the target.
        learn: Whether to register the weights with Pyro's parameter store, so that SVI trains them.
        name: Under which the weights are registered.
        observed: Name of the target's site.

    Raises:
        ValueError: If no mask of the model is active.

    Example:
        >>> import bayesrnn.nn
        >>> lifted = lift(torch.nn.Sequential(bayesrnn.nn.GRU(2, 3, dropout=0.5)))
        >>> sorted(pyro.poutine.trace(lifted).get_trace(torch.zeros(4, 1, 2)).stochastic_nodes)
        ['0.hidden_l0', '0.input_l0']
    """
    _check(model)
    return Lifted(model, likelihood, learn, name, observed)


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

    Args:
        model: A module with layers of `bayesrnn.nn`.
        *inputs: Of the model; they say how many rows and steps there are.
        seed: As given to `predict`.
        draw: Number of the draw.
        sampling: As given to `predict`.
        sequence_ids: As given to `predict`; 0, 1, 2, ... if not given.
        **options: Of the model.

    Raises:
        ValueError: If no mask of the model is active.
    """
    _check(model)
    check_whole(draw, "draw", 0)
    source = stream(sampling, check_seed(seed))
    ids = None if sequence_ids is None else torch.as_tensor(list(sequence_ids))
    found: dict[str, Tensor] = {}

    def provide(layer: str, module: MaskedModule, sites: dict[str, MaskSite]) -> dict[str, Tensor]:
        masks = {}
        for key, site in sites.items():
            sequences = torch.arange(site.rows) if ids is None else ids
            binding = Binding(source, torch.tensor([draw], device=site.device), sequences.to(site.device), name=layer)
            masks[key] = drawn(binding, key, site)
            found[_name(layer, key)] = masks[key]
        return masks

    with injected(model, provide), torch.no_grad():
        model(*inputs, **options)
    return found


def _sampled(layer: str, module: MaskedModule, sites: dict[str, MaskSite]) -> dict[str, Tensor]:
    return {key: pyro.sample(_name(layer, key), _law(site)) for key, site in sites.items()}


def _law(site: MaskSite) -> Any:
    rate = torch.full(site.shape, site.placement.rate, dtype=site.dtype, device=site.device)
    keeps_old_value = site.placement.site in ("keep_cell", "keep_hidden")
    law = dist.Bernoulli(rate) if keeps_old_value else Mask(rate)
    return law.to_event(len(site.shape))


def _as_pyro(law: Any) -> Any:
    """Return a Pyro distribution for a torch one: the class of the same name and parameters."""
    if isinstance(law, TorchDistribution):
        return law
    kind = getattr(dist, type(law).__name__, None)
    if kind is None:
        raise ValueError(f"Pyro has no {type(law).__name__}; let the likelihood return one of pyro.distributions.")
    names = [n for n in law.arg_constraints if n in law.__dict__] or list(law.arg_constraints)
    return kind(**{n: getattr(law, n) for n in names})


def _name(layer: str, key: str) -> str:
    return f"{layer}.{key}" if layer else key


def _check(model: nn.Module) -> None:
    if not masked_modules(model):
        raise ValueError(
            "no mask of this model is active, so there is nothing to sample. Build it with layers of bayesrnn.nn and a "
            "rate above 0, or turn torch's layers into ours with bayesrnn.convert(model, dropout=0.25)."
        )
