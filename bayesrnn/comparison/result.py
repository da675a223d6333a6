"""The result of a comparison: table, sentence, pictures, page, files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from bayesrnn import plots
from bayesrnn.comparison.curve import Curve
from bayesrnn.comparison.difference import Difference
from bayesrnn.metrics import Score
from bayesrnn.metrics.bootstrap import FEW_SEQUENCES
from bayesrnn.metrics.registry import Verdict
from bayesrnn.plots.style import Axes
from bayesrnn.predictive import ContinuousPredictive, Predictive
from bayesrnn.report.exhibit import Exhibit, Picture
from bayesrnn.report.format import listed, number, percent, seconds, text_table
from bayesrnn.report.page import Page, Tone

if TYPE_CHECKING:
    from pandas import DataFrame

_DISTANCES = "Numbers with an ideal (coverages): the change of the distance from it."
_TONES: dict[Verdict, Tone] = {Verdict.BETTER: "good", Verdict.WORSE: "bad"}


@dataclass(frozen=True)
class Cost:
    """What a predictive cost: passes through the model for each row, and seconds in all."""

    passes: int
    seconds: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Exhibit):
    """Predictives of the same targets, each compared with a reference in pairs.

    Attributes:
        predictives: By name.
        target: What happened.
        reference: Name of the reference.
        differences: One for each predictive and metric; the ranking score first.
        scores: Name → metric → score.
        by_group: Group → differences in the ranking score.
        notes: What could not be computed, and why.
        units: Units of the target.
        costs: Name → cost.
        curves: Scores against the number of draws.
        options: mask, lengths, nan, sequences and seed that were scored with.
    """

    page_name: ClassVar[str] = "comparison"
    data_name: ClassVar[str] = "comparison"

    predictives: dict[str, Predictive]
    target: Any
    reference: str
    differences: list[Difference]
    scores: dict[str, dict[str, Score]]
    by_group: dict[str, list[Difference]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    units: str = ""
    costs: dict[str, Cost] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    options: Mapping[str, Any] = field(default_factory=dict)

    def difference(self, metric: str, name: str | None = None) -> Difference:
        """Return the difference in a metric (its key, e.g. "crps"); `name` chooses among several predictives.

        Raises:
            KeyError: If there is none.
        """
        for difference in self.differences:
            if difference.measure.key == metric and name in (None, difference.name):
                return difference
        legal = sorted({d.measure.key for d in self.differences})
        raise KeyError(f"no difference in {metric!r}{f' of {name!r}' if name else ''}; metrics are {legal}.")

    @property
    def others(self) -> list[str]:
        """Names of the predictives that are not the reference."""
        return [name for name in self.predictives if name != self.reference]

    @property
    def warnings(self) -> list[str]:
        """What to know before trusting the intervals."""
        score = self.differences[0].score
        if score.sequences >= FEW_SEQUENCES or score.method != "bootstrap":
            return []
        return [
            f"Only {score.sequences} independent sequences: the bootstrap intervals are rough and rather too narrow; "
            'method="student" gives t intervals.'
        ]

    @property
    def table(self) -> "DataFrame":
        """One line for each predictive and metric."""
        from pandas import DataFrame

        return DataFrame([d.record() for d in self.differences])

    @property
    def sentence(self) -> str:
        """What the comparison says, in words; one paragraph for each predictive."""
        return "\n".join(self.verdict(name) for name in self.others)

    def verdict(self, name: str) -> str:
        """Return in words how one predictive does against the reference."""
        first, *others = (d for d in self.differences if d.name == name and d.measure.better != "neither")
        parts = [first.sentence(self.units)]
        if others:
            better, worse = (sum(d.verdict is verdict for d in others) for verdict in (Verdict.BETTER, Verdict.WORSE))
            clear = (
                f"{better or 'none'} {'are' if better > 1 else 'is'} clearly better and {worse or 'none'} clearly worse"
            )
            parts.append(f"Of {len(others)} other scores {clear}.")
        return " ".join([*parts, *self._cost_sentence(name)])

    def pictures(self) -> dict[str, Picture]:
        """Return every picture by its name; nothing is drawn yet."""
        known: dict[str, Picture] = {}
        for k, name in enumerate(self.others):
            draw = partial(self._forest, name)
            known["differences" if k == 0 else f"differences_{k + 1}"] = Picture(draw, self.verdict(name))
        options = {k: v for k, v in self.options.items() if v is not None} | {"units": self.units}
        continuous = isinstance(self.predictives[self.reference], ContinuousPredictive)
        if continuous and all("coverage_90" in s and "width_90" in s for s in self.scores.values()):
            text = self._widths()
            known["coverage_width"] = Picture.of(plots.coverage_width, text, self.predictives, self.target, **options)
        if all("aurc_mean_ties_avg" in s for s in self.scores.values()):
            text = "Error of the targets kept when the least certain are refused first."
            known["risk_coverage"] = Picture.of(plots.risk_coverage, text, self.predictives, self.target, **options)
        for curve in self.curves:
            text = f"{curve.label} against the number of draws."
            known[f"draws_{curve.name}"] = Picture(partial(self._draws, curve), text)
        return known

    def page(self, images: Mapping[str, bytes]) -> Page:
        """Return the page; `images` holds the PNG bytes of each picture by its name."""
        first = self.differences[0]
        page = Page(f"{listed(self.others)} against {self.reference}")
        for name in self.others:
            verdict = next(d.verdict for d in self.differences if d.name == name)
            page.say(self.verdict(name), _TONES.get(verdict, "plain"))
        page.facts(
            f"{first.score.n} targets of {first.score.sequences} sequences. Every interval is a {100 * first.level:g} "
            "% paired bootstrap over whole sequences, each metric on its own. Rank models by the first score; the "
            "calibration numbers say what to repair."
        )
        for warning in self.warnings:
            page.say(warning, "warn")
        page.section("Pictures")
        for name, picture in self.pictures().items():
            page.picture(images[name], picture.text, "" if name.startswith("differences") else picture.text)
        named = len(self.others) > 1
        distances = _DISTANCES if any(d.measure.better == "near" for d in self.differences) else ""
        page.section("Every metric", distances).table([d.row(named=named) for d in self.differences])
        if self.by_group:
            page.section(f"By group: {first.measure.label}")
            page.table([{"group": g, **d.row(named=True)} for g, members in self.by_group.items() for d in members])
        if self.costs:
            rows = [{"predictive": n, "passes": c.passes, "seconds": c.seconds} for n, c in self.costs.items()]
            page.section("Cost").table(rows)
        if self.notes:
            page.section("What is missing, and why")
            for note in self.notes:
                page.text(note)
        return page

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the predictives as JSON values."""
        return {
            "reference": self.reference,
            "sentence": self.sentence,
            "units": self.units,
            "differences": [d.record() for d in self.differences],
            "by_group": {g: [d.record() for d in members] for g, members in self.by_group.items()},
            "costs": {name: vars(cost) for name, cost in self.costs.items()},
            "curves": [vars(curve) for curve in self.curves],
            "warnings": self.warnings,
            "notes": self.notes,
            "level": self.differences[0].level,
        }

    def __str__(self) -> str:
        lines = [self.sentence, *(f"! {warning}" for warning in self.warnings), ""]
        for name in self.others:
            rows: list[tuple[str, ...]] = [("metric", "value", "against", "change", "interval", "")]
            rows += [d.cells() for d in self.differences if d.name == name]
            lines += [f"{name} against {self.reference}:"] if len(self.others) > 1 else []
            lines += text_table(rows)
        if any(d.measure.better == "near" for d in self.differences):
            lines.append(_DISTANCES)
        if any(d.verdict is Verdict.UNDECIDED for d in self.differences):
            lines.append("–: no clear difference.")
        return "\n".join([*lines, *self.notes])

    def _forest(self, name: str, ax: Axes | None) -> Axes:
        kinds = {"neither", "bias", "mean_squared_z"}
        shown = [d for d in self.differences if d.name == name and not {d.measure.better, d.measure.key} & kinds]
        return plots.forest(
            [d.measure.label for d in shown],
            [100 * d.relative for d in shown],
            [100 * d.loss_interval[0] / d.base for d in shown],
            [100 * d.loss_interval[1] / d.base for d in shown],
            notes=[f"{number(d.score.value)} against {number(d.reference_score.value)}" for d in shown],
            title=f"{name} against {self.reference}",
            xlabel="left: better · % of the reference, or points, or 0.01 nats",
            ax=ax,
        )

    def _draws(self, curve: Curve, ax: Axes | None) -> Axes:
        known = not any(error is None for error in curve.standard_errors)
        score = self.scores[self.reference].get(curve.name)
        return plots.convergence(
            curve.draws,
            curve.values,
            [float(error or 0) for error in curve.standard_errors] if known else None,
            reference=None if score is None else score.value,
            reference_name=self.reference,
            ylabel=curve.label,
            ax=ax,
        )

    def _widths(self) -> str:
        unit = f" {self.units}" if self.units else ""
        parts = [
            f"{name} holds {percent(s['coverage_90'].value)} in 90 % intervals of mean width "
            f"{number(s['width_90'].value)}{unit}"
            for name, s in self.scores.items()
        ]
        return f"Coverage against mean width of central intervals: {'; '.join(parts)}."

    def _cost_sentence(self, name: str) -> list[str]:
        mine, other = self.costs.get(name), self.costs.get(self.reference)
        if mine is None or other is None:
            return []
        text = f"It costs {mine.passes} {'pass' if mine.passes == 1 else 'passes'} instead of {other.passes}"
        if mine.seconds is not None and other.seconds is not None:
            text += f" ({seconds(mine.seconds)} instead of {seconds(other.seconds)} for these rows)"
        return [f"{text}."]
