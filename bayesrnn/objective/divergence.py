"""KL divergence of the dropout posterior from the Gaussian prior."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bayesrnn._checks import check_rate
from bayesrnn.objective.conversions import check_positive
from bayesrnn.objective.terms import weight_terms

__all__ = ["entropy", "kl", "model_kl", "negative_elbo"]


def entropy(rate: float | Tensor) -> Tensor:
    r"""Return $H(p) = -p \log p - (1-p)\log(1-p)$ of one mask entry, nats; 0 at rate 0.

    Example:
        >>> entropy(0.5)
        tensor(0.6931)
    """
    p = torch.as_tensor(check_rate(rate, "rate")) if not isinstance(rate, Tensor) else rate
    p = p if p.is_floating_point() else p.float()
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
        rate: p, a number or a tensor (differentiable).
        prior_length_scale: $l$.
        units: K; the size of the last dimension (a weight's input features) if not given. With untied gates each gate
            has units of its own: gates * features.
        inverted: Whether masks are 0 or 1/(1-p), as in this library.
        noise_std: $\sigma$, to include the constant.

    Raises:
        ValueError: If l or sigma is not positive, or the rate outside [0, 1).

    Source: Gal & Ghahramani (2016), arXiv:1506.02142, appendix; for the entropy, Gal et al. (2017), arXiv:1705.07832.

    Example:
        >>> kl(torch.ones(2, 3), 0.5, prior_length_scale=1.0, units=0)
        tensor(6.)
    """
    length = check_positive(prior_length_scale, "prior_length_scale")
    keep = 1.0 - (rate if isinstance(rate, Tensor) else check_rate(rate, "rate"))
    total = 0.5 * length**2 * weight.square().sum() * (1.0 / keep if inverted else keep)
    count = (weight.shape[-1] if weight.dim() else 1) if units is None else units
    total = total - count * entropy(rate).to(total)
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

    Args:
        model: Any module with layers of this library inside.
        prior_length_scale: $l$, common to all weights.
        rates: Rates to use instead of the layers' own, by the qualified key of the mask: what is learned
            (`bayesrnn.nn.concrete.ConcreteDropout.rates`).
        behind: See `weight_terms`.

    Raises:
        ValueError: As `kl` and `weight_terms` do, or if `rates` names a mask that no weight sees.

    Example:
        >>> import bayesrnn.nn
        >>> bool(model_kl(bayesrnn.nn.GRU(2, 3, dropout=0.5), 1e-6) < 0)  # nothing but the entropy of the masks
        True
    """
    given = dict(rates or {})
    terms = weight_terms(model, behind)
    unknown = sorted(set(given) - {term.mask for term in terms})
    if unknown:
        legal = sorted({term.mask for term in terms if term.mask})
        raise ValueError(f"rates names the masks {unknown}, which act on no weight of the model; those are {legal}.")
    parts = [
        kl(term.parameter, given.get(term.mask or "", term.rate), prior_length_scale, units=term.units)
        for term in terms
    ]
    return torch.stack(parts).sum()


def negative_elbo(nll: Tensor, divergence: Tensor, size: float) -> Tensor:
    r"""Return the negative evidence lower bound per datum, $\overline{\mathrm{nll}} + KL/N$, nats.

    Args:
        nll: Mean negative log-likelihood over a batch, one mask draw each.
        divergence: The KL of the whole model.
        size: N, the number of things in the whole training set that `nll` is a mean over.

    Raises:
        ValueError: If N is not positive.
    """
    return nll + divergence / check_positive(size, "size")
