"""The table beside the published one, and the learning curves, from the JSON files alone."""

from pathlib import Path
from typing import Any

from evaluation import records

_COLUMNS = ("valid", "test", "test_mc_words_kept", "test_mc", "test_mc_tuned")
_TITLES = {
    "valid": "valid",
    "test": "test, deterministic",
    "test_mc_words_kept": "test, MC (words kept)",
    "test_mc": "test, MC",
    "test_mc_tuned": "test, MC tuned",
}


def write(table: str, size: str, results: Path) -> list[Path]:
    """Write `penn_treebank_TABLE_SIZE.md` and, where epochs are known, `.png`."""
    found = load(table, size, results)
    if not found:
        raise ValueError(f"{results} holds no result of the table {table!r} at size {size!r}: run its rows first.")
    path = results / f"penn_treebank_{table}_{size}.md"
    path.write_text(markdown(table, size, found), encoding="utf-8")
    written = [path]
    if any(r.get("epochs") for r in found):
        written.append(curves(found, results / f"penn_treebank_{table}_{size}.png"))
    return written


def load(table: str, size: str, results: Path) -> list[dict[str, Any]]:
    """Return the results of a table in the order of its rows; members of ensembles are left out."""
    from evaluation.penn_treebank.rows import rows

    found = []
    for row in rows(table, size):
        stem = f"penn_treebank_{table}_{size}_{row.name}"
        paths = sorted(results.glob(f"{stem}.json")) + sorted(results.glob(f"{stem}_ensemble_*.json"))
        found += [records.load(path.stem, results) for path in paths]
    return found


def markdown(table: str, size: str, found: list[dict[str, Any]]) -> str:
    """Return the table; published numbers stand in brackets beside ours."""
    columns = [c for c in _COLUMNS if any(c in r.get("scores", {}) for r in found)]
    head = ["model", "epochs", *(_TITLES[c] for c in columns), "train, last epoch", "words/s"]
    lines = [f"# Penn Treebank, {table} table, size {size}", "", _note(found), ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for r in found:
        epochs, scores = r.get("epochs", []), r.get("scores", {})
        members = r.get("members", 1)
        name = r["row"] + (f", {members} members" if members > 1 else "")
        cells = [name, str(len(epochs)) if epochs else ""]
        cells += [_cell(c, scores, r["published"], members) for c in columns]
        cells += [f"{epochs[-1]['train_perplexity']:.1f}", f"{_speed(epochs):,.0f}"] if epochs else ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def curves(found: list[dict[str, Any]], path: Path) -> Path:
    """Plot validation perplexity by epoch (training dashed), as Figure 12 of arXiv:1512.05287 does."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for r in (r for r in found if r.get("epochs")):
        x = [e["epoch"] for e in r["epochs"]]
        (line,) = axes.plot(x, [e["valid_perplexity"] for e in r["epochs"]], label=r["row"])
        axes.plot(x, [e["train_perplexity"] for e in r["epochs"]], "--", color=line.get_color(), linewidth=0.8)
    lowest = min(e["valid_perplexity"] for r in found for e in r.get("epochs", []))
    axes.set(xlabel="epoch", ylabel="perplexity (validation; training under masks dashed)", ylim=(0, 3 * lowest))
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150, metadata={"Software": None})
    pyplot.close(figure)
    return path


def _cell(column: str, scores: dict[str, Any], published: dict[str, float], members: int) -> str:
    text = f"{scores[column]:.2f}" if column in scores else ""
    error = scores.get(f"{column}_standard_error")
    text += f" ± {error:.2f}" if error is not None else ""
    key = column if members == 1 else f"{column}_ensemble_{members}"
    key = "test_mc" if key == "test_mc_words_kept" else key
    shown = published.get(key) if column != "test_mc" else None
    return f"{text} ({shown:.1f})" if shown is not None else text


def _note(found: list[dict[str, Any]]) -> str:
    shares = {r.get("share_of_training_text", 1.0) for r in found}
    text = "Perplexities; published numbers in brackets. ± is the Monte Carlo standard error. Lower is better."
    if shares != {1.0}:
        text += (
            f" Trained on the first {max(shares):.0%} of the training text: not to be compared with published numbers."
        )
    return text


def _speed(epochs: list[dict[str, Any]]) -> float:
    speeds = sorted(e["words_per_second"] for e in epochs)
    return float(speeds[len(speeds) // 2])
