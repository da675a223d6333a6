"""KL divergence of the dropout posterior from the Gaussian prior."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bayesrnn._checks import check_finite, check_rate, check_whole
from bayesrnn.nn.concrete import learned_rates
from bayesrnn.objective.conversions import check_positive
from bayesrnn.objective.terms import WeightTerm, all_terms


def entropy(rate: float | Tensor) -> Tensor:
    r"""Return $H(p) = -p \log p - (1-p)\log(1-p)$ of one mask entry, nats; 0 at rate 0.

    Args:
        rate: p, a number or a tensor of any shape (differentiable).

    Returns:
        The entropies, shape of `rate`.

    Raises:
        TypeError: If the rate is neither a number nor a tensor of numbers.
        ValueError: If a rate is outside [0, 1).

    Example:
        >>> entropy(0.5)
        tensor(0.6931)
    """
    p = _checked_rates(rate) if isinstance(rate, Tensor) else torch.as_tensor(check_rate(rate, "rate"))
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))


def kl(
    weight: Tensor,
    rate: float | Tensor,
    prior_length_scale: float,
    *,
    units: int | None = None,
    inverted: bool = True,
    noise_std: float | None = None,
) -> Tensor:
    r"""Return KL(q || prior) of one weight under dropout, nats, by the approximation of narrow Gaussians.

    Each unit k of the weight's input has $q(w_k) = (1-p)\,N(m_k, \sigma^2) + p\,N(0, \sigma^2)$, the prior is
    $N(0, l^{-2})$ for each entry. For small $\sigma$

    $$KL \approx \tfrac12 (1-p)\, l^2 \lVert M\rVert^2 - K H(p)
    + \tfrac n2 \bigl(l^2\sigma^2 - 1 - \log(l^2\sigma^2)\bigr),$$

    with $M = W$ for masks of 0 or 1, and $M = W/(1-p)$ for masks of 0 or $1/(1-p)$, so that the first term is then
    $\tfrac12 l^2\lVert W\rVert^2/(1-p)$. K counts the units, n the entries of the weight. The last term does not
    depend on W or p and is left out unless `noise_std` is given. The entropy matters only where p is learned.

    Args:
        weight: The stored weight W, any shape.
        rate: p, a number or a tensor of one number (differentiable).
        prior_length_scale: $l$.
        units: K; the size of the last dimension (a weight's input features) if not given. With untied gates each gate
            has units of its own: gates * features.
        inverted: Whether masks are 0 or 1/(1-p), as in this library.
        noise_std: $\sigma$, to include the constant.

    Raises:
        TypeError: If the weight is no tensor, the rate no number, or the units no whole number.
        ValueError: If l or sigma is not positive, the rate outside [0, 1) or more than one number, the units negative,
            or the weight holds NaN or infinite values.

    Source: Gal & Ghahramani (2016), arXiv:1506.02142, appendix; for the entropy, Gal et al. (2017), arXiv:1705.07832.

    Example:
        >>> kl(torch.ones(2, 3), 0.5, prior_length_scale=1.0, units=0)
        tensor(6.)
    """
    length = check_positive(prior_length_scale, "prior_length_scale")
    p = _single_rate(rate)
    if not isinstance(weight, Tensor):
        raise TypeError(f"the weight must be a tensor, but a {type(weight).__name__} was given: torch.as_tensor(...).")
    total = 0.5 * length**2 * weight.square().sum() * (1.0 / (1.0 - p) if inverted else 1.0 - p)
    count = (weight.shape[-1] if weight.dim() else 1) if units is None else check_whole(units, "units", 0)
    total = total - count * entropy(p).to(total)
    if not bool(torch.isfinite(total.detach())):  # one number to look at in the good case, not every weight
        check_finite(weight.detach(), "the weight")
    if noise_std is None:
        return total
    ratio = (length * check_positive(noise_std, "noise_std")) ** 2
    return total + 0.5 * weight.numel() * (ratio - 1.0 - math.log(ratio))


def model_kl(
    model: nn.Module,
    prior_length_scale: float,
    *,
    rates: Mapping[str, Tensor] | None = None,
    behind: Mapping[str, str | None] | None = None,
) -> Tensor:
    r"""Return the KL of all weights of a model, each with the mask that acts on its input; differentiable, nats.

    The sum of `kl` over `weight_terms`. A `bayesrnn.nn.concrete.ConcreteDropout`, or a model that holds one, is taken
    at the rates it learns, differentiable, and its logits are no weights. A frozen weight counts where the rate of its
    mask is learned.

    Args:
        model: Any module with layers of this library inside.
        prior_length_scale: $l$, common to all weights.
        rates: Rates to use instead of the layers' own, by the qualified key of the mask in `model`: what is learned
            (`bayesrnn.nn.concrete.ConcreteDropout.rates`, beside the model that it wraps).
        behind: See `weight_terms`.

    Raises:
        ValueError: As `kl` and `weight_terms` do, or if `rates` names a mask that no weight sees, or the model has no
            trainable parameter.

    Example:
        >>> import bayesrnn.nn
        >>> bool(model_kl(bayesrnn.nn.GRU(2, 3, dropout=0.5), 1e-6) < 0)  # nothing but the entropy of the masks
        True
    """
    explicit = dict(rates or {})
    terms = all_terms(model, behind)
    unknown = sorted(set(explicit) - {term.mask for term in terms})
    if unknown:
        raise ValueError(_unknown_masks(unknown, model, terms))
    learned: dict[str, Tensor] = learned_rates(model) | explicit
    parts = [
        kl(term.parameter, learned.get(term.mask or "", term.rate), prior_length_scale, units=term.units)
        for term in terms
        if term.parameter.requires_grad or term.mask in learned
    ]
    if not parts:
        raise ValueError(
            f"this {type(model).__name__} has no trainable parameter, so there is no distribution over weights and "
            "no KL. Pass the model that is trained, and look for requires_grad=False."
        )
    return torch.stack(parts).sum()


def negative_elbo(nll: Tensor, divergence: Tensor, size: float) -> Tensor:
    r"""Return the negative evidence lower bound per datum, $\overline{\mathrm{nll}} + KL/N$, nats.

    Args:
        nll: Mean negative log-likelihood over a batch, one mask draw each.
        divergence: The KL of the whole model.
        size: N, the number of things in the whole training set that `nll` is a mean over.

    Raises:
        ValueError: If N is not positive, or `nll` or `divergence` is not one finite number.
    """
    count = check_positive(size, "size")
    _check_one_number(nll, "nll", "Average it over the batch first, nll.mean()")
    _check_one_number(divergence, "divergence", "Add up the KL of all weights, as model_kl does")
    return nll + divergence / count


def _check_one_number(value: Tensor | float, name: str, fix: str) -> None:
    number = torch.as_tensor(value).detach()
    if number.numel() != 1:
        raise ValueError(f"{name} must be one number, but the shape {tuple(number.shape)} was given. {fix}.")
    if not bool(torch.isfinite(number).all()):
        raise ValueError(
            f"{name} must be finite, but it is {float(number)}. Look for weights that diverged (a lower learning rate, "
            "clipped gradients) or for NaN in the inputs or targets."
        )


def _single_rate(rate: float | Tensor) -> float | Tensor:
    if not isinstance(rate, Tensor):
        return check_rate(rate, "rate")
    if rate.numel() != 1:
        raise ValueError(
            f"one weight has one rate, but a tensor of shape {tuple(rate.shape)} was given. Add up kl of each weight "
            "with its own rate, or let model_kl do so."
        )
    return _checked_rates(rate).reshape(())


def _checked_rates(rates: Tensor) -> Tensor:
    if rates.dtype == torch.bool or rates.is_complex():
        raise TypeError(f"a rate must be a real number in [0, 1), but a tensor of {rates.dtype} was given.")
    values = rates if rates.is_floating_point() else rates.float()
    numbers = values.detach()
    if not bool(((numbers >= 0.0) & (numbers < 1.0)).all()):
        wrong = numbers[~((numbers >= 0.0) & (numbers < 1.0))].flatten()
        check_rate(float(wrong[0]), "rate")
    return values


def _unknown_masks(unknown: list[str], model: nn.Module, terms: list[WeightTerm]) -> str:
    legal = sorted({term.mask for term in terms if term.mask})
    learned = {key for key in learned_rates(model) if any(key.endswith(f".{name}") for name in unknown)}
    if learned:
        fix = (
            "The model holds a ConcreteDropout, whose learned rates are used anyway: leave out rates=, or pass the "
            "model that it wraps, model_kl(wrapped.model, ..., rates=wrapped.rates())."
        )
    else:
        fix = "Keys are qualified names, as in weight_terms(model); for a Dropout before another weight use behind=."
    return f"rates names the masks {unknown}, which act on no weight of the model; those are {legal}. {fix}"
