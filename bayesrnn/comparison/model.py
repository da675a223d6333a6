"""Monte Carlo dropout against the standard dropout approximation: one pass without masks."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from bayesrnn._checks import check_whole
from bayesrnn.comparison.curve import draws_curve
from bayesrnn.comparison.predictives import compare_predictives
from bayesrnn.comparison.result import Comparison, Cost
from bayesrnn.inference import predict
from bayesrnn.inference.context import undisturbed
from bayesrnn.inference.ensemble import as_models, as_one
from bayesrnn.models import LanguageModel
from bayesrnn.nn.precision import usable_precision
from bayesrnn.predictive import Predictive


def compare(
    model: nn.Module | Sequence[nn.Module],
    *inputs: Any,
    target: Any,
    draws: int = 100,
    seed: int = 0,
    likelihood: Callable[[Any], Any] | None = None,
    others: Mapping[str, Predictive] | None = None,
    groups: Sequence[Any] | Tensor | None = None,
    interval: float = 0.95,
    sampling: str = "stratified",
    batch_dim: int = 0,
    sequence_ids: Iterable[int] | Tensor | None = None,
    lengths: Iterable[int] | Tensor | None = None,
    sequences: Any = None,
    mask: Tensor | None = None,
    levels: Sequence[float] = (0.5, 0.8, 0.95),
    nan: str = "raise",
    monte_carlo: bool = True,
    resamples: int = 1000,
    curve: bool = True,
    units: str = "",
    **options: Any,
) -> Comparison:
    r"""Compare Monte Carlo dropout with the standard dropout approximation, the one pass without masks.

    The approximation uses $p(y \mid x, \mathbb{E}[z])$ in place of $\frac1S\sum_s p(y \mid x, z_s)$. Both are scored on
    the same targets, in pairs, and either may be the better one.

    Args:
        model: As for `predict`; of a list both passes average over its networks.
        *inputs: As for `predict`.
        target: What happened, shape of the prediction, (rows, ...).
        draws: Number of draws.
        seed: Seed of the masks and of the bootstrap.
        likelihood: From the model's output to a torch Distribution; needless if the model returns one.
        others: More predictives of the same rows by name: an ensemble, a recalibrated one.
        groups: A label for each row: the score that ranks is also compared within each group.
        interval: Level of the paired bootstrap intervals.
        sampling: As for `predict`.
        batch_dim: As for `predict`.
        sequence_ids: As for `predict`; equal ids are one sequence to the bootstrap too.
        lengths: As for `predict`; where the target has the steps of the input, steps beyond are not scored.
        sequences: Sequence id of each row or target for the bootstrap, if not the sequence_ids.
        mask: (rows, ...) bool, True where a target is scored.
        levels: Levels of the intervals whose coverage is compared, beside 90 %.
        nan: "raise" refuses NaN targets, "drop" leaves them out.
        monte_carlo: Also give errors and corrections for finite draws.
        resamples: Bootstrap resamples.
        curve: Also score fewer draws than `draws`, to see what more of them buy.
        units: Units of the target.
        **options: Passed to `predict` (sharing=, precision=, max_memory=, ...).

    Returns:
        A `Comparison` against the reference "deterministic pass"; `.sentence` says who is better, and in what.

    Raises:
        ValueError: If the target does not fit, nothing in the model is stochastic, or it returns several outputs.

    Source: Gal & Ghahramani 2016 (arXiv:1512.05287), section 5: MC dropout against the dropout approximation.

    Example:
        >>> from bayesrnn.models import SequenceRegressor
        >>> model, x = SequenceRegressor(1, hidden_size=4, dropout=0.2), torch.randn(40, 5, 1)
        >>> compare(model, x, target=x[:, -1, 0], draws=8).reference
        'deterministic pass'
    """
    check_whole(draws, "draws", 2)
    given = {
        "draws": draws, "seed": seed, "sampling": sampling, "likelihood": likelihood, "batch_dim": batch_dim,
        "sequence_ids": sequence_ids, "lengths": lengths, **options,
    }  # fmt: skip
    models = as_models(model, "compare")
    device = next((weight.device for weight in as_one(models).parameters()), torch.device("cpu"))
    given["precision"] = usable_precision(options.get("precision"), device)  # here, to warn once
    start = time.perf_counter()
    try:
        plain = predict(model, *inputs, **{**given, "draws": 0})
        if not isinstance(plain, Predictive):
            raise ValueError(
                "a comparison scores one output, but the model returns several. Choose one with "
                "likelihood=lambda output: Normal(output[0], ...)."
            )
    except ValueError as error:
        if likelihood is None and _reads_tokens(models[0], inputs):
            raise _language_model_error(models[0]) from error
        raise
    middle = time.perf_counter()
    drawn = predict(model, *inputs, **given)
    end = time.perf_counter()
    predictives = {"deterministic pass": plain, "MC dropout": drawn, **(others or {})}
    if len(predictives) < 2 + len(others or {}):
        raise ValueError("others must not be called 'deterministic pass' or 'MC dropout': these two are there already.")
    costs = {
        "deterministic pass": Cost(len(models), middle - start),
        "MC dropout": Cost(drawn.draws_used, end - middle),
    }
    scored = None if lengths is None or not _has_steps(plain, inputs, batch_dim) else torch.as_tensor(lengths)
    result = compare_predictives(
        predictives, target, groups=groups, sequences=sequences, interval=interval, levels=levels, mask=mask,
        lengths=scored, nan=nan, monte_carlo=monte_carlo, resamples=resamples, seed=seed, units=units, costs=costs,
    )  # fmt: skip
    if not curve:
        return result
    line = draws_curve(result.differences[0].measure, drawn, result.target, dict(result.options))
    return replace(result, curves=[] if line is None else [line])


def _reads_tokens(model: nn.Module, inputs: tuple[Any, ...]) -> bool:
    """Whether the model gives the distribution of the next token and a state, as `perplexity` reads it."""
    if isinstance(model, LanguageModel):
        return True
    tokens = inputs[0] if len(inputs) == 1 else None
    if not isinstance(tokens, Tensor) or tokens.is_floating_point():
        return False
    try:
        with undisturbed(model):
            output = model(tokens)
    except Exception:  # what the model says of its input was raised already
        return False
    return isinstance(output, tuple) and len(output) == 2 and isinstance(output[0], Categorical)


def _language_model_error(model: nn.Module) -> ValueError:
    return ValueError(
        f"compare scores one distribution per target, but {type(model).__name__} returns the distribution of the next "
        "token and a state. For a language model take bayesrnn.perplexity(model, tokens): it makes the pass without "
        "masks beside the draws, deterministic_perplexity against perplexity. Several of them are compared in pairs "
        "with compare_predictives({name: perplexity(...), ...})."
    )


def _has_steps(predictive: Any, inputs: tuple[Any, ...], batch_dim: int) -> bool:
    first = next((x for x in inputs if isinstance(x, Tensor)), None)
    shape = tuple(predictive.shape)
    return first is not None and first.dim() > 1 and len(shape) > 1 and shape[1] == first.shape[0 if batch_dim else 1]
