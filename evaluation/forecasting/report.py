"""Tables of the forecasting results, drawn from the JSON files alone."""

from pathlib import Path
from typing import Any

from evaluation import records

__all__ = ["write"]

_COLUMNS = ("crps", "rmse", "nll", "coverage_80", "coverage_95", "width_80", "width_95")


def write(folder: Path) -> None:
    """Write README.md beside the JSON files of `folder`."""
    parts = [
        "# Forecasting three real series",
        "Held-out scores. Drawn by `python -m evaluation.forecasting report` from the JSON files of this folder, which "
        "hold the bootstrap intervals, settings, seeds and commands. Nothing was chosen on the held-out spans: the "
        "rates come from the validation span of the CO2 record that ships with statsmodels and are the same here; "
        "units, epochs and context of the hourly series were set before their held-out spans were looked at.",
    ]
    for path in sorted(folder.glob("*.json")):
        parts += _section(path.stem, records.load(path.stem, folder))
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _section(name: str, result: dict[str, Any]) -> list[str]:
    rows: dict[str, dict[str, float]] = {}
    for line in result["scores"]:
        rows.setdefault(line["forecast"], {})[line["score"]] = line["value"]
    spans, settings = result["spans"], result["settings"]
    facts = (
        f"Validation from {spans['validation']}, held out from {spans['held_out']}; {result['origins']} origins, "
        f"horizon {settings['horizon']}, {settings['draws']} draws, seed {settings['seed']}; units: {result['units']}. "
        f"Recalibration changed the 80 % intervals by a factor of {result['mean_factor_80']:.2f} on average."
    )
    head = ["forecast", *(_label(c) for c in _COLUMNS)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join([n, *(_cell(c, row.get(c)) for c in _COLUMNS)]) + " |" for n, row in rows.items()]
    seconds = "; ".join(f"{stage} {taken:.0f} s" for stage, taken in result["seconds"].items())
    parts = [f"## {name}: {result['title']}", facts, "\n".join(lines), f"Seconds: {seconds}."]
    if "DeepAR" not in rows:
        parts.append("DeepAR is missing: its package was not installed where this ran.")
    if "anomalies" in result:
        parts.append(_anomalies(result["anomalies"]))
    return parts


def _anomalies(found: dict[str, Any]) -> str:
    share, limit = found["share_outside_ordinary_days"], found["share_outside_99th_percentile_of_ordinary_days"]
    lines = [
        f"Known anomalies: share of a day's forecasts outside the {100 * found['level']:g} % interval (ordinary days: "
        f"{100 * share:.1f} % on average, 99th percentile {100 * limit:.0f} %) and the highest epistemic variance over "
        "its 99th percentile on ordinary days.",
        "",
        "| event | outside | epistemic, ratio | told apart |",
        "|---|---|---|---|",
    ]
    for name, event in found["events"].items():
        told = "yes" if event["told_apart"] else "no"
        ratio = event["epistemic_over_99th_percentile"]
        lines.append(f"| {name} | {100 * event['share_outside']:.0f} % | {ratio:.2f} | {told} |")
    return "\n".join(lines)


def _label(score: str) -> str:
    name, _, level = score.partition("_")
    return f"{name} {level} %" if level else name.upper()


def _cell(score: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if score.startswith("coverage") else f"{value:.3g}"
