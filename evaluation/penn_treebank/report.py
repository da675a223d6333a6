"""The table beside the published one, and the learning curves, from the JSON files alone."""

import json
import re
from pathlib import Path
from typing import Any

from evaluation import records

_COLUMNS = ("valid", "test", "test_tempered", "test_mc_words_kept", "test_mc", "test_mc_tuned", "test_dynamic")
_TITLES = {
    "valid": "valid",
    "test": "test, deterministic",
    "test_tempered": "test, deterministic, tuned",
    "test_mc_words_kept": "test, MC (words kept)",
    "test_mc": "test, MC",
    "test_mc_tuned": "test, MC tuned",
    "test_dynamic": "test, dynamic",
}


def write(table: str, size: str, results: Path) -> list[Path]:
    """Write `penn_treebank_TABLE_SIZE.md` and, where epochs are known, `.png`."""
    runs = load(table, size, results)
    if not runs:
        raise ValueError(f"{results} holds no result of the table {table!r} at size {size!r}: run its rows first.")
    path = results / f"penn_treebank_{table}_{size}.md"
    path.write_text(markdown(table, size, runs), encoding="utf-8")
    written = [path]
    if any(r.get("epochs") for r in runs):
        written.append(curves(runs, results / f"penn_treebank_{table}_{size}.png"))
    return written


def load(table: str, size: str, results: Path) -> list[dict[str, Any]]:
    """Return the results of a table, of all seeds, in the order of its rows; members of ensembles are left out."""
    from evaluation.penn_treebank.rows import rows

    runs = []
    for row in rows(table, size):
        stem = f"penn_treebank_{table}_{size}_{row.name}"
        names = [(_place(path.stem, stem), path.stem) for path in results.glob(f"{stem}*.json")]
        for name in [name for place, name in sorted(names) if place[0]]:
            runs += records.load_all(results, f"{name}.json", "row", "published")
    return runs


def markdown(table: str, size: str, runs: list[dict[str, Any]]) -> str:
    """Return the table; published numbers stand in brackets beside ours."""
    columns = [c for c in _COLUMNS if any(c in r.get("scores", {}) for r in runs)]
    groups = by_seed(runs)
    head = ["model", "epochs", *(_TITLES[c] for c in columns), "train, last epoch", "words/s"]
    lines = [f"# Penn Treebank, {table} table, size {size}", "", _note(runs, groups), ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for group in groups:
        trained = [r["epochs"] for r in group if r.get("epochs")]
        cells = [_name(group), " to ".join(str(n) for n in sorted({len(e) for e in trained}))]
        cells += [_cell(c, group) for c in columns]
        last, speeds = [e[-1]["train_perplexity"] for e in trained], [_speed(e) for e in trained]
        cells += [f"{_mean(last):.1f}", f"{_mean(speeds):,.0f}"] if trained else ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def by_seed(runs: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the results in groups that differ only in their seed: one row, one recipe, as many members, one text.

    Where a seed of a group was judged, those still in training are left out.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for r in runs:
        same = [r.get(key) for key in ("row", "members", "recipe", "model", "share_of_training_text")]
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(r)
    return [[r for r in group if r.get("scores")] or group for group in groups.values()]


def curves(runs: list[dict[str, Any]], path: Path) -> Path:
    """Plot validation perplexity by epoch (training dashed), as Figure 12 of arXiv:1512.05287 does."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    figure, axes = pyplot.subplots(figsize=(7, 5.5), layout="constrained")
    for r in (r for r in runs if r.get("epochs")):
        x = [e["epoch"] for e in r["epochs"]]
        label = _name([r | {"start": r.get("start") and "others"}])  # the table names them
        (line,) = axes.plot(x, [e["valid_perplexity"] for e in r["epochs"]], label=label)
        axes.plot(x, [e["train_perplexity"] for e in r["epochs"]], "--", color=line.get_color(), linewidth=0.8)
    lowest = min(e["valid_perplexity"] for r in runs for e in r.get("epochs", []))
    axes.set(xlabel="epoch", ylabel="perplexity (validation; training under masks dashed)", ylim=(0, 3 * lowest))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=150, metadata={"Software": None})
    pyplot.close(figure)
    return path


def _place(name: str, stem: str) -> tuple[bool, int, int]:
    """Whether a file is a result of the row `stem`, the members that it judges, and its seed: the order of a table."""
    match = re.fullmatch(r"(?:_ensemble_(\d+))?(?:_seed_(\d+))?", name.removeprefix(stem))
    return (False, 0, 0) if match is None else (True, int(match[1] or 1), int(match[2] or 0))


def _name(group: list[dict[str, Any]]) -> str:
    """The row, its members, the row that it goes on from, and the seeds: how many, or which one if it is not 0."""
    members, seed = group[0].get("members", 1), group[0].get("provenance", {}).get("seed") or 0
    parts = [group[0]["row"], f"{members} members" if members > 1 else ""]
    parts.append(f"after {group[0]['start']}" if group[0].get("start") else "")
    parts.append(f"{len(group)} seeds" if len(group) > 1 else f"seed {seed}" if seed else "")
    return ", ".join(part for part in parts if part)


def _cell(column: str, group: list[dict[str, Any]]) -> str:
    """Mean over seeds with the lowest and highest, or one value with its Monte Carlo error; published in brackets."""
    all_scores = [r.get("scores", {}) for r in group]
    values = [scores[column] for scores in all_scores if column in scores]
    text = f"{_mean(values):.2f}" if values else ""
    if len(values) > 1:
        text += f" [{min(values):.2f}, {max(values):.2f}]"
    else:
        error = next((s[f"{column}_standard_error"] for s in all_scores if f"{column}_standard_error" in s), None)
        text += f" ± {error:.2f}" if error is not None else ""
    members = group[0].get("members", 1)
    key = column if members == 1 else f"{column}_ensemble_{members}"
    key = "test_mc" if key == "test_mc_words_kept" else key
    shown = group[0]["published"].get(key) if column != "test_mc" else None
    return f"{text} ({shown:.1f})" if shown is not None else text


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _note(runs: list[dict[str, Any]], groups: list[list[dict[str, Any]]]) -> str:
    shares = {r.get("share_of_training_text", 1.0) for r in runs}
    text = "Perplexities; published numbers in brackets. ± is the Monte Carlo standard error. Lower is better."
    if any(len(group) > 1 for group in groups):
        text += " Rows of several seeds: their mean, and in square brackets the lowest and the highest."
    if shares != {1.0}:
        text += (
            f" Trained on the first {max(shares):.0%} of the training text: not to be compared with published numbers."
        )
    return text


def _speed(epochs: list[dict[str, Any]]) -> float:
    speeds = sorted(e["words_per_second"] for e in epochs)
    return float(speeds[len(speeds) // 2])
