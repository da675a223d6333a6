"""Scores of token streams."""

import math
from dataclasses import replace
from typing import Any, Unpack

import torch
from torch import Tensor

from bayesrnn.metrics.metric import Metric, evaluate
from bayesrnn.metrics.score import Options, Score
from bayesrnn.predictive import DETERMINISTIC, Predictive, TokenPredictive


def nll(predictive: Predictive, target: Any = None, **options: Unpack[Options]) -> Score:
    r"""Mean negative log predictive density (probability for classes, counts, tokens), nats per target.

    $-\mathrm{mean}\,\log\frac1S\sum_s p_s(y)$: probabilities are averaged over draws before the log. Finite draws
    bias it upwards by about $\mathrm{Var}(p)/(2S\bar p^2)$; `monte_carlo=True` gives the corrected value beside it.

    Args:
        predictive: Any predictive with a density (samples have none).
        target: (B, ...); a token predictive knows its own.
        **options: See `Options`.

    Raises:
        ValueError: If shapes differ, the target holds NaN, or the predictive has no density.

    Source: Gneiting & Raftery 2007, section 4.1 (logarithmic score).

    Example:
        >>> import torch
        >>> round(float(nll(Predictive.from_gaussian(torch.zeros(1), torch.ones(1)), torch.zeros(1))), 4)
        0.9189
    """
    metric = Metric("nll", "mean over targets, nats", log_score, correct=True)
    return evaluate(metric, predictive, target, options)


def log_score(predictive: Any, target: Any) -> Tensor:
    """Return the negative log probability of each target, (B, ...), nats."""
    if isinstance(predictive, TokenPredictive):
        return -predictive.log_prob
    return -predictive.log_prob(target)


def perplexity(predictive: Predictive, target: Any = None, **options: Unpack[Options]) -> Score:
    r"""Perplexity $\exp(-\mathrm{mean} \log \bar p(y_t))$ over all scored tokens (micro average).

    Probabilities are averaged over draws before the log, logs over tokens before the exponential.
    """
    _check(predictive, "perplexity")
    definition = "ppl_mc_micro: exp of the mean nll, probabilities averaged over draws"
    metric = Metric("perplexity", definition, log_score, transform=_exp, correct=True)
    return evaluate(metric, predictive, target, options)


def deterministic_perplexity(predictive: Predictive, target: Any = None, **options: Unpack[Options]) -> Score:
    """Perplexity of the pass without masks (the standard dropout approximation), on the same tokens."""
    _check(predictive, "deterministic_perplexity")

    def items(p: TokenPredictive, _: Any) -> Tensor:
        if p.deterministic_log_prob is None:
            raise ValueError("the deterministic pass was not made: ask for it when computing the perplexity.")
        return -p.deterministic_log_prob

    definition = "ppl_deterministic_micro: exp of the mean nll without masks"
    metric = Metric("deterministic_perplexity", definition, items, transform=_exp)
    return evaluate(metric, _unsampled(predictive), target, options)


def bits_per_token(predictive: Predictive, target: Any = None, **options: Unpack[Options]) -> Score:
    """Mean negative log probability in bits per token: nll / log 2 (bits per character for a character model)."""
    _check(predictive, "bits_per_token")
    definition = "nll / log 2, bits per token"
    metric = Metric("bits_per_token", definition, log_score, transform=lambda nats: nats / math.log(2), correct=True)
    return evaluate(metric, predictive, target, options)


def entropy_gap(predictive: Predictive, target: Any = None, **options: Unpack[Options]) -> Score:
    r"""Mean of entropy minus nll, nats per token: 0 when calibrated, negative when overconfident.

    Its error of finite draws is unknown: the entropies come averaged over all draws.

    Source: Braverman et al. 2020 (arXiv:1906.05664), entropy rate calibration.
    """
    _check(predictive, "entropy_gap")

    def items(p: TokenPredictive, _: Any) -> Tensor:
        if p.entropy is None:
            raise ValueError("this token predictive did not keep its entropy: compute it with the entropies.")
        return torch.add(p.entropy, p.log_prob)

    definition = "mean entropy minus nll, nats per token"
    metric = Metric("entropy_gap", definition, items)
    return evaluate(metric, predictive, target, options)


def _unsampled(predictive: Any) -> Any:
    """What has no error of finite draws, whatever draws were made beside it."""
    if not isinstance(predictive, TokenPredictive):
        return predictive
    return replace(predictive, origin=replace(predictive.origin, sampling=DETERMINISTIC))


def _check(predictive: Any, name: str) -> None:
    if isinstance(predictive, Predictive) and not isinstance(predictive, TokenPredictive):
        raise ValueError(f"{name} is about token streams, but a {type(predictive).__name__} was given. Use nll.")


def _exp(nll: float) -> float:
    return math.exp(nll) if nll < 700 else math.inf
