"""The page of a forecast: what comes next, how earlier forecasts did, and against what."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from bayesrnn import plots
from bayesrnn.forecasting import pictures, sentences, tables
from bayesrnn.forecasting.settings import LEVELS
from bayesrnn.plots.backtest import calibration_panels
from bayesrnn.predictive import ContinuousPredictive
from bayesrnn.report.exhibit import Exhibit, Picture
from bayesrnn.report.format import number
from bayesrnn.report.page import Page, Tone
from bayesrnn.tables.forecasts import ETS, MC, NAIVE, PLAIN, ForecastJudgement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

_MOST_SERIES = 6


@dataclass(frozen=True, eq=False, repr=False)
class ForecastPage(Exhibit):
    """A judged forecaster, and perhaps its forecast of what comes next.

    Attributes:
        judgement: How it did.
        setup: Which rows served for what.
        units: Units of the values.
        future: Distribution of the next steps, (series, horizon); None for a judgement only.
        frame: The same as a table.
        histories: Times and values before it, and times ahead, of each series.
        seconds: Name of a stage → how long it took.
        target: Name of what is forecast.
    """

    data_name: ClassVar[str] = "comparison"

    judgement: ForecastJudgement
    setup: str
    units: str = ""
    future: ContinuousPredictive | None = None
    frame: "DataFrame | None" = None
    histories: tuple[tuple[str, Any, Any, Any], ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    target: str = "target"

    @property
    def sentences(self) -> list[tuple[str, Tone]]:
        """The results in sentences, each with its tone."""
        comparison = self.judgement.comparison
        scores = comparison.scores
        lines = [sentences.coverage("forecast's", scores[MC])]
        lines += sentences.floor(self.judgement.test)
        ends = scores[MC]["crps"].interval
        if ends is not None and all(map(math.isfinite, ends)):
            lines.append((comparison.difference("crps", MC).sentence(self.units), "plain"))
        others = [name for name in (ETS, NAIVE) if name in scores]
        if others:
            best = min(others, key=lambda name: scores[name]["crps"].value)
            mine, other = (scores[name]["crps"].value for name in (MC, best))
            lines.append(sentences.best_baseline("", mine, best, other, self.units))
        return lines

    @property
    def table(self) -> "DataFrame":
        """One line per forecast and score."""
        from pandas import DataFrame

        return DataFrame(
            {"forecast": name, "score": key, "value": score.value}
            | dict(zip(("low", "high"), score.interval or (float("nan"),) * 2))
            for name, scores in self.judgement.comparison.scores.items()
            for key, score in scores.items()
        )

    def pictures(self) -> dict[str, Picture]:
        """Return every picture by its name; nothing is drawn yet."""
        known: dict[str, Picture] = {}
        for k, (name, _, _, _) in enumerate(self.histories[:_MOST_SERIES]):
            key = "forecast" if k == 0 else f"forecast_{k + 1}"
            known[key] = Picture(partial(self._ahead, k), f"{name}: median and 50, 80 and 95 % intervals.")
        test = self.judgement.test
        known["held_out"] = Picture(self._held_out, sentences.fans(test, self.units))
        seen = ~torch.isnan(test.target).any(1)
        if bool(seen.any()):
            text = self.sentences[0][0]
            whole = test[seen]
            known["calibration"] = Picture.of(calibration_panels, text, {"forecast": whole.predictive}, whole.target)
        scores = self.judgement.comparison.scores
        text = "; ".join(f"{name}: CRPS {number(values['crps'].value)}" for name, values in scores.items())
        known["comparison"] = Picture(self._comparison, f"{text}.")
        return known

    def page(self, images: Mapping[str, bytes]) -> Page:
        """Return the page; `images` holds the PNG bytes of each picture by its name."""
        series, units = self.judgement.series, f" [{self.units}]" if self.units else ""
        texts = {name: picture.text for name, picture in self.pictures().items()}
        title = series[0].name if len(series) == 1 else f"{len(series)} series"
        page = Page(f"{title}: forecasts with uncertainty", self.setup)
        for text, tone in self.sentences:
            page.say(text, tone)
        if self.frame is not None:
            page.section(f"The next {self.judgement.test.horizon} steps{units}")
            for name in (name for name in texts if name.startswith("forecast")):
                page.picture(images[name], texts[name])
            page.table(tables.rounded(self.frame.head(200)), folded="As a table")
        page.section("How it forecast what it had not seen").picture(images["held_out"], texts["held_out"])
        if "calibration" in images:
            page.section("Is it calibrated?", sentences.PANELS).picture(images["calibration"], texts["calibration"])
        page.section("Against the deterministic pass and baselines").picture(images["comparison"], texts["comparison"])
        page.table(tables.score_rows(self.judgement.comparison), f"Held-out scores{units}.")
        page.table(
            tables.difference_rows(self.judgement.comparison),
            tables.DIFFERENCES,
            folded=f"Paired differences from the {PLAIN}",
        )
        page.section("What the uncertainty is made of")
        page.table(
            tables.part_rows(self.judgement.test),
            f"Root mean squares over origins{units}; shares of the mean variance.",
        )
        return page.facts("; ".join(f"{stage} {taken:.0f} s" for stage, taken in self.seconds.items()) + ".")

    def files(self) -> dict[str, str | bytes]:
        """Return the contents of the tables, by their file names."""
        frames = {"backtest": self.judgement.test.to_frame()} | ({} if self.frame is None else {"forecast": self.frame})
        return super().files() | {f"{k}.csv": v.to_csv(index=False, float_format="%.8g") for k, v in frames.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return scores and sentences as JSON values."""
        return {
            "setup": self.setup,
            "units": self.units,
            "origins": len(self.judgement.test),
            "scores": self.table.to_dict("records"),
            "sentences": [text for text, _ in self.sentences],
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        return "\n".join([self.setup, *(text for text, _ in self.sentences)])

    def _ahead(self, row: int, ax: "Axes | None") -> "Axes":
        name, times, values, ahead = self.histories[row]
        if self.future is None:
            raise ValueError("there is no forecast of what comes next.")
        return plots.fan_chart(
            self.future,
            row=row,
            history=values,
            times=ahead,
            history_times=times,
            levels=LEVELS,
            units=self.units,
            ylabel=self.target,
            xlabel="time",
            title=f"{name}: the next {self.judgement.test.horizon} steps",
            ax=ax,
        )

    def _held_out(self, ax: "Axes | None") -> "Axes":
        test = self.judgement.test
        if test.which is not None:
            test = test[test.which == test.which[0]]
            test = type(test)(test.series[int(test.which[0])], test.origins, test.predictive, test.target)  # type: ignore[index]
        return pictures.held_out(test, replace(test.series, units=self.units), ax=ax)

    def _comparison(self, ax: "Axes | None") -> "Axes":
        return pictures.comparison(self.judgement.comparison, self.units, ax)
