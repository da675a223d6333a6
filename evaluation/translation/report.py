"""Tables from the JSON files of the networks."""

from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from evaluation.records import load_all

NETWORKS = {"none": "no masks", "zaremba": "Zaremba", "gal": "Gal"}


def write(results: Path) -> None:
    """Write `table.md` into `results`.

    Raises:
        ValueError: If there are no results.
    """
    runs = load_all(results, "*-seed*.json", "scheme", "scores", "validation", "cpu_hours")
    if not runs:
        raise ValueError(f"there are no results in {results}: train first.")
    text = f"## Scores\n\n{scores(runs)}\n\n## Uncertainty\n\n{uncertainties(runs)}\n"
    (results / "table.md").write_text(text, encoding="utf-8")


def scores(runs: list[dict[str, Any]]) -> str:
    """BLEU, chrF and likelihood of every network, mean over seeds."""
    rows = []
    for network, seeds in _grouped(runs):
        cells = [
            f"{fmean(numbers[key] for _, numbers in seeds):.{digits}f}"
            for key, digits in (("bleu", 1), ("chrf", 1), ("nll", 3))
        ]
        hours = fmean(run["cpu_hours"] for run, _ in seeds)
        rows.append([network, str(len(seeds)), f"{hours:.2f}", *cells])
    return _table(["network", "seeds", "CPU hours", "BLEU", "chrF", "NLL per token"], rows)


def uncertainties(runs: list[dict[str, Any]]) -> str:
    """How well each uncertainty ranks the sentences, mean over seeds."""
    rows = []
    for network, seeds in _grouped(runs):
        for name in seeds[0][1]["uncertainty"]:
            own = [numbers["uncertainty"][name] for _, numbers in seeds]
            known = [one["spearman"] for one in own if one["spearman"] is not None]
            gain, area = (fmean(one[key] for one in own) for key in ("bleu_gain", "area"))
            numbers = [f"{fmean(known):.2f}" if known else "–", f"{gain:+.1f}", f"{area:.1f}"]
            rows.append([network, name, *numbers])
    head = ["network", "uncertainty", "rank correlation with chrF", "BLEU gained by rejecting a fifth"]
    return _table([*head, "area under risk-coverage (100 - chrF)"], rows, 2)


def _grouped(runs: list[dict[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Return (network, its seeds) by scheme, epochs and pass."""
    groups: dict[str, list[Any]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: (list(NETWORKS).index(run["scheme"]), len(run["validation"]))):
        for judged, numbers in run["scores"].items():
            groups[f"{NETWORKS[run['scheme']]}, {len(run['validation'])} epochs, {judged}"].append((run, numbers))
    return list(groups.items())


def _table(head: list[str], rows: list[list[str]], numbers_from: int = 1) -> str:
    ruler = ["---" if k < numbers_from else "---:" for k in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ruler, *rows))
