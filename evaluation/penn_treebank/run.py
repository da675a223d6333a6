"""Train one row, write its result after every epoch, and judge it on the test text when training is done."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayesrnn import perplexity
from bayesrnn.data import Corpus
from bayesrnn.models import LanguageModel
from bayesrnn.nn.masked import masked_modules
from bayesrnn.predictive import TokenPredictive
from bayesrnn.training import History, train_language_model
from bayesrnn.tuning import tune_perplexity
from evaluation import records
from evaluation.penn_treebank.rows import INIT, UNITS, Row


@dataclass(frozen=True)
class Plan:
    """What all rows of a run share."""

    table: str
    size: str
    corpus: Corpus
    work: Path
    results: Path
    seed: int = 0
    members: int = 1
    draws: int = 100
    fraction: float = 1.0
    units: int | None = None
    resume: bool = True
    progress: bool = True
    device: torch.device | str = "cpu"
    data: tuple[Path, ...] = ()

    def name(self, row: Row, members: int = 1) -> str:
        ensemble = f"_ensemble_{members}" if members > 1 else ""
        seed = f"_seed_{self.seed}" if self.seed else ""
        return f"penn_treebank_{self.table}_{self.size}_{row.name}{ensemble}{seed}"

    @property
    def training(self) -> Tensor:
        """The part of the training text that is used: its beginning."""
        whole = self.corpus["train"]
        return whole[: round(len(whole) * self.fraction)]


def run_row(plan: Plan, row: Row) -> list[Path]:
    """Train every member of a row and judge them alone and together."""
    models, written = [], []
    for member in range(plan.members):
        model, path = _single(plan, row, plan.seed + member, judged=member == 0)
        models.append(model)
        written.append(path)
        if plan.members > 1 and len(models) in (2, 5, 10, 38, plan.members):
            written.append(_ensemble(plan, row, models))
    return written


def _single(plan: Plan, row: Row, seed: int, *, judged: bool) -> tuple[LanguageModel, Path]:
    torch.manual_seed(seed)
    units = plan.units or UNITS[plan.size]
    shape: dict[str, Any] = {"embedding_size": units, "hidden_size": units, **row.model}
    model = LanguageModel(
        len(plan.corpus.vocabulary), num_layers=2, dropout=row.scheme, init_range=INIT[plan.size], **shape
    ).to(plan.device)
    result = _description(plan, row, model)
    name = plan.name(row) if judged else f"{plan.name(row)}_member_{seed}"
    folder = plan.work / plan.table / plan.size / f"{row.name}-{seed}"

    def note(history: History) -> None:
        records.save(name, result | {"epochs": epoch_records(history)}, seed=seed, folder=plan.results, data=plan.data)
        print(
            f"{row.name} epoch {history.epochs}/{row.recipe.epochs}: train {history.train_perplexity[-1]:.1f}, valid "
            f"{history.validation_perplexity[-1]:.2f}, {history.words_per_second[-1]:,.0f} words/s",
            flush=True,
        )

    history = train_language_model(
        model,
        plan.training,
        row.recipe,
        validation=plan.corpus["validation"],
        vocabulary=plan.corpus.vocabulary,
        seed=seed,
        checkpoint=folder,
        resume=plan.resume,
        on_epoch=note,
        progress=plan.progress,
    )

    def keep(scores: dict[str, Any]) -> Path:
        result_now = result | {"epochs": epoch_records(history), "scores": scores}
        return records.save(name, result_now, seed=seed, folder=plan.results, data=plan.data)

    scores = _judged(plan, row, [model], keep) if judged else {}
    path = keep(scores)
    if scores:
        print(f"  {row.name}: {_brief(scores)}", flush=True)
    return model, path


def _ensemble(plan: Plan, row: Row, models: list[LanguageModel]) -> Path:
    scores = _judged(plan, row, models)
    result = _description(plan, row, models[0]) | {"members": len(models), "scores": scores}
    print(f"  {row.name}, {len(models)} members: {_brief(scores)}", flush=True)
    name = plan.name(row, len(models))
    return records.save(name, result, seed=plan.seed, folder=plan.results, data=plan.data)


def _judged(
    plan: Plan, row: Row, models: list[LanguageModel], keep: Callable[[dict[str, Any]], object] = lambda scores: None
) -> dict[str, Any]:
    """Return perplexities: deterministic on both texts; Monte Carlo on the test text with words kept and dropped.

    The test text is one stream from a state of zeros, as in the papers' code; every draw counts. `keep` gets what is
    known after each pass, so that a kill loses one pass.
    """
    valid, test = plan.corpus["validation"], plan.corpus["test"]
    options: dict[str, Any] = {"window": row.recipe.window, "precision": row.recipe.precision}
    rows = row.recipe.batch_size
    scores: dict[str, Any] = {
        "valid": perplexity(models, valid, draws=0, batch_size=rows, statistics=False, **options).perplexity,
        "test": perplexity(models, test, draws=0, statistics=False, **options).perplexity,
    }
    keep(scores)
    if not masked_modules(models[0]):
        return scores
    monte_carlo: dict[str, Any] = {"seed": plan.seed, "draws": plan.draws, "progress": plan.progress, **options}
    if row.scheme.placement("word"):
        scores |= _drawn("test_mc_words_kept", perplexity(models, test, drop_words=False, **monte_carlo))
        keep(scores)
    scores |= _drawn("test_mc", perplexity(models, test, **monte_carlo))
    keep(scores)
    if row.tuned:
        tuned = tune_perplexity(models, valid, draws=16, batch_size=rows, seed=plan.seed + 1, **options)
        chosen = {"multiplier": tuned.multiplier, "temperature": tuned.temperature}
        scores |= {"tuned_on_valid": {**chosen, "valid": tuned.perplexity}}
        scores |= _drawn("test_mc_tuned", perplexity(models, test, **chosen, **monte_carlo))
    return scores


def _drawn(name: str, result: TokenPredictive) -> dict[str, Any]:
    """Perplexity, its Monte Carlo error, the value for infinitely many draws, calibration and uncertainty."""
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
    found = []
    for b in range(bins):
        inside = index == b
        if bool(inside.any()):
            values = {
                "confidence": confidence[inside].mean(),
                "correct": correct[inside].mean(),
                "tokens": inside.sum(),
            }
            found.append({key: float(value) for key, value in values.items()})
    return found


def _brief(scores: dict[str, Any]) -> str:
    kept = {
        key: value for key, value in scores.items() if key.startswith(("valid", "test")) and isinstance(value, float)
    }
    return ", ".join(f"{key} {value:.2f}" for key, value in kept.items() if "_e" not in key and "_a" not in key)


def _description(plan: Plan, row: Row, model: LanguageModel) -> dict[str, Any]:
    return {
        "table": plan.table,
        "size": plan.size,
        "row": row.name,
        "scheme": str(row.scheme),
        "model": model.config(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "recipe": row.recipe.to_dict(),
        "training_tokens": len(plan.training),
        "share_of_training_text": round(plan.fraction, 4),
        "published": row.published,
    }


def epoch_records(history: History) -> list[dict[str, Any]]:
    """Return one record per epoch, with the names of the result files."""
    columns = {
        "train_nll": history.train,
        "train_perplexity": history.train_perplexity,
        "valid_nll": history.validation,
        "valid_perplexity": history.validation_perplexity,
        "rate": history.rate,
        "seconds": history.seconds,
        "words_per_second": history.words_per_second,
    }
    return [
        {"epoch": e + 1} | {name: values[e] for name, values in columns.items() if values}
        for e in range(history.epochs)
    ]
