"""Tables from the JSON files of the studies."""

import math
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from evaluation.records import load_all

CELLS = {"lstm": "LSTM", "gru": "GRU"}
NETWORKS = {
    "none": "no masks",
    "naive": "per-step masks (naive)",
    "zaremba": "Zaremba",
    "gal": "Gal",
    "ensemble of 5": "ensemble of five, no masks",
}

Study = dict[str, Any]


def write(results: Path) -> None:
    """Write a page of tables per corpus and kind of split, and one of detection per corpus, into `results`.

    Raises:
        ValueError: If there are no studies.
    """
    studies = load_all(results, "*-*.json", "corpus", "split", "cell", "scores", "shift", "differences")
    if not studies:
        raise ValueError(f"there are no studies in {results}: train first.")
    kinds: dict[tuple[str, str], list[Study]] = defaultdict(list)
    for study in studies:
        kinds[study["corpus"], "speaker" if study["split"].startswith("speaker") else study["split"]].append(study)
    kinds.pop(("vowels", "speaker"), None)  # the classes are speakers: one who was left out is detected, not named
    for (corpus, split), own in kinds.items():
        (results / f"{corpus}-{split}.md").write_text(f"{scores(own)}\n\n{differences(own)}\n", encoding="utf-8")
    for corpus in {study["corpus"] for study in studies}:
        (results / f"{corpus}-detection.md").write_text(f"{shifts(studies, corpus)}\n", encoding="utf-8")


def scores(studies: list[Study]) -> str:
    """Scores of one kind of split, mean over its splits."""
    head = ["cell", "network", "accuracy", "NLL", "Brier", "ECE (floor)", "area under risk-coverage", "AUROC of errors"]
    rows = []
    for cell, names in _by_cell(studies):
        for name in names[0]["scores"]:
            own = [study["scores"][name] for study in names]
            mean = {key: _mean(score[key] for score in own) for key in own[0]}
            rows.append(
                [CELLS[cell], _shown(name), f"{mean['accuracy']:.1%}".replace("%", " %"), f"{mean['nll']:.3f}",
                 f"{mean['brier']:.3f}", f"{mean['ece']:.3f} ({mean['ece_floor']:.3f})", f"{mean['aurc']:.4f}",
                 _number(mean["error_auroc"], 2)]
            )  # fmt: skip
    return _table(head, rows)


def differences(studies: list[Study]) -> str:
    """Differences with 95 % intervals: paired over utterances, or Student's over the speakers left out."""
    rows = []
    for cell, own in _by_cell(studies):
        for pair in own[0]["differences"]:
            cells = []
            for key in ("nll", "brier", "accuracy"):
                value, low, high = _interval([study["differences"][pair][key] for study in own])
                cells.append(f"{value:+.3f} ({low:+.3f} to {high:+.3f})")
            first, second = pair.split(" - ")
            rows.append([CELLS[cell], f"{_shown(first)} minus {_shown(second)}", *cells])
    return _table(["cell", "difference", "NLL", "Brier", "accuracy"], rows)


def shifts(studies: list[Study], corpus: str) -> str:
    """How well the epistemic part / the entropy tells noise, unknown words and unseen speakers from the test part."""
    titles: dict[str, None] = {}
    cells: dict[tuple[str, str], dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for study in studies:
        if study["corpus"] == corpus:
            outside = "unknown word" if study["split"] == "words" else "unseen speaker"
            for name, by_part in study["shift"].items():
                for part, auroc in by_part.items():
                    title = outside if part == "outside" else part
                    titles.setdefault(title)
                    cells[study["cell"], name][title].append(auroc)
    rows = []
    for (cell, name), by_title in sorted(cells.items(), key=lambda item: list(CELLS).index(item[0][0])):
        if name == "none, one pass" or not name.endswith("one pass"):
            shown = [_aurocs(by_title[title]) for title in titles]
            rows.append([CELLS[cell], _shown(name), *shown])
    return _table(["cell", "network", *titles], rows)


def _aurocs(aurocs: list[dict[str, float]]) -> str:
    if not aurocs:
        return ""
    epistemic = _mean(auroc.get("epistemic") for auroc in aurocs)
    return f"{_number(epistemic, 2)} / {_mean(auroc['entropy'] for auroc in aurocs):.2f}"


def _interval(estimates: list[dict[str, Any]]) -> tuple[float, float, float]:
    if len(estimates) == 1:
        return estimates[0]["value"], *estimates[0]["interval"]
    from scipy.stats import t

    values = [estimate["value"] for estimate in estimates]
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return fmean(values), fmean(values) - half, fmean(values) + half


def _by_cell(studies: list[Study]) -> list[tuple[str, list[Study]]]:
    return [(cell, own) for cell in CELLS if (own := [study for study in studies if study["cell"] == cell])]


def _shown(name: str) -> str:
    scheme, _, rest = name.partition(", ")
    return ", ".join([NETWORKS[scheme], rest] if rest and scheme != "none" else [NETWORKS[scheme]])


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    ruler = ["---", "---", *["---:"] * (len(head) - 2)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ruler, *rows))
