"""From a model with masks to a Pyro program."""

from collections.abc import Callable
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from bayesrnn.nn.masked import sourced
from bayesrnn.nn.sequences import before_padding, padding
from bayesrnn.pyro.distributions import as_pyro
from bayesrnn.pyro.sites import Once, check_active, sampled


class Lifted:
    """A model whose masks are Pyro sample sites named like ``lstm.hidden_l0``; made by `lift`."""

    def __init__(
        self, model: nn.Module, likelihood: Callable[[Any], Any] | None, learn: bool, name: str, observed: str
    ) -> None:
        self.model, self.likelihood, self.learn = model, likelihood, learn
        self.name, self.observed = name, observed

    def __call__(self, *inputs: Any, target: Tensor | None = None, **options: Any) -> Any:
        """Run the model with a Pyro sample statement for every mask, and observe `target`.

        The distribution of the target is the likelihood of the output, or the output itself if that is a Distribution.
        Where the model is given `lengths` and its distribution has one target per step, steps beyond them are padding
        and do not count.

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
        with sourced(self.model, Once(sampled)):
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
        with sourced(self.model, Once(sampled)), torch.no_grad():
            self.model(*inputs, **options)

    def _distribution(self, output: Any, needed: bool) -> Any:
        """The distribution of the target, None where nothing says it."""
        if self.likelihood is not None:
            distribution = self.likelihood(output)
            if not isinstance(distribution, Distribution):
                raise TypeError(
                    f"the likelihood must return a torch Distribution, but it returned a {type(distribution).__name__}."
                    " bayesrnn.likelihoods has some; lambda output: Normal(output, 1.0) is one."
                )
            return as_pyro(distribution)
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
            stored = store._params.get(f"{self.name}$$${key}")  # the unconstrained tensor itself, not a copy
            if stored is not None and stored.data_ptr() != parameter.data_ptr():
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

    A pass takes one mask per row: call `pyro.infer.Predictive` with `parallel=False` and `Trace_ELBO` with
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
    check_active(model)
    return Lifted(model, likelihood, learn, name, observed)


def _check_target(value: Tensor, name: str, distribution: Any) -> None:
    """Refuse a target that broadcasts: its log-probability would be a sum over all pairs of rows."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, but a {type(value).__name__} was given. Use torch.as_tensor.")
    shape = tuple(distribution.batch_shape + distribution.event_shape)
    actual = tuple(value.shape)
    if actual == shape:
        return
    fixes = {(*shape, 1): f"{name}.squeeze(-1)", shape[:-1]: f"{name}.unsqueeze(-1)"}
    fix = fixes.get(actual, f"{name} with one value for each of these, in this order")
    raise ValueError(
        f"{name} must have the shape {shape} of its distribution, but {actual} was given, which would be broadcast so "
        f"that every row is judged by other rows' values too. Give {fix}."
    )
