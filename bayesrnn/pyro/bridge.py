"""From a model with masks to a Pyro program, and from a prediction's masks to values for `pyro.condition`."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor, nn
from torch.distributions import Distribution

from bayesrnn._checks import check_ids, check_seed, check_whole
from bayesrnn.masks import Binding, MaskSite, stream
from bayesrnn.nn.masked import masked_modules, sourced
from bayesrnn.nn.sequences import before_padding, padding
from bayesrnn.pyro.distributions import Mask, as_pyro

__all__ = ["Lifted", "lift", "masks_of"]


class Lifted:
    """A model whose masks are Pyro sample sites named like ``lstm.hidden_l0``; made by `lift`."""

    def __init__(
        self, model: nn.Module, likelihood: Callable[[Any], Any] | None, learn: bool, name: str, observed: str
    ) -> None:
        self.model, self.likelihood, self.learn = model, likelihood, learn
        self.name, self.observed = name, observed

    def __call__(self, *inputs: Any, target: Tensor | None = None, **options: Any) -> Any:
        """Run the model, a Pyro sample statement for every mask; observe `target` under its distribution.

        The distribution is the likelihood of the output, or the output itself where that is a Distribution. Where the
        model is given `lengths` and its distribution has one target a step, steps beyond them are padding and count
        for nothing.

        Args:
            *inputs: Of the model.
            target: Observed values, shape of the distribution (batch shape, then event shape); without them the site
                is sampled.
            **options: Of the model.

        Returns:
            The model's output.

        Raises:
            TypeError: If the target is no tensor, or the likelihood returns no Distribution.
            ValueError: If the target has another shape than its distribution, there is a target but no distribution of
                it, a mask has another shape than its layer needs, or a layer is called again with masks of another
                shape.
        """
        if self.learn:
            self._register()
        with sourced(self.model, _Once(_sample)):
            output = self.model(*inputs, **options)
        distribution = self._distribution(output, target is not None)
        if distribution is not None:
            if target is not None:
                _check_target(target, "target", distribution)
            counted = self._counted(distribution, inputs, options)
            value = pyro.sample(self.observed, counted.to_event(len(distribution.batch_shape)), obs=target)
            _check_target(value, self.observed, distribution)  # pyro.condition may have put another value there
        return output

    def guide(self, *inputs: Any, target: Tensor | None = None, **options: Any) -> None:
        """Sample the masks from the same distributions: the variational posterior of dropout, for `pyro.infer.SVI`."""
        with sourced(self.model, _Once(_sample)), torch.no_grad():
            self.model(*inputs, **options)

    def _distribution(self, output: Any, needed: bool) -> Any:
        """The distribution of the target, None where nothing says it."""
        if self.likelihood is not None:
            made = self.likelihood(output)
            if not isinstance(made, Distribution):
                raise TypeError(
                    f"the likelihood must return a torch Distribution, but it returned a {type(made).__name__}. "
                    "bayesrnn.likelihoods has some; a function such as lambda output: Normal(output, 1.0) is one."
                )
            return as_pyro(made)
        if isinstance(output, Distribution):
            return as_pyro(output)
        if needed:
            raise ValueError(
                "a target needs a likelihood, because the model returned no Distribution but a "
                f"{type(output).__name__}. Pass lift(model, likelihood=...) a function from the model's output to one: "
                "likelihoods.gaussian where the last dimension is mean and log variance, lambda output: output[0] "
                "where a tuple holds a Distribution."
            )
        return None

    def _counted(self, distribution: Any, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """The distribution with the log probability of padded steps left out."""
        like = torch.empty(distribution.batch_shape, device="meta")
        lengths, steps = padding(self.model, inputs, options, like)
        if lengths is None or steps is None:
            return distribution
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        return distribution.mask(before_padding(lengths, steps, like.dim(), device).expand(distribution.batch_shape))

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
    value is the mask itself, 0 or 1/(1-p), so that masks can be passed to `pyro.condition` as they are. A layer that
    is called several times in one pass has one site and uses its mask each time, as under `predict`. For `SVI` use
    the result as the model, its `guide` as the guide, and `learn=True`. Inside a `ConcreteDropout` p is the learned
    rate; SVI does not train it further, because these masks have no gradient in it.

    A pass takes one mask a row: call `pyro.infer.Predictive` with `parallel=False` and `Trace_ELBO` with
    `vectorize_particles=False`, which are their defaults.

    Args:
        model: A module with layers of `bayesrnn.nn`.
        likelihood: From the model's output to a torch Distribution of the target; needless if the model returns one.
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

    Modes, buffers and torch's random state are left as they were. Inside a `ConcreteDropout` masks are drawn at the
    learned rates.

    Args:
        model: A module with layers of `bayesrnn.nn`.
        *inputs: Of the model; they say how many rows and steps there are.
        seed: As given to `predict`.
        draw: Number of the draw.
        sampling: As given to `predict`.
        sequence_ids: As given to `predict`, one a row; 0, 1, 2, ... if not given.
        **options: Of the model.

    Raises:
        ValueError: If no mask of the model is active, or a layer is called again with masks of another shape.
    """
    _check(model)
    check_whole(draw, "draw", 0)
    source = stream(sampling, check_seed(seed))
    ids = None if sequence_ids is None else torch.as_tensor(list(sequence_ids))
    masks: dict[str, Tensor] = {}

    def drawn(layer: str, key: str, site: MaskSite) -> Tensor:
        rows, weight = site.shape[2], site.placement.site == "weight"  # a weight mask belongs to no row
        sequences = torch.arange(rows) if ids is None or weight else check_ids(ids, rows)
        binding = Binding(source, torch.tensor([draw], device=site.device), sequences.to(site.device), name=layer)
        mask = binding.mask(key, site)
        assert mask is not None  # noqa: S101 (only where words are not masked)
        return site.public(mask)

    with _undisturbed(model), sourced(model, _Once(drawn, masks)), torch.no_grad():
        model(*inputs, **options)
    return masks


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluate in eval mode and put modes and the random state back."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        for module, training in modes:
            module.training = training


@dataclass(frozen=True)
class _Once:
    """A source that makes a mask at the first call of a layer, and uses it at the later calls of a pass.

    Attributes:
        make: From layer, key and site to the mask, in its public shape.
        masks: The masks made so far, by qualified key.
        shapes: The shapes they were made in.
        layer: The layer.
    """

    make: Callable[[str, str, MaskSite], Tensor]
    masks: dict[str, Tensor] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    layer: str = ""

    @property
    def rows(self) -> None:
        """None: any number of rows will do."""

    def at(self, name: str) -> "_Once":
        """Return the same source for the layer of that qualified name."""
        return replace(self, layer=name)

    def mask(self, key: str, site: MaskSite) -> Tensor:
        """Return the mask of one site; see `MaskSource.mask`."""
        name, shape = _name(self.layer, key), site.public_shape
        if self.shapes.setdefault(name, shape) != shape:
            raise ValueError(
                f"{self.layer or 'the model'!r} is called several times in one pass, first with masks {name!r} of "
                f"shape {self.shapes[name]} and then of shape {shape}; one sample site has one value. Call it with the "
                "same rows and steps each time, or give each call a layer of its own."
            )
        if name not in self.masks:
            self.masks[name] = self.make(self.layer, key, site.every_word())
        return site.internal(self.masks[name])


def _sample(layer: str, key: str, site: MaskSite) -> Tensor:
    """Sample a mask in Pyro."""
    name = _name(layer, key)
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
    keeps_old_value = site.placement.site in ("keep_cell", "keep_hidden")
    distribution = dist.Bernoulli(rates) if keeps_old_value else Mask(rates)
    return distribution.to_event(len(site.public_shape))


def _check_target(value: Tensor, name: str, distribution: Any) -> None:
    """Refuse a target that broadcasts: its log-probability would be a sum over all pairs of rows."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, but a {type(value).__name__} was given. Use torch.as_tensor.")
    shape = tuple(distribution.batch_shape + distribution.event_shape)
    given = tuple(value.shape)
    if given == shape:
        return
    fixes = {(*shape, 1): f"{name}.squeeze(-1)", shape[:-1]: f"{name}.unsqueeze(-1)"}
    fix = fixes.get(given, f"{name} with one value for each of these, in this order")
    raise ValueError(
        f"{name} must have the shape {shape} of its distribution, but {given} was given, which would be broadcast so "
        f"that every row is judged by other rows' values too. Give {fix}."
    )


def _name(layer: str, key: str) -> str:
    return f"{layer}.{key}" if layer else key


def _check(model: nn.Module) -> None:
    if not masked_modules(model):
        raise ValueError(
            "no mask of this model is active, so there is nothing to sample. Build it with layers of bayesrnn.nn and a "
            "rate above 0, or turn torch's layers into ours with bayesrnn.convert(model, dropout=0.25)."
        )
