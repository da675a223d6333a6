"""The result of a comparison: table, sentence, pictures, files."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesrnn._files import atomic_write
from bayesrnn.comparison.difference import Difference
from bayesrnn.metrics import Score
from bayesrnn.predictive import Predictive
from bayesrnn.report.page import number, plain, seconds, write_pictures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

__all__ = ["Comparison", "Cost", "Curve"]


@dataclass(frozen=True)
class Cost:
    """What a predictive cost: passes through the model for each row, and seconds in all."""

    passes: int
    seconds: float | None = None


@dataclass(frozen=True)
class Curve:
    """A score against the number of draws: mean over disjoint sets of draws, and the standard error of one such set."""

    name: str
    label: str
    draws: tuple[int, ...]
    values: tuple[float, ...]
    standard_errors: tuple[float | None, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
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
        for found in self.differences:
            if found.measure.key == metric and name in (None, found.name):
                return found
        legal = sorted({d.measure.key for d in self.differences})
        raise KeyError(f"no difference in {metric!r}{f' of {name!r}' if name else ''}; metrics are {legal}.")

    @property
    def others(self) -> list[str]:
        """Names of the predictives that are not the reference."""
        return [name for name in self.predictives if name != self.reference]

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
        mine = [d for d in self.differences if d.name == name]
        first = mine[0]
        parts = [first.sentence(self.units)]
        rest = [d for d in mine[1:] if d.measure.better != "neither"]
        for word, start in (
            ("better", "Better too in"),
            ("worse", "Worse in"),
            ("no difference can be told", "No difference can be told in"),
        ):
            labels = _labels([d for d in rest if d.verdict == word])
            if word == "better" and first.verdict != "better":
                start = "Better in"
            elif word == "worse" and first.verdict == "worse":
                start = "Worse too in"
            if labels:
                parts.append(f"{start} {listed(labels)}.")
        if (cost := self._cost_sentence(name)) is not None:
            parts.append(cost)
        return " ".join(parts)

    def picture(self, name: str, ax: "Axes | None" = None) -> "Axes":
        """Draw one of `picture_names`."""
        from bayesrnn.comparison.show import pictures

        drawers = pictures(self)
        if name not in drawers:
            raise ValueError(f"there is no picture {name!r}: legal are {', '.join(drawers)}.")
        return drawers[name][0](ax)

    @property
    def picture_names(self) -> list[str]:
        """Names of the pictures that `picture` draws."""
        from bayesrnn.comparison.show import pictures

        return list(pictures(self))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write comparison.html (self-contained), comparison.csv, comparison.json and the pictures as PNG and SVG.

        Every file appears whole or not at all. Returns the path of the page.
        """
        from bayesrnn.comparison.show import page, pictures

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        images = write_pictures(folder, {name: draw for name, (draw, _) in pictures(self).items()})
        atomic_write(folder / "comparison.csv", self.table.to_csv(index=False))
        atomic_write(folder / "comparison.json", json.dumps(plain(self.to_dict()), indent=2, ensure_ascii=False))
        return page(self, images).save(folder / "comparison.html")

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the predictives as JSON values."""
        return {
            "reference": self.reference,
            "sentence": self.sentence,
            "units": self.units,
            "differences": [d.record() for d in self.differences],
            "by_group": {g: [d.record() for d in found] for g, found in self.by_group.items()},
            "costs": {name: vars(cost) for name, cost in self.costs.items()},
            "curves": [vars(curve) for curve in self.curves],
            "notes": self.notes,
            "level": self.differences[0].level,
        }

    def __str__(self) -> str:
        lines = [self.sentence, ""]
        width = max(len(d.measure.label) for d in self.differences)
        for d in self.differences:
            moved, ends = d.change
            low, high = (number(v, 3, sign=True) for v in ends)
            value = f"{number(d.score.value, 4):>9} against {number(d.reference_score.value, 4):>9}"
            change = f"{number(moved, 3, sign=True):>9} [{low}, {high}]"
            who = f"{d.name}: " if len(self.others) > 1 else ""
            lines.append(f"{who}{d.measure.label:<{width}}  {value}  {change}  {d.verdict}")
        if any(d.measure.better == "near" for d in self.differences):
            lines.append("Of numbers with an ideal, such as coverages, the change is that of the distance from it.")
        return "\n".join([*lines, *self.notes])

    __repr__ = __str__

    def _cost_sentence(self, name: str) -> str | None:
        mine, other = self.costs.get(name), self.costs.get(self.reference)
        if mine is None or other is None:
            return None
        text = f"It costs {mine.passes} {'pass' if mine.passes == 1 else 'passes'} instead of {other.passes}"
        if mine.seconds is not None and other.seconds is not None:
            text += f" ({seconds(mine.seconds)} instead of {seconds(other.seconds)} for these rows)"
        return text + "."


def listed(words: list[str]) -> str:
    """Return words as a list in a sentence: "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _labels(differences: list[Difference]) -> list[str]:
    """Return the names of the metrics, coverages at several levels as one."""
    levels = [f"{100 * d.measure.ideal:g}" for d in differences if d.measure.key.startswith("coverage_")]
    labels = [d.measure.label for d in differences if not d.measure.key.startswith("coverage_")]
    return [*labels, f"coverage ({listed(levels)} % intervals)"] if levels else labels
