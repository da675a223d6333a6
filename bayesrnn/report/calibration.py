"""`calibration_report`: is a predictive calibrated, how sharp is it, and what is wrong."""

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bayesrnn._checks import check_level
from bayesrnn._files import atomic_write
from bayesrnn.metrics import Score
from bayesrnn.metrics.pairs import Pairs, pair
from bayesrnn.metrics.registry import Measure, measures_for
from bayesrnn.plots.groups import row_labels
from bayesrnn.predictive import Predictive
from bayesrnn.report.breakdown import by_frequency, by_group, by_step, score_parts
from bayesrnn.report.findings import Finding, drawn, findings, guards
from bayesrnn.report.page import number, plain, write_pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

__all__ = ["CalibrationReport", "calibration_report"]


def calibration_report(
    predictive: Predictive,
    target: Any = None,
    groups: Sequence[Any] | Tensor | None = None,
    *,
    level: float = 0.9,
    levels: Sequence[float] = (0.5, 0.8, 0.9, 0.95),
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
) -> "CalibrationReport":
    """Judge a predictive: every figure with its errors, what is wrong in words, pictures, and a page that says it all.

    Every figure carries its value, a bootstrap interval over sequences (steps of one sequence depend on one another),
    the Monte Carlo error of finite draws, the value corrected for finite draws, and, for calibration errors, what a
    perfectly calibrated model of this sample size would score.

    Args:
        predictive: Of a continuous, count or class target, or of a token stream.
        target: What happened, (rows, ...); a token predictive knows its own.
        groups: A label for each row: the report also looks at each group.
        level: Level of the intervals that the sentences speak about.
        levels: Levels whose coverage is measured.
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
        >>> "no miscalibration can be told" in report.sentence
        True
    """
    check_level(level)
    check_level(interval, "interval")
    chosen = {"mask": mask, "lengths": lengths, "nan": nan, "sequences": sequences}
    pairs = pair(predictive, target, chosen)  # type: ignore[arg-type]
    base: dict[str, Any] = {**chosen, "seed": seed, "resamples": resamples}
    options = {**base, "interval": interval if int(pairs.sequences.max()) > 0 else None}
    labels = None if groups is None else row_labels(groups, len(predictive))  # type: ignore[arg-type]
    measures = measures_for(predictive, sorted({*levels, level}))
    scores, notes = _scores(predictive, target, measures, {**options, "monte_carlo": monte_carlo, "floor": True})
    simulated = {"seed": seed, "resamples": resamples}
    tables = {
        "horizon": score_parts(pairs, by_step(pairs), level, simulated, interval),
        "group": score_parts(pairs, by_group(pairs, labels) if labels else [], level, simulated, interval),
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
        labels=labels,
        level=level,
        units=units,
        title=title,
        facts=_facts(pairs, predictive, interval, seed),
        options={k: v for k, v in base.items() if k != "resamples" and v is not None},
    )


@dataclass(frozen=True, eq=False, repr=False)
class CalibrationReport:
    """What was found out about a predictive.

    Attributes:
        predictive: What was judged.
        target: What happened.
        measures: What was measured, in the order of the table.
        scores: Score of each measure, by its key.
        findings: What the scores say, most important first.
        warnings: What to know before trusting them.
        notes: What could not be computed, and why.
        tables: "horizon", "group" and "frequency": records for parts of the data.
        labels: Group of each row.
        level: Level of the intervals spoken about.
        units: Units of the target.
        title: Title of the page.
        facts: Numbers of targets, sequences, draws; seed; level of the bootstrap.
        options: mask, lengths, nan, sequences and seed that were scored with.
    """

    predictive: Predictive
    target: Any
    measures: list[Measure]
    scores: dict[str, Score]
    findings: list[Finding]
    warnings: list[str]
    notes: list[str]
    tables: dict[str, list[dict[str, Any]]]
    labels: list[str] | None
    level: float
    units: str
    title: str
    facts: dict[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """What is wrong, or that nothing can be told to be, in one plain sentence."""
        if self.findings:
            return self.findings[0].text
        return "Nothing can be said: see the notes for what could not be computed."

    @property
    def table(self) -> "DataFrame":
        """One line a figure: value, interval, Monte Carlo error, corrected value, floor, sizes, definition."""
        from pandas import DataFrame

        return DataFrame([self._record(m) for m in self.measures])

    def picture(self, name: str, ax: "Axes | None" = None) -> "Axes":
        """Draw one of `picture_names`."""
        drawers = self._pictures()
        if name not in drawers:
            raise ValueError(f"there is no picture {name!r}: legal are {', '.join(drawers)}.")
        return drawers[name][0](ax)

    @property
    def picture_names(self) -> list[str]:
        """Names of the pictures that `picture` draws."""
        return list(self._pictures())

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write report.html (self-contained), metrics.json, metrics.csv and the pictures as PNG and SVG.

        Every file appears whole or not at all. Returns the path of the page.
        """
        from bayesrnn.report.show import page

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        pictures = self._pictures()
        images = write_pictures(folder, {name: draw for name, (draw, _) in pictures.items()})
        atomic_write(folder / "metrics.json", json.dumps(plain(self.to_dict()), indent=2, ensure_ascii=False))
        atomic_write(folder / "metrics.csv", self.table.to_csv(index=False))
        said = {name: words for name, (_, words) in pictures.items()}
        return page(self, images, said).save(folder / "report.html")

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the predictive and the target as JSON values."""
        return {
            "title": self.title,
            "sentence": self.sentence,
            "findings": [vars(f) for f in self.findings],
            "warnings": self.warnings,
            "notes": self.notes,
            "facts": self.facts,
            "level": self.level,
            "units": self.units,
            "metrics": {
                m.key: {**self.scores[m.key].to_dict(), "label": m.label, "better": m.wish} for m in self.measures
            },
            **{f"by_{name}": rows for name, rows in self.tables.items()},
        }

    def __str__(self) -> str:
        lines = [self.title, *(f.text for f in self.findings), ""]
        lines += [f"! {warning}" for warning in self.warnings]
        lines.append(", ".join(f"{key} {value}" for key, value in self.facts.items()))
        width = max((len(m.label) for m in self.measures), default=0)
        for measure in self.measures:
            score = self.scores[measure.key]
            ends = "" if score.interval is None else f" [{number(score.interval[0])}, {number(score.interval[1])}]"
            more = [
                f"{name} {number(value, digits)}"
                for name, value, digits in (
                    ("±", score.standard_error, 2),
                    ("corrected", score.corrected, 4),
                    ("calibrated model", score.floor, 2),
                )
                if value is not None and not (name == "±" and value == 0)
            ]
            lines.append(f"{measure.label:<{width}}  {number(score.value, 4):>9}{ends}  {', '.join(more)}".rstrip())
        return "\n".join([*lines, *self.notes])

    __repr__ = __str__

    def _record(self, measure: Measure) -> dict[str, Any]:
        score = self.scores[measure.key]
        low, high = score.interval or (math.nan, math.nan)
        return {
            "metric": measure.key,
            "label": measure.label,
            "better": measure.wish,
            "value": score.value,
            "low": low,
            "high": high,
            "standard_error": score.standard_error,
            "corrected": score.corrected,
            "floor": score.floor,
            "n": score.n,
            "sequences": score.sequences,
            "draws": score.draws,
            "definition": score.definition,
        }

    def _pictures(self) -> "dict[str, tuple[Callable[[Any], Axes], str]]":
        from bayesrnn.report.show import pictures

        return pictures(self)


def _scores(
    predictive: Predictive, target: Any, measures: list[Measure], options: dict[str, Any]
) -> tuple[dict[str, Score], list[str]]:
    scores, notes = {}, []
    for measure in measures:
        try:
            scores[measure.key] = measure.score(predictive, target, **options)
        except ValueError as error:
            notes.append(f"{measure.label[:1].upper()}{measure.label[1:]} is missing: {error}")
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
    small = [f"{row['part']} ({row['targets']})" for row in rows if row["targets"] < 30]
    return [f"Groups with fewer than 30 targets, to be read loosely: {', '.join(small)}."] if small else []
