"""Choose dropout rates by the validation likelihood of Monte Carlo predictions."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from bayesrnn.inference import audit, predict
from bayesrnn.inference.guard import undisturbed
from bayesrnn.predictive import Predictive
from bayesrnn.schemes import Scheme

__all__ = ["RateSearch", "Trial", "rate_grid", "rate_search"]


@dataclass(frozen=True)
class Trial:
    """One scheme, trained and judged.

    Attributes:
        scheme: What was dropped.
        nll: Mean negative log predictive density of the validation targets, nats.
        standard_error: Of that mean, from the spread between rows.
        behind: How much worse than the best trial, nats.
        behind_error: Standard error of that difference, paired by row.
    """

    scheme: Scheme
    nll: float
    standard_error: float
    behind: float = 0.0
    behind_error: float = 0.0


@dataclass(frozen=True)
class RateSearch:
    """The answer of `rate_search`.

    Attributes:
        trials: One a scheme, in the order given.
        model: The trained model of the best trial.
    """

    trials: tuple[Trial, ...]
    model: nn.Module

    @property
    def best(self) -> Trial:
        """The trial of lowest validation nll."""
        return min(self.trials, key=lambda trial: trial.nll)

    @property
    def scheme(self) -> Scheme:
        """The scheme of the best trial."""
        return self.best.scheme

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a line a trial, best first."""
        import pandas as pd

        rows = [
            {p.site: p.rate for p in trial.scheme.placements}
            | {k: v for k, v in trial.__dict__.items() if k != "scheme"}
            | {"scheme": trial.scheme.name}
            for trial in sorted(self.trials, key=lambda trial: trial.nll)
        ]
        return pd.DataFrame(rows)


def rate_grid(make: Callable[..., Scheme], **rates: float | Sequence[float]) -> list[Scheme]:
    """Return a scheme for every combination of the rates given per site.

    Example:
        >>> from bayesrnn import schemes
        >>> [str(s) for s in rate_grid(schemes.zaremba, input=[0.1, 0.2], output=0.5)]
        ['zaremba(input=0.1, output=0.5)', 'zaremba(input=0.2, output=0.5)']
    """
    lists = [[rate] if isinstance(rate, int | float) else list(rate) for rate in rates.values()]
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
    be used, not the deterministic pass. A scheme without any rate above 0 is judged by its deterministic pass.

    Args:
        fit: Builds and trains a model with a scheme, on the training rows.
        schemes: What to try, such as ``rate_grid(schemes.gal, hidden=[0.1, 0.3], input=0.2)``.
        *inputs: Of the model, validation rows.
        target: Of the validation rows.
        likelihood: From the model's output to a torch Distribution; needless if the model returns one.
        draws: How many draws.
        seed: Of the draws, the same for every scheme.
        **options: Further arguments of `predict`.

    Raises:
        ValueError: If there is no scheme, or a predictive gives the validation targets no density at all.
        TypeError: If `fit` returns no module.

    Example:
        >>> from bayesrnn import likelihoods, nn as layers, schemes
        >>> def untrained(scheme):
        ...     return torch.nn.Sequential(layers.Dropout(scheme.rate("output")), torch.nn.Linear(2, 2))
        >>> tried = [schemes.gal(output=p) for p in (0.1, 0.5)]
        >>> found = rate_search(
        ...     untrained, tried, torch.ones(3, 2), target=torch.zeros(3), likelihood=likelihoods.gaussian, draws=16
        ... )
        >>> len(found.trials)
        2
    """
    tried = list(schemes)
    if not tried:
        raise ValueError("there is no scheme to try: pass some, for example rate_grid(schemes.gal, hidden=[0.1, 0.3]).")
    losses: list[Tensor] = []
    best: nn.Module | None = None
    for scheme in tried:
        model = fit(scheme)
        if not isinstance(model, nn.Module):
            raise TypeError(f"fit must return the trained module, but it returned a {type(model).__name__}.")
        loss = -_predictive(model, inputs, likelihood, draws, seed, options).log_prob(target).double().flatten()
        if not bool(torch.isfinite(loss.mean())):
            raise ValueError(
                f"under {scheme} some validation targets have no density (mean nll {float(loss.mean())}). Give the "
                "likelihood noise, or look for targets outside its support."
            )
        losses.append(loss)
        if best is None or loss.mean() <= torch.stack(losses).mean(1).min():
            best = model
    if best is None:  # the first model is always the best so far
        raise RuntimeError("no model was kept.")
    lowest = losses[int(torch.stack(losses).mean(1).argmin())]
    return RateSearch(tuple(_trial(s, loss, lowest) for s, loss in zip(tried, losses, strict=True)), best)


def _trial(scheme: Scheme, loss: Tensor, lowest: Tensor) -> Trial:
    gap = loss - lowest
    return Trial(scheme, float(loss.mean()), _error(loss), float(gap.mean()), _error(gap))


def _error(values: Tensor) -> float:
    return float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def _predictive(
    model: nn.Module, inputs: tuple[Any, ...], likelihood: Any, draws: int, seed: int, options: dict[str, Any]
) -> Any:
    if audit(model).active:
        return predict(model, *inputs, draws=draws, seed=seed, likelihood=likelihood, **options)
    with undisturbed(model):
        output = model(*inputs)
    law = output if likelihood is None else likelihood(output)
    if not isinstance(law, Distribution):
        raise TypeError(
            "pass likelihood=, from the model's output to a torch Distribution, or let the model return one."
        )
    return Predictive.from_draws(law.expand((1, *law.batch_shape)), sampling="deterministic")
