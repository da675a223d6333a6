"""Parameter groups for an optimizer, each with the weight decay that its own rates imply."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from bayesrnn.objective.conversions import Loss, weight_decay
from bayesrnn.objective.terms import WeightTerm, rate_parameters, weight_terms

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
    r"""Return optimizer groups, one per rate, whose weight decay makes the training loss the negative ELBO.

    A weight behind a mask of rate p gets $2 l^2 / (N \tau (1-p))$ for squared errors (masks of this library are
    inverted), a bias or a weight without a mask the decay at p = 0; see `weight_decay`. A weight with several terms (a
    shared embedding behind a word and an output mask, see `weight_terms`) gets their sum, in a group of its own.

    The logits of a `ConcreteDropout` are rates and no weights: they come in a last group without decay. Decay stands
    for the quadratic part of the KL only, at the rates of this moment; where rates are learned the loss needs
    `model_kl` itself, with its entropy, and the optimizer no decay.

    Args:
        model: Any module with layers of this library inside.
        prior_length_scale: $l$, common to all weights.
        size: N, what the loss is a mean over.
        precision: $\tau$, in units of the training target; not used by `loss="nll"`.
        loss: What the loss averages.
        behind: See `weight_terms`.

    Returns:
        Groups with `params`, `weight_decay`, and `names` of the parameters; every trainable parameter is in one.

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
    by_name: dict[str, list[WeightTerm]] = {}
    for term in weight_terms(model, behind):
        by_name.setdefault(term.name, []).append(term)
    by_rates: dict[tuple[float, ...], list[WeightTerm]] = {}
    for terms in by_name.values():
        by_rates.setdefault(tuple(sorted(term.rate for term in terms)), []).append(terms[0])
    groups: list[dict[str, Any]] = [
        {
            "params": [term.parameter for term in terms],
            "weight_decay": sum(weight_decay(prior_length_scale, p, size, precision, loss=loss) for p in rates),
            "names": [term.name for term in terms],
        }
        for rates, terms in sorted(by_rates.items(), key=lambda item: item[0])
    ]
    learned = {name: logit for name, logit in rate_parameters(model).items() if logit.requires_grad}
    if learned:
        groups.append({"params": list(learned.values()), "weight_decay": 0.0, "names": list(learned)})
    return groups
