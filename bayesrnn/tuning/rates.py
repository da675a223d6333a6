"""Choose dropout rates by the validation likelihood of Monte Carlo predictions."""

import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bayesrnn._checks import as_number, as_values, check_finite, check_lengths
from bayesrnn.inference._audit import audit
from bayesrnn.inference._predict import check_arguments, predict
from bayesrnn.nn.sequences import before_padding
from bayesrnn.predictive import Predictive
from bayesrnn.predictive.distributions.empirical import PointDistribution
from bayesrnn.schemes import Scheme
from bayesrnn.tuning.trials import RateSearch, mean_loss, trial_of


def rate_grid(make: Callable[..., Scheme], **rates: float | str | Sequence[float | str]) -> list[Scheme]:
    """Return a scheme for every combination of the rates given per site.

    Args:
        make: Such as `schemes.gal`.
        **rates: Of each site a rate or several (a list, an array); other arguments of `make`, one or several, too.

    Example:
        >>> from bayesrnn import schemes
        >>> [str(s) for s in rate_grid(schemes.zaremba, input=[0.1, 0.2], output=0.5)]
        ['zaremba(input=0.1, output=0.5)', 'zaremba(input=0.2, output=0.5)']
    """
    lists = [_several(rate) for rate in rates.values()]
    return [make(**dict(zip(rates, chosen, strict=True))) for chosen in itertools.product(*lists)]


def rate_search(
    fit: Callable[[Scheme], nn.Module],
    schemes: Iterable[Scheme],
    *inputs: Any,
    target: Tensor,
    likelihood: Callable[[Any], Any] | None = None,
    draws: int = 100,
    seed: int = 0,
    **options: Any,
) -> RateSearch:
    r"""Train a model for every scheme and keep the one whose predictive explains validation targets best.

    The score is $-\frac1N\sum_i \log \frac1S\sum_s p(y_i \mid x_i, z_s)$: the mixture over draws, which is what will
    be used, not the deterministic pass. A scheme without any rate above 0 is judged by its deterministic pass, on the
    same inputs and options. Of equal trials the first is the best.

    Args:
        fit: Builds and trains a model with a scheme, on the training rows.
        schemes: What to try, such as ``rate_grid(schemes.gal, hidden=[0.1, 0.3], input=0.2)``.
        *inputs: Of the model, validation rows, as for `predict`: tensors, or one DataLoader of them.
        target: Of the validation rows, shape of the prediction, (rows, ...).
        likelihood: From the model's output to a torch Distribution; needless if the model returns one.
        draws: How many draws.
        seed: Of the draws, the same for every scheme.
        **options: Further arguments of `predict`. Where `lengths` are given and the target has the steps of the input,
            targets beyond a row's length are padding and do not count.

    Raises:
        ValueError: If there is no scheme, an argument of `predict` is not legal, a target is NaN, or a predictive gives
            the validation targets no density at all.
        TypeError: If `schemes` is not a list of schemes, `fit` returns no module, or what the model returns is no
            distribution.

    Example:
        >>> from bayesrnn import likelihoods, nn as layers, schemes
        >>> def untrained(scheme):
        ...     return torch.nn.Sequential(layers.Dropout(scheme.rate("output")), torch.nn.Linear(2, 2))
        >>> tried = [schemes.gal(output=p) for p in (0.1, 0.5)]
        >>> search = rate_search(
        ...     untrained, tried, torch.ones(3, 2), target=torch.zeros(3), likelihood=likelihoods.gaussian, draws=16
        ... )
        >>> len(search.trials)
        2
    """
    tried = _checked_schemes(schemes)
    given = _checked_options(draws, seed, options)
    target = check_finite(as_values(target, "target"), "target")
    counted = _counted(target, inputs, given)
    losses: list[Tensor] = []
    best: nn.Module | None = None
    lowest = math.inf
    for scheme in tried:
        model = fit(scheme)
        if not isinstance(model, nn.Module):
            raise TypeError(f"fit must return the trained module, but it returned a {type(model).__name__}.")
        predictive = _predictive(model, inputs, likelihood, draws, seed, given)
        loss = -predictive.log_prob(target).double().cpu().reshape(counted.shape)
        loss = torch.where(counted, loss, 0.0)
        nll = mean_loss(loss, counted)
        if not math.isfinite(nll):
            raise ValueError(
                f"under {scheme} some validation targets have no density (mean nll {nll}). Give the "
                "likelihood noise, or look for targets outside its support."
            )
        losses.append(loss)
        if nll < lowest:  # the first of equals, as RateSearch.best
            best, lowest = model, nll
    if best is None:  # every nll is finite, so the first is below infinity
        raise RuntimeError("no model was kept.")
    first = min(losses, key=lambda loss: mean_loss(loss, counted))
    return RateSearch(tuple(trial_of(s, loss, first, counted) for s, loss in zip(tried, losses, strict=True)), best)


def _several(rate: Any) -> list[Any]:
    if isinstance(rate, str) or as_number(rate) is not None:
        return [rate]
    return rate.reshape(-1).tolist() if isinstance(rate, Tensor) else list(rate)


def _checked_schemes(schemes: Iterable[Scheme]) -> list[Scheme]:
    if isinstance(schemes, Scheme) or not isinstance(schemes, Iterable):
        raise TypeError(
            f"schemes must be a list of schemes to try, but {schemes!r} ({type(schemes).__name__}) was given. Pass "
            "[scheme], or rate_grid(schemes.gal, hidden=[0.1, 0.3])."
        )
    tried = list(schemes)
    if not tried:
        raise ValueError("there is no scheme to try: pass some, for example rate_grid(schemes.gal, hidden=[0.1, 0.3]).")
    other = [scheme for scheme in tried if not isinstance(scheme, Scheme)]
    if other:
        raise TypeError(
            f"schemes must hold schemes, but {other[0]!r} ({type(other[0]).__name__}) is none. For a rate p pass "
            "schemes.gal(p)."
        )
    return tried


def _checked_options(draws: int, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """Refuse before the first training what `predict` would refuse after it, also where no mask is drawn."""
    legal = [name for name, p in inspect.signature(predict).parameters.items() if p.kind is p.KEYWORD_ONLY]
    unknown = sorted(set(options) - set(legal))
    if unknown:
        raise TypeError(f"{unknown} are no arguments of predict; those are {legal}.")
    check_arguments(
        draws, seed, options.get("sharing", "sequence"), options.get("tolerance"), options.get("batch_dim", 0)
    )
    # an iterator would be empty after the first scheme
    return {name: list(value) if isinstance(value, Iterator) else value for name, value in options.items()}


def _counted(target: Tensor, inputs: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
    """Return which targets count, (rows, targets of a row): all but padding."""
    rows, lengths = target.shape[0] if target.dim() else 1, options.get("lengths")
    counted = torch.ones(target.shape, dtype=torch.bool)
    if lengths is not None and target.dim() > 1:
        steps = _steps(inputs, options.get("batch_dim", 0))
        if target.shape[1] == steps:
            lengths = check_lengths(lengths, rows, steps)
            counted = before_padding(lengths, steps, target.dim(), lengths.device).expand(target.shape)
    return counted.reshape(rows, -1)


def _steps(inputs: tuple[Any, ...], batch_dim: int) -> int | None:
    """Return how many steps the first tensor of the inputs has, looking at the first batch of a loader."""
    given: Any = inputs
    if len(inputs) == 1 and isinstance(inputs[0], DataLoader):
        with torch.random.fork_rng(devices=[]):  # a loader's iterator draws a seed
            given = next(iter(inputs[0]), ())
    given = given if isinstance(given, tuple | list) else (given,)
    first = next((x for x in given if isinstance(x, Tensor) and x.dim() > 1), None)
    return None if first is None else first.shape[0 if batch_dim else 1]


def _predictive(
    model: nn.Module, inputs: tuple[Any, ...], likelihood: Any, draws: int, seed: int, options: dict[str, Any]
) -> Any:
    draws = draws if audit(model).active else 0
    predictive = predict(model, *inputs, draws=draws, seed=seed, likelihood=likelihood, **options)
    distribution = getattr(predictive, "distribution", None)
    if not isinstance(predictive, Predictive) or isinstance(distribution, PointDistribution):
        raise TypeError(
            "the targets need one distribution: pass likelihood=, from the model's output to a torch Distribution, "
            "or let the model return one."
        )
    return predictive
