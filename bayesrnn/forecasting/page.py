"""The page of a study: everything in one self-contained HTML file."""

from collections.abc import Mapping
from typing import Any

from bayesrnn.forecasting._study import MC, RAW, STANDARD, Study
from bayesrnn.forecasting.sentences import calibration_sentences, comparison_sentences, split_sentence
from bayesrnn.report import Page
from bayesrnn.report.format import number, percent

__all__ = ["study_page"]

_LABELS = {"rmse": "RMSE", "mae": "MAE", "nll": "NLL (nats)", "crps": "CRPS"}


def study_page(found: Study, images: Mapping[str, bytes], future: Any = None) -> Page:
    """Return the page of a study.

    Args:
        found: The study.
        images: The PNG bytes of forecast.png, calibration.png and comparison.png (and held_out.png with a future).
        future: Table of the steps after the end, if the page is to show it.
    """
    series, settings = found.series, found.settings
    units = f" [{series.units}]" if series.units else ""
    page = Page(f"{series.name}: forecasts that know what they do not know", split_sentence(found))
    for text, tone in calibration_sentences(found):
        page.say(text, tone)  # type: ignore[arg-type]
    if future is not None:
        page.section(f"The next {settings.horizon} steps{units}").picture(images["forecast.png"], _future_words(found))
        page.table(_rounded(future.drop(columns="observed")), folded="As a table")
    page.section("How it forecast the held-out span")
    page.picture(images["forecast.png" if future is None else "held_out.png"], _fan_words(found))
    page.section("Is it calibrated?", _RELIABILITY).picture(images["calibration.png"], _calibration_words(found))
    page.section("Against the standard dropout approximation, per-step masks and baselines")
    for text in comparison_sentences(found):
        page.text(text)
    page.picture(images["comparison.png"], _comparison_words(found))
    page.table(_scores(found), f"Held-out scores{units}; brackets: 95 % bootstrap over blocks of origins.")
    page.table(_differences(found), folded=f"Paired differences from the {STANDARD}, every score")
    page.section("What the uncertainty is made of").table(_parts(found), f"Mean over origins{units}, recalibrated.")
    page.section("How it was made")
    page.table([{"setting": k, "value": str(v)} for k, v in vars(settings).items()], folded="Settings")
    page.facts("; ".join(f"{stage} {taken:.0f} s" for stage, taken in found.seconds.items()) + ".")
    return page


_RELIABILITY = (
    "Left: the share of held-out targets inside intervals of every level, on the diagonal if the intervals keep their "
    "word. Middle: where targets fall in their predicted distribution, flat if it is right. Right: the same by steps "
    "ahead. Orange: as the draws give it. Blue: recalibrated, by what was known at each origin."
)


def _future_words(found: Study) -> str:
    distribution, units = found.future, found.series.units
    low, high = distribution.interval(0.8)
    last = [number(float(value[0, -1]), 5) for value in (distribution.quantile(0.5), low, high)]
    return (
        f"Fan chart of the next {found.settings.horizon} steps. At the last the median is {last[0]} {units}, the "
        f"80 % interval {last[1]} to {last[2]}."
    )


def _fan_words(found: Study) -> str:
    low, high = found.recalibrated.predictive.interval(0.8)
    width = (high - low).mean(0)
    return (
        f"Fan chart of the held-out span: medians and 50, 80 and 95 % intervals of forecasts launched one after the "
        f"other over {found.settings.horizon} steps, with what was observed. The mean width of the 80 % interval "
        f"grows from {number(float(width[0]))} one step ahead to {number(float(width[-1]))} {found.series.units} at "
        f"{found.settings.horizon} steps."
    )


def _calibration_words(found: Study) -> str:
    return " ".join(text for text, _ in calibration_sentences(found))


def _comparison_words(found: Study) -> str:
    parts = [f"{name}: CRPS {number(found.value(name, 'crps'))}" for name in found.forecasts]
    covered = f"80 % coverage {percent(found.value(MC, 'coverage_80'))} recalibrated, "
    return "; ".join(parts) + f". {covered}{percent(found.value(RAW, 'coverage_80'))} raw."


def _scores(found: Study) -> list[dict[str, str]]:
    rows: dict[str, dict[str, str]] = {}
    for line in found.table.to_dict("records"):
        score = line["score"]
        row = rows.setdefault(line["forecast"], {"forecast": line["forecast"]})
        if score.startswith("coverage"):
            row[f"{score[9:]} % holds"] = percent(line["value"])
        elif score.startswith("width"):
            row[f"{score[6:]} % width"] = number(line["value"])
        else:
            row[_LABELS[score]] = f"{number(line['value'])} [{number(line['low'])}, {number(line['high'])}]"
    return list(rows.values())


def _differences(found: Study) -> list[dict[str, str]]:
    rows = []
    for line in found.table[found.table["forecast"] != STANDARD].to_dict("records"):
        low, high = (number(line[f"difference_{end}"], 2, sign=True) for end in ("low", "high"))
        rows.append(
            {
                "forecast": line["forecast"],
                "score": line["score"].replace("_", " "),
                "value": number(line["value"]),
                "difference": f"{number(line['difference'], 2, sign=True)} [{low}, {high}]",
                "verdict": line["verdict"],
            }
        )
    return rows


def _parts(found: Study) -> list[dict[str, str]]:
    distribution, horizon = found.recalibrated.predictive, found.settings.horizon
    rows = []
    for step in sorted({1, max(horizon // 4, 1), max(horizon // 2, 1), horizon}):
        parts = {name: float(getattr(distribution, name)[:, step - 1].mean()) for name in ("aleatoric", "epistemic")}
        total = sum(parts.values())
        rows.append(
            {
                "steps ahead": str(step),
                "std, total": number(total**0.5),
                "std, aleatoric": number(parts["aleatoric"] ** 0.5),
                "std, epistemic": number(parts["epistemic"] ** 0.5),
                "epistemic share of the variance": percent(parts["epistemic"] / total),
            }
        )
    return rows


def _rounded(frame: Any) -> list[dict[str, str]]:
    return [
        {k: number(v, 5) if isinstance(v, float) else str(v).removesuffix(" 00:00:00") for k, v in line.items()}
        for line in frame.to_dict("records")
    ]
