"""Parameter groups for an optimizer, each with the weight decay that its own rate implies."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from bayesrnn.objective.conversions import Loss, weight_decay
from bayesrnn.objective.terms import WeightTerm, weight_terms

__all__ = ["parameter_groups"]


def parameter_groups(
    model: nn.Module,
    *,
    prior_length_scale: float,
    size: float,
    precision: float = 1.0,
    loss: Loss = "squared_error",
    behind: Mapping[str, str | None] | None = None,
) -> list[dict[str, Any]]:
    r"""Return optimizer groups, one a rate, whose coupled weight decay makes the loss the negative ELBO.

    A weight behind a mask of rate p gets $2 l^2 / (N \tau (1-p))$ for squared errors (masks of this library are
    inverted), a bias or a weight without a mask that of p = 0; see `weight_decay`.

    Args:
        model: Any module with layers of this library inside.
        prior_length_scale: $l$, common to all weights.
        size: N, what the loss is a mean over.
        precision: $\tau$, in units of the training target; not used by `loss="nll"`.
        loss: What the loss averages.
        behind: See `weight_terms`.

    Returns:
        Groups with `params`, `weight_decay`, and `names` of the parameters.

    Raises:
        ValueError: As `weight_decay` and `weight_terms` do.

    Example:
        >>> import torch, bayesrnn.nn
        >>> net = torch.nn.ModuleDict({"rnn": bayesrnn.nn.GRU(2, 3, dropout=0.5)})
        >>> groups = parameter_groups(net, prior_length_scale=0.1, size=100)
        >>> [(len(g["params"]), round(g["weight_decay"], 6)) for g in groups]
        [(2, 0.0002), (2, 0.0004)]
        >>> optimizer = torch.optim.Adam(groups, lr=1e-3)
    """
    by_rate: dict[float, list[WeightTerm]] = {}
    for term in weight_terms(model, behind):
        by_rate.setdefault(term.rate, []).append(term)
    return [
        {
            "params": [term.parameter for term in terms],
            "weight_decay": weight_decay(prior_length_scale, rate, size, precision, loss=loss),
            "names": [term.name for term in terms],
        }
        for rate, terms in sorted(by_rate.items())
    ]
