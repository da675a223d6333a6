"""A run judged on labelled rows: report, comparison with the deterministic pass, sets, abstention."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesrnn._files import atomic_write
from bayesrnn.comparison import Comparison, compare_predictives
from bayesrnn.data.labelled import Labelled
from bayesrnn.metrics.registry import Verdict
from bayesrnn.report import CalibrationReport, calibration_report
from bayesrnn.report.format import listed, number, percent
from bayesrnn.tables.model import SequenceRun

if TYPE_CHECKING:
    from pandas import DataFrame

_RISKS = (0.01, 0.02, 0.05, 0.1, 0.2)
_PLAIN, _DRAWN, _FINAL = "deterministic pass", "MC dropout", "MC dropout, recalibrated"
_ENDINGS = {
    Verdict.BETTER: "The last is clearly better than the first.",
    Verdict.WORSE: "The last is clearly worse than the first.",
    Verdict.UNDECIDED: "Between the last and the first there is no clear difference.",
}
_PASSES = {_PLAIN: "in one pass without masks", _DRAWN: "with masks", _FINAL: "with masks and recalibrated"}


@dataclass(frozen=True, eq=False)
class Judgement:
    """What labelled rows say about a run.

    Attributes:
        report: Calibration report of the recalibrated predictive.
        comparison: MC dropout against the deterministic pass on the same rows.
        sets: Coverage and size of the conformal sets: all, by class, by group; None where there are none.
        abstention: Per accepted risk: threshold, share answered, share wrong among the answers; None for numbers.
        predictions: One line per row, with what happened.
        shortage: How many calibration rows would be needed, where no threshold keeps to a risk of 5 %; else empty.
    """

    report: CalibrationReport
    comparison: Comparison
    sets: "DataFrame | None"
    abstention: "DataFrame | None"
    predictions: "DataFrame"
    shortage: str

    @property
    def sentences(self) -> list[str]:
        """The results in sentences, most important first."""
        lines = [self.report.sentence, *self._learned_nothing(), self._with_and_without_masks()]
        if self.sets is not None:
            row = self.sets.iloc[0]
            lines.append(
                f"The {100 * self.level:g} % sets hold the true class of {percent(row['coverage'])} of the rows "
                f"({percent(row['low'])} to {percent(row['high'])}), with {row['size']:.2f} classes on average."
            )
        if self.abstention is not None:
            row = self.abstention[self.abstention["risk"] == 0.05].iloc[0]
            said = f"{percent(row['wrong'])} of them are wrong." if row["answered"] else self.shortage
            answered = f"{100 * row['answered']:.0f} % of the rows"
            lines.append(f"Accepting 5 % wrong answers, {answered} are answered; {said}")
        return lines

    def _learned_nothing(self) -> list[str]:
        """Return a warning if a constant answer does as well: the most frequent class, or the mean."""
        observed = self.predictions["observed"]
        if "accuracy" in self.report.scores:
            score, (name, *_), share = self.report.scores["accuracy"], observed.mode(), observed.value_counts().max()
            share = float(share) / len(observed)
            as_well = score.value <= share if score.interval is None else score.interval[0] <= share
            answer = f"to answer {name!r} each time, which is right in {percent(share)}"
        else:
            score, spread = self.report.scores["rmse"], float(observed.astype(float).std(ddof=0))
            as_well = score.value >= spread if score.interval is None else score.interval[1] >= spread
            answer = f"to answer with the mean each time, which is off by {number(spread)} (root mean square)"
        if not as_well:
            return []
        return [f"It is not shown to be better than {answer}: give more rows, or train longer (without --quick)."]

    def _with_and_without_masks(self) -> str:
        """Return the score that ranks of the deterministic pass and of the draws, in one sentence."""
        first, *rest = self.comparison.differences
        last = [d for d in (first, *rest) if d.measure.key == first.measure.key][-1]
        values = {name: scores[last.measure.key].value for name, scores in self.comparison.scores.items()}
        words = [f"{number(value)} {_PASSES.get(name, name)}" for name, value in values.items()]
        name = {"nll": "Log loss", "crps": "Error (CRPS)"}.get(last.measure.key, last.measure.label)
        return f"{name}, lower is better: {listed(words)}. {_ENDINGS[last.verdict]}"

    @property
    def level(self) -> float:
        """Level of the sets."""
        return 0.9

    def scores(self) -> dict[str, float]:
        """Return the figures of a list of runs: accuracy and nll, or RMSE, CRPS and coverage."""
        wanted = ("accuracy", "nll", "brier", "rmse", "crps", "coverage_80", "coverage_95")
        scores = {name: self.report.scores[name].value for name in wanted if name in self.report.scores}
        return scores | ({} if self.sets is None else {"set_coverage": float(self.sets.iloc[0]["coverage"])})

    def save(self, folder: Path) -> None:
        """Write the two pages with their pictures, and the tables."""
        self.report.save(folder / "report")
        self.comparison.save(folder / "comparison")
        tables = {"sets": self.sets, "abstention": self.abstention, "held_out": self.predictions}
        for name, table in tables.items():
            if table is not None:
                atomic_write(folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))


def judge(
    run: SequenceRun,
    data: Labelled,
    *,
    title: str = "Calibration report",
    level: float = 0.9,
    resamples: int = 1000,
) -> Judgement:
    """Judge a run on labelled rows that it has not seen.

    Raises:
        ValueError: If the rows have no targets, or a class that the model does not know.
    """
    target = run.targets(data)
    predictives = _predictives(run, data)
    final = predictives[next(reversed(predictives))]
    groups = None if data.groups is None else [str(group) for group in data.groups]
    frame = run.frame(data, final, level=level)
    observed = [run.labels[k] for k in target.tolist()] if run.kind == "classify" else target.numpy()
    frame.insert(1, "observed", observed)
    return Judgement(
        report=calibration_report(final, target, groups, title=title, resamples=resamples),
        comparison=compare_predictives(predictives, target, groups=groups, resamples=resamples),
        sets=None if run.sets is None else run.sets.apply(final, data.groups, level=level).coverage(target, groups),
        abstention=_abstention(run, frame),
        predictions=frame,
        shortage=run.shortage(0.05),
    )


def compared(run: SequenceRun, data: Labelled) -> Comparison:
    """Compare MC dropout, raw and recalibrated, with the deterministic pass on labelled rows."""
    groups = None if data.groups is None else [str(group) for group in data.groups]
    return compare_predictives(_predictives(run, data), run.targets(data), groups=groups)


def _predictives(run: SequenceRun, data: Labelled) -> dict[str, Any]:
    """Return the predictives of the same rows by name, the one that predictions use last."""
    raw = run.raw(data)
    named = {_PLAIN: run.raw(data, 0), _DRAWN: raw}
    return named | ({} if run.recalibration is None else {_FINAL: run.recalibration.apply(raw)})


def _abstention(run: SequenceRun, frame: Any) -> "DataFrame | None":
    from pandas import DataFrame

    if run.held_out is None:
        return None
    lines = []
    for risk in _RISKS:
        threshold = run.threshold(risk)
        answered = frame[frame["confidence"] >= threshold]
        wrong = float((answered["predicted"] != answered["observed"]).mean()) if len(answered) else float("nan")
        lines.append({"risk": risk, "threshold": threshold, "answered": len(answered) / len(frame), "wrong": wrong})
    return DataFrame(lines)
