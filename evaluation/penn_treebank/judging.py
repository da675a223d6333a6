"""What is measured of trained models: perplexities of one pass, of draws, tuned on validation text, and adapted."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from bayesrnn import dynamic_perplexity, perplexity
from bayesrnn.data import Corpus
from bayesrnn.models import LanguageModel
from bayesrnn.nn.masked import masked_modules
from bayesrnn.predictive import TokenPredictive
from bayesrnn.tuning import tune_perplexity
from evaluation.penn_treebank.rows import Row

TUNING_TOKENS, TUNING_DRAWS = 10_000, 16
"""Of the validation text on which the average of draws is tuned, and dynamic evaluation on half as many."""
_MULTIPLIERS, _AVERAGES = (0.5, 0.7, 0.85, 1.0), ("arithmetic", 0.5, "geometric")
_SHARES = (0.25, 0.5, 0.75, 1.0)  # of the rates at which the masks of training are drawn
_WINDOW, _RATES, _DECAYS = 20, (1e-5, 5e-5, 2e-4), (0.0, 0.01, 0.03)
_STATISTICS_TOKENS = 50_000
"""Of the training text from which dynamic evaluation takes the sizes of gradients."""


def judged(
    row: Row,
    models: list[LanguageModel],
    corpus: Corpus,
    training: Tensor,
    keep: Callable[[dict[str, Any]], object] = lambda scores: None,
    **drawing: Any,
) -> dict[str, Any]:
    """Return perplexities: deterministic on both texts; on the test text also Monte Carlo, both tuned, and adapted.

    The test text is one stream from a state of zeros, as in the papers' code; every draw counts. `keep` gets what is
    known after each pass, so that a kill loses one pass. `drawing` has the seed and the draws of `perplexity`.
    """
    valid, test = corpus["validation"], corpus["test"]
    options: dict[str, Any] = {"window": row.recipe.window, "precision": row.recipe.precision}
    rows = row.recipe.batch_size
    scores: dict[str, Any] = {
        "valid": perplexity(models, valid, draws=0, batch_size=rows, statistics=False, **options).perplexity,
        "test": perplexity(models, test, draws=0, statistics=False, **options).perplexity,
    }
    keep(scores)
    if masked_modules(models[0]):
        words = row.scheme.placement("word") is not None
        if words:
            scores |= drawn("test_mc_words_kept", perplexity(models, test, drop_words=False, **drawing, **options))
            keep(scores)
        scores |= drawn("test_mc", perplexity(models, test, **drawing, **options))
        keep(scores)
        tuning = {"draws": min(drawing["draws"], TUNING_DRAWS), "seed": drawing["seed"] + 1, "batch_size": rows}
        chosen = _tuned(models, spread(valid, rows), **tuning, **options)
        scores["tuned_on_valid"] = chosen
        settings = {key: value for key, value in chosen.items() if key != "valid"}
        scores |= drawn("test_mc_tuned", perplexity(models, test, **settings, **drawing, **options))
        keep(scores)
    scores |= _tempered(models, spread(valid, rows), test, rows, **options)
    keep(scores)
    if len(models) == 1:
        scores |= _adapted(models[0], training, valid, test, row.recipe.precision)
    return scores


def _tuned(models: list[LanguageModel], valid: Tensor, **options: Any) -> dict[str, Any]:
    """Return multiplier, average and temperature after it with the lowest perplexity of validation text, words kept."""
    fixed: dict[str, Any] = {"temperature_of": "mean", "drop_words": False}
    tuned = tune_perplexity(models, valid, multipliers=_MULTIPLIERS, averages=_AVERAGES, **fixed, **options)
    best = {"multiplier": tuned.multiplier, "average": tuned.average, "temperature": tuned.temperature}
    return best | fixed | {"valid": tuned.perplexity}


def _tempered(models: list[LanguageModel], valid: Tensor, test: Tensor, rows: int, **options: Any) -> dict[str, Any]:
    """Return the perplexity of one pass at the temperature that is best on validation text: draws have theirs too."""
    chosen = tune_perplexity(models, valid, multipliers=(1.0,), draws=0, batch_size=rows, **options)
    settings = {"temperature": chosen.temperature, "valid": chosen.perplexity}
    result = perplexity(models, test, draws=0, temperature=chosen.temperature, statistics=False, **options)
    return {"tempered_on_valid": settings, "test_tempered": result.perplexity}


def _adapted(
    model: LanguageModel, training: Tensor, valid: Tensor, test: Tensor, precision: str | None
) -> dict[str, Any]:
    """Return the perplexity of dynamic evaluation; rate, then decay are chosen on validation text.

    A rate at which the weights diverge there is not chosen.
    """
    train, short = training[:_STATISTICS_TOKENS], valid[: TUNING_TOKENS // 2]
    rows = max(min(100, len(train) // (10 * _WINDOW)), 1)

    def adapted(text: Tensor, rate: float, decay: float) -> float:
        return dynamic_perplexity(
            model, text, train, rate=rate, decay=decay, window=_WINDOW, batch_size=rows, precision=precision
        ).perplexity

    def tried(rate: float, decay: float) -> tuple[float, float, float]:
        try:
            return adapted(short, rate, decay), rate, decay
        except ValueError as error:
            if "diverged" not in str(error):
                raise
            return math.inf, rate, decay

    best = min(tried(rate, _DECAYS[1]) for rate in _RATES)
    best = min(best, *(tried(best[1], decay) for decay in _DECAYS if decay != best[2]))
    settings = {"rate": best[1], "decay": best[2], "window": _WINDOW, "valid": best[0]}
    return {"dynamic_on_valid": settings, "test_dynamic": adapted(test, best[1], best[2])}


def spread(text: Tensor, rows: int) -> Tensor:
    """Return TUNING_TOKENS from all over a text, in pieces that become the rows of a batch.

    The first 10,000 tokens of the validation text are harder than the rest: a perplexity of 219 where the whole has
    153, in the small row `shared`. They would choose too flat a mean.
    """
    length = len(text) // rows
    return text[: rows * length].view(rows, length)[:, : max(TUNING_TOKENS // rows, 1)].flatten()


def by_multiplier(row: Row, models: list[LanguageModel], text: Tensor, **drawing: Any) -> list[dict[str, float]]:
    """Return loss and entropy of the mean over draws at several factors of the rates, words kept; 0 is one pass."""
    options: dict[str, Any] = {"window": row.recipe.window, "precision": row.recipe.precision}
    options |= {"batch_size": row.recipe.batch_size, "drop_words": False, **drawing}
    curve = []
    for multiplier in (0.0, *_SHARES):
        settings = {"multiplier": multiplier} if multiplier else {"draws": 0}
        result = perplexity(models, spread(text, row.recipe.batch_size), **(options | settings))
        entropy = float(result.entropy[result.mask].mean()) if result.entropy is not None else float("nan")
        curve.append({"multiplier": multiplier, "loss": float(result.nll), "entropy": entropy})
    return curve


def drawn(name: str, result: TokenPredictive) -> dict[str, Any]:
    """Return perplexity, its Monte Carlo error, the value for infinitely many draws, calibration and uncertainty."""
    scores: dict[str, Any] = {name: result.perplexity}
    if result.block_log_prob is not None:
        scores[f"{name}_standard_error"] = result.perplexity * result.standard_error
        scores[f"{name}_corrected"] = result.perplexity_corrected
    scores[f"{name}_draws"] = result.draws_used
    for part in ("entropy", "aleatoric", "epistemic"):
        value = getattr(result, part)
        if value is not None:
            scores[f"{name}_{part}"] = float(value[result.mask].mean())
    scores[f"{name}_reliability"] = reliability(result)
    return scores


def reliability(result: TokenPredictive, bins: int = 10) -> list[dict[str, float]]:
    """Is a token given 0.3 right 30 % of the time? By bins of the largest probability: its mean, the share of hits."""
    if result.confidence is None or result.correct is None:
        raise ValueError("reliability needs the statistics of a perplexity.")
    confidence, correct = result.confidence[result.mask].double(), result.correct[result.mask].double()
    index = (confidence * bins).long().clamp(max=bins - 1)
    curve = []
    for b in range(bins):
        inside = index == b
        if bool(inside.any()):
            values = {"confidence": confidence[inside].mean(), "correct": correct[inside].mean()}
            curve.append({key: float(value) for key, value in values.items()} | {"tokens": float(inside.sum())})
    return curve
