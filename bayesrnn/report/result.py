"""A calibration report: its figures, sentences, pictures and page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bayesrnn.metrics import ConfusionMatrix, Score, confusion_matrix
from bayesrnn.metrics.registry import Measure
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive, Predictive, TokenPredictive
from bayesrnn.report.exhibit import Exhibit, Picture
from bayesrnn.report.findings import Finding
from bayesrnn.report.format import fixed, number, span, text_table
from bayesrnn.report.page import Page
from bayesrnn.report.pictures import confidence_pictures, continuous_pictures, part_pictures
from bayesrnn.report.tables import add_classes, folded, part_row

if TYPE_CHECKING:
    from pandas import DataFrame

_KEY = {
    "draws": "draws: 95 % interval (by t) of the error of finite draws; corrected: without it;",
    "chance": "chance: what a calibrated model of this size would score.",
}


@dataclass(frozen=True, eq=False, repr=False)
class CalibrationReport(Exhibit):
    """What a report says about a predictive.

    Attributes:
        predictive: What was judged.
        target: What happened.
        measures: What was measured, in the order of the table.
        scores: Score of each measure, by its key.
        findings: What the scores say, most important first.
        warnings: What to know before trusting them.
        notes: What could not be computed, and why.
        tables: "horizon", "group" and "frequency": records for parts of the data.
        groups: Label of each row.
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
    groups: Sequence[Any] | Tensor | None
    level: float
    units: str
    title: str
    facts: dict[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """The most important finding, in one sentence."""
        if self.findings:
            return self.findings[0].text
        return "Nothing can be said: see the notes for what could not be computed."

    @property
    def table(self) -> "DataFrame":
        """One line per figure: value, interval, Monte Carlo error, corrected value, floor, sizes, definition."""
        from pandas import DataFrame

        return DataFrame([self._record(m) for m in self.measures])

    @property
    def confusion(self) -> ConfusionMatrix | None:
        """Which class was predicted for which, where the predictive is of classes."""
        if not isinstance(self.predictive, ClassPredictive):
            return None
        return confusion_matrix(self.predictive, self.target, **self.options)

    def files(self) -> dict[str, str | bytes]:
        """Return the contents of the files beside page and pictures, by their names."""
        matrix = {} if self.confusion is None else {"confusion_matrix.csv": self.confusion.to_frame().to_csv()}
        return super().files() | matrix

    def pictures(self) -> dict[str, Picture]:
        """Return every picture by its name; nothing is drawn yet."""
        predictive, target, options = self.predictive, self.target, self.options
        if isinstance(predictive, ContinuousPredictive):
            return continuous_pictures(
                predictive, target, self.scores, level=self.level, units=self.units, groups=self.groups, options=options
            )
        tokens = isinstance(predictive, TokenPredictive)
        parts = part_pictures(self.tables, tokens=tokens)
        return {**confidence_pictures(predictive, target, self.scores, options), **parts}

    def page(self, images: Mapping[str, bytes]) -> Page:
        """Return the page; `images` holds the PNG bytes of each picture by its name."""
        page = Page(self.title)
        for finding in self.findings:
            page.say(finding.text, finding.tone)
        facts = self.facts
        page.facts(
            f"{self._small_print} · intervals: {100 * facts['bootstrap level']:g} % bootstrap over whole sequences, "
            f"seed {facts['bootstrap seed']}; intervals of calibration errors allow for what chance adds to them."
        )
        if self.warnings:
            page.section("Before you trust these numbers")
            for warning in self.warnings:
                page.say(warning, "warn")
        if images:
            page.section("Pictures")
            for name, picture in self.pictures().items():
                page.picture(images[name], picture.text, picture.text)
        page.section(
            "Every figure",
            "Rank models by the scores (CRPS, likelihood, Brier); the calibration numbers say what to repair, and mean "
            "nothing below what a calibrated model of this size would score.",
        )
        page.table([self._row(m) for m in self.measures])
        steps = "By horizon" if isinstance(self.predictive, ContinuousPredictive) else "By position"
        for name, title in (("horizon", steps), ("group", "By group"), ("frequency", "By frequency")):
            if name in self.tables:
                rows = [part_row(row, name) for row in self.tables[name]]
                page.section(title).table(rows, folded=folded(rows))
        if self.confusion is not None:
            add_classes(page, self.confusion)
        if self.notes:
            page.section("What is missing, and why")
            for note in self.notes:
                page.text(note)
        definitions = [{"figure": m.label, "definition": self.scores[m.key].definition} for m in self.measures]
        return page.section("Definitions").table(definitions, folded="What exactly each figure is")

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
            **({} if self.confusion is None else {"by_class": self.confusion.by_class().to_dict("records")}),
        }

    def __str__(self) -> str:
        lines = [self.title, *(f.text for f in self.findings), ""]
        lines += [f"! {warning}" for warning in self.warnings]
        lines.append(self._small_print)
        level = f"{100 * self.facts['bootstrap level']:g} % interval"
        rows: list[tuple[str, ...]] = [
            ("figure", "value", level, "draws", "corrected" if self.predictive.draws_used > 1 else "chance")
        ]
        rows += [self._cells(measure) for measure in self.measures]
        columns = [column for column in zip(*rows, strict=True) if any(column[1:])]  # no draws: nothing to say of them
        key = [line for word, line in _KEY.items() if any(word in cell for column in columns for cell in column)]
        return "\n".join([*lines, *text_table(list(zip(*columns, strict=True))), *key, *self.notes])

    @property
    def _small_print(self) -> str:
        facts, units = self.facts, f" · target in {self.units}" if self.units else ""
        dropped = f" · {facts['dropped']} dropped" if facts["dropped"] else ""
        return f"{facts['targets']} targets of {facts['sequences']} sequences · {facts['made by']}{dropped}{units}"

    def _cells(self, measure: Measure) -> tuple[str, ...]:
        score, share = self.scores[measure.key], measure.unit == "share"
        scale = 100.0 if share else 1.0
        ends = None if score.interval is None else (scale * score.interval[0], scale * score.interval[1])
        value, interval = fixed(scale * score.value, ends)
        error = _draws_error(score)
        corrected = "" if score.corrected is None or score.draws < 2 else number(score.corrected, 4)
        if score.floor is not None:
            corrected = f"{'chance ' if score.draws > 1 else ''}{number(score.floor, 2)}"
        draws = f"±{number(scale * error, 2)}" if error else ""
        return measure.label, f"{value} %" if share else value, interval, draws, corrected

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
            "degrees_of_freedom": score.degrees_of_freedom,
            "corrected": score.corrected,
            "floor": score.floor,
            "n": score.n,
            "sequences": score.sequences,
            "draws": score.draws,
            "definition": score.definition,
        }

    def _row(self, measure: Measure) -> dict[str, Any]:
        score = self.scores[measure.key]
        unit, error = measure.units(self.units), _draws_error(score)
        return {
            "figure": f"{measure.label} [{unit}]" if unit else measure.label,
            "better": measure.wish,
            "value": number(score.value, 4),
            f"{100 * self.facts['bootstrap level']:g} % interval": ""
            if score.interval is None
            else span(*score.interval),
            "finite draws, 95 % by t": "" if error is None else f"± {number(error, 2)}",
            "corrected": "" if score.corrected is None else number(score.corrected, 4),
            "calibrated model": "" if score.floor is None else number(score.floor, 2),
        }


def _draws_error(score: Score) -> float | None:
    """Return half the 95 % interval of finite draws, None where it is unknown."""
    ends = score.draws_interval()
    return None if ends is None else (ends[1] - ends[0]) / 2
