"""The standard dropout approximation: one pass without masks, as a predictive of one exact draw."""

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from bayesrnn.inference.context import undisturbed
from bayesrnn.inference.inputs import batches, rows_at_once
from bayesrnn.inference.nested import take_rows
from bayesrnn.inference.outputs import OutputDistribution, Point, as_distributions, bad_rows, distributions_of, join
from bayesrnn.predictive import DETERMINISTIC, ContinuousPredictive, Origin, Predictive, TokenPredictive
from bayesrnn.predictive.distributions.empirical import PointDistribution

__all__ = ["deterministic", "deterministic_tokens"]


def deterministic(
    model: nn.Module,
    *inputs: Any,
    likelihood: Callable[[Any], Any] | None = None,
    batch_dim: int = 0,
    sequence_ids: Iterable[int] | Tensor | None = None,
    lengths: Iterable[int] | Tensor | None = None,
    max_memory: int | None = None,
) -> Any:
    """Return the predictive of the model in eval mode without masks; the model is left as it was found.

    Arguments as for `bayesrnn.predict`.

    Raises:
        ValueError: If the model returns several outputs, or NaN.
    """
    distributions: list[OutputDistribution] = []
    ids: list[Tensor] = []
    with undisturbed(model):
        for batch in batches(inputs, batch_dim, sequence_ids, lengths, model):
            at_once = rows_at_once(model, batch.inputs, batch_dim, max_memory)
            for rows in torch.arange(batch.ids.numel()).split(at_once):
                given = take_rows(batch.inputs, rows, batch_dim)
                (options,) = take_rows((batch.options,), rows, 0)
                found = distributions_of(
                    as_distributions(model(*given, **options), likelihood), 1, rows.numel(), batch_dim
                )
                if len(found) != 1:
                    raise ValueError(
                        f"a comparison scores one output, but the model returns {len(found)}. Choose one with "
                        "likelihood=lambda output: Normal(output[0], ...)."
                    )
                if bool(bad_rows(found[0]).any()):
                    bad = batch.ids[rows][bad_rows(found[0]).cpu()].tolist()[:5]
                    raise ValueError(f"the model's output without masks holds NaN for the sequences {bad}.")
                distributions.append(found[0])
            ids.append(batch.ids)
    distribution = join(distributions, 1)
    if isinstance(distribution, Point):
        # two equal samples: the mean is the point, and its CRPS is the absolute error
        origin = Origin(1, sampling=DETERMINISTIC, sequence_ids=torch.cat(ids))
        return ContinuousPredictive(
            PointDistribution(distribution.value.expand(2, *distribution.value.shape[1:])), origin
        )
    return Predictive.from_draws(distribution, sampling=DETERMINISTIC, sequence_ids=torch.cat(ids))


def deterministic_tokens(predictive: TokenPredictive) -> TokenPredictive:
    """Return the pass without masks that a token predictive carries beside its draws, as a predictive of its own.

    Raises:
        ValueError: If it carries none.
    """
    if predictive.deterministic_log_prob is None:
        raise ValueError("the deterministic pass was not made: ask for it when computing the perplexity.")
    kept = {f.name: getattr(predictive, f.name) for f in fields(predictive) if f.name in ("mask", "target")}
    origin = Origin(1, sampling=DETERMINISTIC, sequence_ids=predictive.sequence_ids)
    return TokenPredictive(predictive.deterministic_log_prob, origin, **kept)
