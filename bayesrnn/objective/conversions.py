r"""Weight decay, observation precision and prior length scale are one relation, read in three directions.

The prior of every effective weight is $N(0, l^{-2})$ and the loss is a mean over N things. Dropout at rate p (keep
$k = 1 - p$) then costs the KL term $c\lVert W\rVert^2$ with

=====================  =======================  ======================================
masks in training      effective weight         c (per squared stored weight)
=====================  =======================  ======================================
0 or 1                 $W$                      $k\,l^2 / 2$
0 or 1/k ("inverted")  $W / k$                  $l^2 / (2k)$
=====================  =======================  ======================================

and the loss that is minimized is $s$ times the negative log-likelihood, plus a constant:

=======================  =======================================  ========================
`loss`                   what is averaged over the N things       s
=======================  =======================================  ========================
`nll`                    negative log-likelihood (nats)           1
`half_squared_error`     $\frac12 (y - \hat y)^2$                 $1/\tau$
`squared_error`          $(y - \hat y)^2$ (torch's `MSELoss`)     $2/\tau$
=======================  =======================================  ========================

So the penalty that makes the training loss the negative ELBO (times s / N) is $\lambda\lVert W\rVert^2$ with
$\lambda = s\,c/N$. An optimizer's `weight_decay` adds the gradient $wW$, the penalty $\frac12 w\lVert W\rVert^2$, so
$w = 2\lambda$. Three mistakes are common: taking the formula of `half_squared_error` for a loss of squared errors
(a factor 2); taking the formula of 0/1 masks for inverted ones (a factor $k^2$); and an N that counts other things
than the loss averages over (rows for a mean over rows, tokens for a mean over tokens).

Source: Gal & Ghahramani (2016), arXiv:1506.02142, equation 7 for 0/1 masks and half squared errors; the other rows
follow by substitution.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

from torch import nn

from bayesrnn._checks import check_choice, check_number, check_rate
from bayesrnn.objective.terms import WeightTerm, rate_parameters, weight_terms

Loss = Literal["nll", "squared_error", "half_squared_error"]
"""What the training loss averages; torch's `MSELoss` averages the squared error."""

_NATS_PER_SQUARE = {"squared_error": 0.5, "half_squared_error": 1.0}  # nll = tau * this * loss + constant


def weight_decay(
    prior_length_scale: float,
    rate: float,
    size: float,
    precision: float = 1.0,
    *,
    loss: Loss = "squared_error",
    inverted: bool = True,
    penalty: bool = False,
) -> float:
    r"""Return the weight decay under which training with dropout minimizes the negative ELBO.

    $w = 2 s c / N$ (see the module), e.g. $2 l^2 / (N \tau k)$ for squared errors and inverted masks. It is meant for
    coupled decay, a term of the gradient (`torch.optim.SGD`, `torch.optim.Adam`), not for `AdamW`.

    Args:
        prior_length_scale: $l$; the prior standard deviation of a weight is $1/l$.
        rate: Probability of dropping what the weight multiplies; 0 for biases and for weights without a mask.
        size: N, the number of things that the loss is a mean over.
        precision: $\tau$, 1 / noise variance in units of the training target. Not used by `loss="nll"`.
        loss: What the loss averages.
        inverted: Whether masks are 0 or 1/(1-p), as in this library, or 0 or 1.
        penalty: Return $\lambda = w/2$, the factor of $\lVert W \rVert^2$, instead.

    Raises:
        ValueError: If l, N or the precision is not positive, the rate outside [0, 1), or the loss unknown.

    Example:
        >>> weight_decay(0.5, 0.5, 1000, precision=4.0)
        0.00025
    """
    scale = _loss_per_nat(loss, precision)
    coefficient = kl_coefficient(check_positive(prior_length_scale, "prior_length_scale"), rate, inverted)
    return (1.0 if penalty else 2.0) * scale * coefficient / check_positive(size, "size")


def precision(
    prior_length_scale: float,
    rate: float,
    size: float,
    weight_decay: float,
    *,
    loss: Loss = "squared_error",
    inverted: bool = True,
    penalty: bool = False,
) -> float:
    r"""Return the observation precision $\tau$ that a weight decay implies: `weight_decay` solved for it.

    For 0/1 masks, half squared errors and a penalty $\lambda\lVert W\rVert^2$ it is the papers'
    $\tau = k l^2 / (2 N \lambda)$. In units of the training target: for targets standardized by a standard deviation
    sd, the precision in the original units is $\tau/\mathrm{sd}^2$.

    Raises:
        ValueError: If l, N or the decay is not positive, or the loss is `nll`, whose decay is free of the precision.

    Example:
        >>> precision(0.5, 0.5, 1000, 0.00025)
        4.0
    """
    check_choice(loss, "loss", get_args(Loss))
    if loss == "nll":
        raise ValueError(
            "loss='nll' fixes the noise inside the likelihood, so its weight decay does not depend on a precision. "
            "Read the precision off the likelihood, or name the loss you average: 'squared_error' (MSELoss)."
        )
    decay = check_positive(weight_decay, "weight_decay")
    at_one = _from_unit(prior_length_scale, rate, size, loss, inverted, penalty)
    return at_one / decay


def prior_length_scale(
    weight_decay: float,
    rate: float,
    size: float,
    precision: float = 1.0,
    *,
    loss: Loss = "squared_error",
    inverted: bool = True,
    penalty: bool = False,
) -> float:
    r"""Return the prior length scale $l$ that a weight decay implies: `weight_decay` solved for it.

    Raises:
        ValueError: If the decay, N or the precision is not positive, or the rate outside [0, 1).

    Example:
        >>> prior_length_scale(0.00025, 0.5, 1000, precision=4.0)
        0.5
    """
    decay = check_positive(weight_decay, "weight_decay")
    scale = _loss_per_nat(loss, precision)
    return math.sqrt(decay / (scale * _from_unit(1.0, rate, size, "nll", inverted, penalty)))


def kl_coefficient(prior_length_scale: float, rate: float, inverted: bool) -> float:
    """Return c, the KL (nats) per squared stored weight."""
    keep = 1.0 - check_rate(rate, "rate")
    return prior_length_scale**2 / 2.0 * (1.0 / keep if inverted else keep)


def check_positive(value: float, name: str) -> float:
    """Return `value` as a float if it is positive and finite."""
    hints = {
        "size": " It is the number N of things that the training loss is a mean over.",
        "precision": " It is 1 / noise variance; for a noise standard deviation s pass 1 / s**2.",
        "prior_length_scale": " The prior standard deviation of a weight is its inverse.",
        "weight_decay": " Without decay there is no prior, so no precision and no length scale follow.",
    }
    return check_number(value, name, "positive and finite", 0.0, above=True, fix=hints.get(name, ""))


def _from_unit(length: float, rate: float, size: float, loss: Loss, inverted: bool, penalty: bool) -> float:
    return weight_decay(length, rate, size, 1.0, loss=loss, inverted=inverted, penalty=penalty)


def _loss_per_nat(loss: Loss, precision: float) -> float:
    check_choice(loss, "loss", get_args(Loss))
    tau = check_positive(precision, "precision")
    return 1.0 if loss == "nll" else 1.0 / (tau * _NATS_PER_SQUARE[loss])


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
