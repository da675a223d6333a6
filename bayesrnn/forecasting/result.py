"""The result of a study: table, pictures, one page, files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from bayesrnn import plots
from bayesrnn.comparison import Comparison
from bayesrnn.data.series import Series
from bayesrnn.forecasting import pictures, sentences, tables
from bayesrnn.forecasting._backtest import Backtest, distribution_columns
from bayesrnn.forecasting.settings import LEVELS, Settings
from bayesrnn.forecasting.splits import Split
from bayesrnn.models import Forecaster
from bayesrnn.plots.backtest import calibration_panels
from bayesrnn.predictive import ContinuousPredictive
from bayesrnn.report.exhibit import Exhibit, Picture
from bayesrnn.report.format import number
from bayesrnn.report.page import Page, Tone
from bayesrnn.training import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

MC = "MC dropout, recalibrated"
RAW = "MC dropout"
STANDARD = "deterministic pass"
STANDARD_RECALIBRATED = "deterministic pass, recalibrated"
NAIVE_MASKS = "per-step masks (naive)"
BASELINES = ("ETS", "seasonal naive + drift", "seasonal naive")


@dataclass(frozen=True, eq=False, repr=False)
class Study(Exhibit):
    """Scored forecasts of a held-out span, and perhaps forecasts of the steps after the end.

    Attributes:
        series: The series.
        split: Its spans.
        settings: What was chosen beforehand.
        forecaster: The trained network.
        history: Its losses.
        raw: Forecasts of the held-out span as the draws give them.
        recalibrated: The same with spreads that follow past errors.
        factors: By how much the 50, 80 and 95 % intervals were widened, (3, O, H).
        comparison: Every forecast of the held-out targets against the deterministic pass.
        future: Recalibrated distribution of the steps after the end of the series, (1, H); None if not asked for.
        seconds: Name of a stage → how long it took.
    """

    data_name: ClassVar[str] = "comparison"

    series: Series
    split: Split
    settings: Settings
    forecaster: Forecaster
    history: History
    raw: Backtest
    recalibrated: Backtest
    factors: torch.Tensor
    comparison: Comparison
    future: ContinuousPredictive | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def forecasts(self) -> dict[str, Any]:
        """Name → predictive of the held-out targets, (O, H)."""
        return self.comparison.predictives

    def value(self, forecast: str, score: str) -> float:
        """Return one of the scores ("crps", "coverage_80", ...) of a forecast."""
        return self.comparison.scores[forecast][score].value

    @property
    def table(self) -> "DataFrame":
        """One line per forecast and score; of coverages the difference is in the distance from the level."""
        import pandas as pd

        changes = {(d.name, d.measure.key): d for d in self.comparison.differences}
        lines = []
        for name, scores in self.comparison.scores.items():
            for key, score in scores.items():
                low, high = score.interval or (float("nan"),) * 2
                line = {"forecast": name, "score": key, "value": score.value, "low": low, "high": high}
                if change := changes.get((name, key)):
                    low, high = change.loss_interval if score.interval else (low, high)
                    line |= {"difference": change.loss, "difference_low": low, "difference_high": high}
                    line |= {"verdict": str(change.verdict)}
                lines.append(line)
        return pd.DataFrame(lines)

    @cached_property
    def sentences(self) -> list[tuple[str, Tone]]:
        """The results in sentences, each with its tone: coverage, bounds below 0, MC dropout against the others."""
        scores, units = self.comparison.scores, self.series.units
        best = min((name for name in BASELINES if name in scores), key=lambda name: self.value(name, "crps"))
        against = [self.comparison.difference("crps", n) for n in (RAW, MC, NAIVE_MASKS) if n in scores]
        return [
            sentences.coverage("raw", scores[RAW]),
            sentences.coverage("recalibrated", scores[MC]),
            sentences.widening(self.factors),
            *sentences.floor(self.recalibrated),
            *sentences.too_few_blocks(scores[MC], self.settings.horizon),
            *((difference.sentence(units), "plain") for difference in against if scores[MC]["crps"].interval),
            sentences.best_baseline("recalibrated ", self.value(MC, "crps"), best, self.value(best, "crps"), units),
        ]

    @property
    def setup(self) -> str:
        """Which span served for what."""
        return sentences.setup(self.series, self.split, self.settings, self.raw)

    def pictures(self) -> dict[str, Picture]:
        """Return every picture by its name; nothing is drawn yet."""
        held_out = Picture(self._held_out, sentences.fans(self.recalibrated, self.series.units))
        shown = {"forecast": held_out}
        if self.future is not None:
            text = sentences.last_step(self.future, self.series.units)
            shown = {"forecast": Picture(partial(self._after, self.future), text), "held_out": held_out}
        both = {"recalibrated": self.recalibrated.predictive, "raw": self.raw.predictive}
        text = " ".join(text for text, _ in self.sentences[:2])
        shown["calibration"] = Picture.of(calibration_panels, text, both, self.raw.target)
        text = "; ".join(f"{name}: CRPS {number(self.value(name, 'crps'))}" for name in self.forecasts)
        shown["comparison"] = Picture(self._comparison, f"{text}.")
        return shown

    def page(self, images: Mapping[str, bytes]) -> Page:
        """Return the page; `images` holds the PNG bytes of each picture by its name."""
        units = f" [{self.series.units}]" if self.series.units else ""
        texts = {name: picture.text for name, picture in self.pictures().items()}
        page = Page(f"{self.series.name}: forecasts with uncertainty", self.setup)
        for text, tone in self.sentences:
            page.say(text, tone)
        held_out = "forecast"
        if self.future is not None:
            page.section(f"The next {self.settings.horizon} steps{units}")
            page.picture(images["forecast"], texts["forecast"])
            page.table(tables.rounded(self.future_frame().drop(columns="observed")), folded="As a table")
            held_out = "held_out"
        page.section("How it forecast the held-out span").picture(images[held_out], texts[held_out])
        page.section("Is it calibrated?", sentences.PANELS).picture(images["calibration"], texts["calibration"])
        page.section("Against the standard dropout approximation, per-step masks and baselines")
        page.picture(images["comparison"], texts["comparison"])
        page.table(tables.score_rows(self.comparison), f"Held-out scores{units}; brackets: 95 % intervals.")
        page.table(
            tables.difference_rows(self.comparison),
            tables.DIFFERENCES,
            folded=f"Paired differences from the {STANDARD}",
        )
        page.section("What the uncertainty is made of")
        page.table(
            tables.part_rows(self.recalibrated),
            f"Root mean squares over origins{units}, recalibrated; shares of the mean variance.",
        )
        page.section("How it was made")
        page.table([{"setting": k, "value": str(v)} for k, v in vars(self.settings).items()], folded="Settings")
        return page.facts("; ".join(f"{stage} {taken:.0f} s" for stage, taken in self.seconds.items()) + ".")

    def files(self) -> dict[str, str | bytes]:
        """Return the contents of the tables, by their file names."""
        import pandas as pd

        shared = ["origin", "horizon", "time", "observed"]
        raw, after = self.raw.to_frame(), self.recalibrated.to_frame()
        own = [part.drop(columns=shared).add_suffix(end) for part, end in ((raw, "_raw"), (after, "_recalibrated"))]
        factor = self.factors[1].reshape(-1).numpy()
        frames = {"backtest": pd.concat([raw[shared], *own], axis=1).assign(factor_80=factor)}
        frames["forecast" if self.future is None else "held_out"] = self.held_out_frame()
        if self.future is not None:
            frames["forecast"] = self.future_frame()
        contents = {f"{name}.csv": frame.to_csv(index=False, float_format="%.8g") for name, frame in frames.items()}
        return super().files() | contents

    def held_out_frame(self) -> "DataFrame":
        """Return one line per held-out time, each by the last forecast of `Backtest.chained` that reaches it."""
        rows, steps = self.recalibrated.chained()
        frame = self.recalibrated[rows].to_frame()
        shown = frame["horizon"].to_numpy() <= steps.repeat_interleave(self.recalibrated.horizon).numpy()
        return frame[shown].drop(columns=["origin", "horizon"]).reset_index(drop=True)

    def future_frame(self) -> "DataFrame":
        """Return one line per step after the end of the series; what will be observed is empty.

        Raises:
            ValueError: If the study did not forecast them.
        """
        import pandas as pd

        if self.future is None:
            raise ValueError("this study has no forecast of the steps after the end: call study(..., future=True).")
        times = {"time": self.series.future(self.settings.horizon), "observed": float("nan")}
        return pd.DataFrame(times | distribution_columns(self.future))

    def to_dict(self) -> dict[str, Any]:
        """Return settings, spans, scores and sentences as JSON values."""
        return {
            "settings": vars(self.settings),
            "spans": {name: str(self.series.times[getattr(self.split, name)]) for name in ("validation", "held_out")},
            "origins": len(self.raw),
            "units": self.series.units,
            "scores": self.table.to_dict("records"),
            "sentences": [text for text, _ in self.sentences],
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        return "\n".join([self.setup, *(text for text, _ in self.sentences)])

    def _held_out(self, ax: "Axes | None") -> "Axes":
        held = f"80 % intervals hold {100 * self.value(MC, 'coverage_80'):.0f} %, over all {len(self.raw)} origins"
        return pictures.held_out(self.recalibrated, self.series, note=held, ax=ax)

    def _after(self, future: ContinuousPredictive, ax: "Axes | None") -> "Axes":
        steps, series = self.settings.horizon, self.series
        past = series[max(len(series) - 3 * steps, 0) :]
        return plots.fan_chart(
            future,
            history=torch.where(past.observed, past.values, torch.nan),
            times=series.future(steps).to_numpy(),
            history_times=past.times.to_numpy(),
            levels=LEVELS,
            units=series.units,
            ylabel=series.name,
            xlabel="time",
            title=f"{series.name}: the next {steps} steps",
            ax=ax,
        )

    def _comparison(self, ax: "Axes | None") -> "Axes":
        return pictures.comparison(self.comparison, self.series.units, ax)
