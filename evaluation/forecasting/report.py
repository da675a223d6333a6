"""Tables of the forecasting results, drawn from the JSON files alone."""

from pathlib import Path
from typing import Any

from evaluation import records
from evaluation.forecasting.peers import OTHER_FORMS, OURS, PRESENT, RAW
from evaluation.forecasting.scores import geometric_mean, paired_error

__all__ = ["write"]

Cells = dict[str, dict[str, dict[str, Any]]]
"""Series → forecast → its cell."""


def write(folder: Path) -> None:
    """Write README.md beside the JSON files of `folder`."""
    of_seed: dict[int, Cells] = {}
    for path in sorted(folder.glob("*-*.json")):
        cell = records.load(path.stem, folder)
        cells = of_seed.setdefault(cell["provenance"]["seed"], {})
        cells.setdefault(path.stem.split("-")[0], {})[cell["forecast"]] = cell
    if not of_seed:
        return
    cells = of_seed[min(of_seed)]
    parts = [
        "# Forecasting four real series",
        _ABOUT,
        _table(cells),
        _setups(cells),
        _differences(cells),
        _calibration(cells),
    ]
    parts += [_asked(cells), _seeds(of_seed)]
    (folder / "README.md").write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")


_ABOUT = (
    "Drawn by `python -m evaluation.forecasting report` from the JSON files of this folder, which hold the scores of "
    "every origin, commits, seeds and commands. Everything was chosen before the held-out fifth of each series. CRPS "
    "is in units of the mean absolute error of the seasonal naive forecast in the training span."
)


def _names(cells: Cells) -> list[str]:
    whole = [name for of in cells.values() for name in of]
    names = [name for name in dict.fromkeys(whole) if all(name in of for of in cells.values())]
    return sorted(names, key=lambda name: geometric_mean([of[name]["crps"] for of in cells.values()]))


def _table(cells: Cells) -> str:
    rows = []
    for name in _names(cells):
        values = [of[name]["crps"] for of in cells.values()]
        seconds = sum(of[name]["cpu_seconds"] for of in cells.values()) / len(values)
        rows.append([name, *(f"{v:.3f}" for v in values), f"{geometric_mean(values):.3f}", f"{seconds:.0f}"])
    return _lines(["scaled CRPS", *cells, "geometric mean", "CPU s per series"], rows)


def _setups(cells: Cells) -> str:
    """How peers of other libraries were trained, a line for each."""
    lines = []
    for name in _names(cells):
        of_series: dict[str, list[str]] = {}
        for series, of in cells.items():
            if setup := of[name].get("setup"):
                of_series.setdefault(setup, []).append(series)
        lines += [f"- {name}, {', '.join(names)}: {setup}." for setup, names in of_series.items()]
    return "\n".join(lines)


def _differences(cells: dict[str, Any]) -> str:
    """Ours against each other forecast: relative change of the CRPS, and the difference in standard errors."""
    rows = []
    for name in _names(cells):
        if name == OURS or not all(OURS in of for of in cells.values()):
            continue
        cols = []
        for of in cells.values():
            mean, error = paired_error(of[OURS], of[name], of[name]["horizon"] / of[name]["every"])
            cols.append(f"{100 * mean / of[name]['crps']:+.1f} % ({mean / error:+.1f})" if error else "–")
        ratio = geometric_mean([of[OURS]["crps"] / of[name]["crps"] for of in cells.values()])
        rows.append([name, *cols, f"{100 * (ratio - 1):+.1f} %"])
    return _lines([f"CRPS of {OURS} against", *cells, "geometric mean"], rows) if rows else ""


def _calibration(cells: Cells) -> str:
    rows = []
    for name in _names(cells):
        held = [f"{100 * of[name]['coverage_80']:.1f}, {100 * of[name]['coverage_95']:.1f}" for of in cells.values()]
        errors = [
            100 * sum(abs(of[name][f"coverage_{p}"] - p / 100) for of in cells.values()) / len(cells) for p in (80, 95)
        ]
        score = geometric_mean([of[name]["interval_score_95"] for of in cells.values()])
        rows.append([name, *held, f"{errors[0]:.1f}, {errors[1]:.1f}", f"{score:.2f}"])
    head = ["80 % and 95 % intervals hold [%]", *cells, "mean error [points]", "95 % interval score"]
    return _lines(head, rows)


def _asked(cells: Cells) -> str:
    """What was asked of the recalibrated forecasts before they were run, and what they reached."""
    names, every = _names(cells), list(cells.values())
    if not {OURS, RAW, PRESENT} <= set(names):
        return ""
    peers = [name for name in names if name not in (OURS, RAW, PRESENT, *OTHER_FORMS)]

    def change(name: str) -> float:
        return 100 * (geometric_mean([of[OURS]["crps"] / of[name]["crps"] for of in every]) - 1)

    behind = []
    for series, of in cells.items():
        best = min(peers, key=lambda name: of[name]["crps"])
        gap, error = paired_error(of[OURS], of[best], of[best]["horizon"] / of[best]["every"])
        behind += [f"{series} ({gap / error:+.1f})"] if gap > error else []
    errors = [100 * sum(abs(of[OURS][f"coverage_{p}"] - p / 100) for of in every) / len(every) for p in (80, 95)]
    worst = max(100 * (of[OURS]["interval_score_95"] / of[RAW]["interval_score_95"] - 1) for of in every)
    rows = [
        ["CRPS against the forecaster before", "-12 % or lower", f"{change(PRESENT):+.1f} %"],
        ["CRPS against the best single peer", "-12 % or lower", f"{max(map(change, peers)):+.1f} %"],
        ["series behind their best peer by more than a standard error", "none", ", ".join(behind) or "none"],
        ["mean coverage error at 80 and 95 % [points]", "2 and 1 at most", f"{errors[0]:.1f} and {errors[1]:.1f}"],
        ["95 % interval score against raw, worst series", "+1 % at most", f"{worst:+.1f} %"],
    ]
    return _lines([OURS, "asked", "reached"], rows)


def _seeds(of_seed: dict[int, Cells]) -> str:
    """The scaled CRPS of each seed, where there are several."""
    rows = []
    for seed, cells in sorted(of_seed.items()):
        for name in _names(cells) if len(of_seed) > 1 else []:
            if all(all(name in of for of in others.values()) for others in of_seed.values()):
                values = [of[name]["crps"] for of in cells.values()]
                rows.append([f"{name}, seed {seed}", *(f"{v:.3f}" for v in values), f"{geometric_mean(values):.3f}"])
    return _lines(["scaled CRPS", *of_seed[min(of_seed)], "geometric mean"], sorted(rows)) if rows else ""


def _lines(head: list[str], rows: list[list[str]]) -> str:
    ruler = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ruler, *rows))
