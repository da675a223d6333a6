"""`calibration_report`: is a predictive calibrated, how sharp is it, and what is wrong."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from bayesrnn._checks import check_level, check_levels
from bayesrnn.metrics import Score
from bayesrnn.metrics.bootstrap import FEWEST_SEQUENCES, unwarned
from bayesrnn.metrics.groups import rows_by_group
from bayesrnn.metrics.pairs import Pairs, pair
from bayesrnn.metrics.registry import Measure, measures_for
from bayesrnn.predictive import ClassPredictive, Predictive
from bayesrnn.report.breakdown import by_frequency, by_group, by_step, score_parts
from bayesrnn.report.chance import with_effective_floors
from bayesrnn.report.findings import drawn, findings
from bayesrnn.report.format import capital
from bayesrnn.report.guards import guards
from bayesrnn.report.result import CalibrationReport


@unwarned()
def calibration_report(
    predictive: Predictive,
    target: Any = None,
    groups: Sequence[Any] | Tensor | None = None,
    *,
    level: float = 0.9,
    levels: Sequence[float] = (0.5, 0.8, 0.95),
    sequences: Any = None,
    mask: Tensor | None = None,
    lengths: Tensor | None = None,
    nan: str = "raise",
    interval: float = 0.95,
    monte_carlo: bool = True,
    resamples: int = 1000,
    seed: int = 0,
    units: str = "",
    title: str = "Calibration report",
    token_counts: Tensor | None = None,
) -> CalibrationReport:
    """Judge a predictive: every score with its errors, findings in words, pictures, and a page.

    Every figure carries its value, a bootstrap interval over sequences (steps of one sequence depend on one another),
    the Monte Carlo error of finite draws, the value corrected for finite draws, and, for calibration errors, what a
    perfectly calibrated model of this sample size would score.

    Args:
        predictive: Of a continuous, count or class target, or of a token stream.
        target: What happened, (rows, ...); classes by number, or by name where the predictive has `class_names`; a
            token predictive knows its own.
        groups: A label for each row: the report also looks at each group.
        level: Level of the intervals that the sentences speak about.
        levels: Levels whose coverage is measured, beside `level`.
        sequences: Sequence id of each row or target for the bootstrap; the predictive's own ids, else rows, by default.
        mask: (rows, ...) bool, True where a target is scored.
        lengths: (rows,) steps scored in each row.
        nan: "raise" refuses NaN targets, "drop" leaves them out and says how many.
        interval: Level of the bootstrap intervals.
        monte_carlo: Whether to compute errors and corrections for finite draws (a jackknife over blocks of draws).
        resamples: Bootstrap resamples.
        seed: Seed of the bootstrap and of simulated floors.
        units: Units of the target, for sentences and pictures.
        title: Title of the page.
        token_counts: How often each token occurs in the training text, (vocabulary,), for the bands of frequency.

    Raises:
        ValueError: If shapes differ, the target holds NaN, or a level is not in (0, 1).

    Example:
        >>> import torch
        >>> y = torch.randn(300, generator=torch.Generator().manual_seed(0))
        >>> report = calibration_report(Predictive.from_gaussian(torch.zeros(300), torch.ones(300)), y)
        >>> "no miscalibration is detected" in report.sentence
        True
    """
    check_level(level)
    check_level(interval, "interval")
    if isinstance(predictive, ClassPredictive):
        target = predictive.numbered(target)
    chosen = {"mask": mask, "lengths": lengths, "nan": nan, "sequences": sequences}
    pairs = pair(predictive, target, chosen)  # type: ignore[arg-type]
    base: dict[str, Any] = {**chosen, "seed": seed, "resamples": resamples}
    options = {**base, "interval": interval if int(pairs.sequences.max()) > 0 else None}
    members = None if groups is None else rows_by_group(groups, len(predictive))
    measures = measures_for(predictive, [*check_levels(levels), level])
    scores, notes = _scores(predictive, target, measures, {**options, "monte_carlo": monte_carlo, "floor": True})
    scores = with_effective_floors(pairs, scores)
    simulated = {"seed": seed, "resamples": resamples}
    tables = {
        "horizon": score_parts(pairs, by_step(pairs), level, simulated, interval),
        "group": score_parts(pairs, by_group(pairs, members) if members else [], level, simulated, interval),
        "frequency": score_parts(pairs, by_frequency(pairs, token_counts), level, simulated, interval),
    }
    return CalibrationReport(
        predictive=predictive,
        target=target,
        measures=[m for m in measures if m.key in scores],
        scores=scores,
        findings=findings(predictive, target, scores, level, chosen, units),
        warnings=guards(pairs, {m.label: scores[m.key] for m in measures if m.key in scores}, level)
        + _small_groups(tables["group"]),
        notes=notes,
        tables={name: rows for name, rows in tables.items() if rows},
        groups=groups,
        level=level,
        units=units,
        title=title,
        facts=_facts(pairs, predictive, interval, seed),
        options={k: v for k, v in base.items() if k != "resamples" and v is not None},
    )


def _scores(
    predictive: Predictive, target: Any, measures: list[Measure], options: dict[str, Any]
) -> tuple[dict[str, Score], list[str]]:
    scores, notes = {}, []
    for measure in measures:
        try:
            scores[measure.key] = measure.score(predictive, target, **options)
        except ValueError as error:
            notes.append(f"{capital(measure.label)} is missing: {error}")
    return scores, notes


def _facts(pairs: Pairs, predictive: Predictive, interval: float, seed: int) -> dict[str, Any]:
    return {
        "targets": int(pairs.keep.sum()),
        "sequences": int(pairs.sequences.max()) + 1,
        "dropped": pairs.dropped,
        "draws": predictive.draws_used,
        "made by": drawn(predictive),
        "dtype": str(predictive.dtype).removeprefix("torch."),  # type: ignore[attr-defined]
        "bootstrap level": interval,
        "bootstrap seed": seed,
    }


def _small_groups(rows: list[dict[str, Any]]) -> list[str]:
    small = [
        f"{row['part']} ({row['targets']} of {row['sequences']})"
        for row in rows
        if row["targets"] < 30 or row["sequences"] < FEWEST_SEQUENCES
    ]
    if not small:
        return []
    return [
        f"Groups with fewer than 30 targets or {FEWEST_SEQUENCES} sequences say little (targets of sequences): "
        f"{', '.join(small)}."
    ]
