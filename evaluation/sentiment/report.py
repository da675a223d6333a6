"""Tables and figures from the JSON files of the runs."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.records import load, load_all

COLORS = {"none": "tab:red", "naive": "tab:orange", "gal": "tab:blue", "gal_variance": "tab:purple"}
LABELS = {"none": "no dropout", "naive": "naive dropout", "gal": "variational", "gal_variance": "variational, variance"}
PASSES = {"deterministic": "deterministic", "mc": "draws"}
KINDS = {"epistemic": "epistemic", "variance": "total variance"}
"""A deterministic pass has no epistemic part: its total variance is its confidence."""
FEWEST = 0.05  # share of segments from which the error of those kept is drawn: fewer say nothing
COLUMNS = ("rmse", "mae", "nll", "crps", "coverage_0.5", "coverage_0.8", "coverage_0.95")


def write(results: Path) -> None:
    """Write `table.md` and every figure for which there are runs into `results`."""
    import matplotlib

    matplotlib.use("Agg")
    records = load_all(results, "*-seed*.json", "split", "cell", "variant", "seed", "epochs", "constant_error")
    if records:
        (results / "table.md").write_text(table(records) + abstention_table(records), encoding="utf-8")
    elif not (results / "vader.json").is_file():
        raise ValueError(f"there are no runs in {results}: train first.")
    for split in sorted({r["split"] for r in records}):
        for cell in sorted({r["cell"] for r in records}):
            chosen = [r for r in records if (r["split"], r["cell"]) == (split, cell)]
            main = [r for r in chosen if r["variant"]["name"] in COLORS]
            if main:
                curves(main, results / f"curves-{split}-{cell}.png", f"{cell.upper()}, {split} split")
            grid = of_grid(chosen)
            if len(grid) > 1:
                curves(grid, results / f"grid-{split}-{cell}.png", f"{cell.upper()}, p_E × p_U, {split} split")
            if any(_kept(r) for r in main):
                abstention(main, results / f"abstention-{split}-{cell}.png", f"{cell.upper()}, {split} split")
    if (results / "vader.json").is_file():
        vader(load("vader", results)["vader"], results / "vader.png")


def of_grid(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the runs of the study of rates, all of seed 0; the variational network stands for a missing cell.

    It does so only for the cell with its rates: both have the same start and the same masks, and so are one network.
    """
    grid = {_cell(r): r for r in records if r["variant"]["name"].startswith("pE")}
    for record in records:
        variant = record["variant"]
        if variant["name"] == "gal" and record["seed"] == 0:
            name = f"pE{variant['word']:g}_pU{variant['hidden']:g}"
            grid.setdefault(_cell(record), record | {"variant": variant | {"name": name}})
    return [grid[cell] for cell in sorted(grid)]


def _cell(record: dict[str, Any]) -> tuple[str, str, float, float]:
    return record["split"], record["cell"], record["variant"]["word"], record["variant"]["hidden"]


def table(records: list[dict[str, Any]]) -> str:
    """Return the main table in markdown: mean over seeds, and the standard deviation of the error between them."""
    rows: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    constants: dict[str, float] = {}
    for record in records:
        constants[record["split"]] = record["constant_error"]
        for which, scores in record.get("scores", {}).items():
            for judged in ("deterministic", "mc"):
                if judged in scores:
                    epochs = len(record["epochs"]) if which == "last" else "best"
                    key = (record["split"], record["cell"], record["variant"]["name"], str(epochs), judged)
                    rows[key].append(scores[judged])
    head = ["split", "cell", "variant", "epoch", "pass", "seeds", "RMSE (sd of seeds)"]
    head += ["MAE", "NLL", "CRPS", "cov. 50", "cov. 80", "cov. 95"]
    lines = [_line(head), _line(["---"] * len(head))]
    for key in sorted(rows):
        per_seed = rows[key]
        mean = {name: float(np.mean([s[name] for s in per_seed])) for name in COLUMNS}
        spread = f" ({np.std([s['rmse'] for s in per_seed], ddof=1):.4f})" if len(per_seed) > 1 else ""
        cells = [*key, str(len(per_seed)), f"{mean['rmse']:.4f}{spread}"]
        lines.append(_line([*cells, *(f"{mean[name]:.3f}" for name in COLUMNS[1:])]))
    notes = "".join(f"A constant scores {error:.4f} on the {name} split. " for name, error in sorted(constants.items()))
    chosen = "`best` is early stopping: by validation reviews on the sound split, by the TEST segments on the paper's, "
    chosen += "which has nothing else and flatters it. The noise of networks without a predicted variance is fitted on "
    chosen += "validation reviews (sound) or training segments (paper: too narrow for a network that overfits)."
    return "\n".join([*lines, "", notes + chosen, ""])


def abstention_table(records: list[dict[str, Any]]) -> str:
    """Return what refusing the least certain is worth, in markdown: means over seeds; empty where nothing ranks."""
    rows: dict[tuple[str, ...], list[tuple[float, ...]]] = defaultdict(list)
    for record in records:
        for judged, kind, curve in _kept(record):
            whole = record["scores"]["best"][judged]["abstention"]
            key = (record["split"], record["cell"], record["variant"]["name"], PASSES[judged], KINDS[kind])
            rows[key].append((whole["random_area"], curve["area"], whole["oracle_area"], curve["auroc"]))
    if not rows:
        return ""
    head = ["split", "cell", "variant", "pass", "ranked by", "seeds", "area at random", "area", "area of an oracle"]
    head += ["AUROC of large errors"]
    lines = ["\n## Learning to abstain\n", _line(head), _line(["---"] * len(head))]
    for key in sorted(rows):
        random, area, oracle, auroc = np.mean(rows[key], 0)
        numbers = [f"{value:.5f}" for value in (random, area, oracle)]
        lines.append(_line([*key, str(len(rows[key])), *numbers, f"{auroc:.3f}"]))
    note = "The area is the mean squared error left, averaged over all shares that could be kept, with the weights of "
    note += "early stopping; large errors are those above 0.2."
    return "\n".join([*lines, "", note, ""])


def curves(records: list[dict[str, Any]], path: Path, title: str) -> None:
    """Draw error against epoch, training left and test right, one color a variant, mean and range over seeds."""
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
    variants = {r["variant"]["name"]: r["variant"] for r in records}
    names = sorted(variants, key=lambda n: (n not in COLORS, variants[n]["word"], variants[n]["hidden"], n))
    levels: dict[str, list[float]] = {
        site: sorted({v[site] for n, v in variants.items() if n not in COLORS}) for site in ("word", "hidden")
    }
    for name in names:
        color, style, label = _look(variants[name], levels)
        every = [r["epochs"] for r in records if r["variant"]["name"] == name]
        length = max(map(len, every))
        chosen = [epochs for epochs in every if len(epochs) == length]  # seeds still in training are left out
        for axis, key in zip(axes, ("train", "test"), strict=True):
            values = np.array([[epoch[key] for epoch in epochs] for epochs in chosen])
            at = np.arange(1, length + 1)
            axis.plot(at, values.mean(0), color=color, ls=style, label=label)
            axis.fill_between(at, values.min(0), values.max(0), color=color, alpha=0.15, lw=0)
        drawn = [(e["epoch"], e["test_mc"]) for epochs in chosen for e in epochs if "test_mc" in e]
        if drawn:
            axes[1].plot(*zip(*drawn, strict=True), ".", color=color, ms=4)
    axes[1].axhline(records[0]["constant_error"], color="gray", lw=0.8, ls=":", label="constant prediction")
    for axis, name in zip(axes, ("training", "test (dots: mean over draws)"), strict=True):
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_title(f"{title}: {name}", fontsize=10)
        axis.set_xlabel("epoch")
    axes[0].set_ylabel("RMSE, ratings in [0, 1]")
    axes[1].legend(fontsize=8, ncols=2 if len(names) > 5 else 1)
    _save(figure, path)


def _look(variant: dict[str, Any], levels: dict[str, list[float]]) -> tuple[str, str, str]:
    """Color, line and label: a main variant has its own; in a grid, the color of p_E and the line of p_U."""
    name = variant["name"]
    if name in COLORS:
        return COLORS[name], "-", LABELS[name]
    word, hidden = (levels[site].index(variant[site]) for site in ("word", "hidden"))
    label = f"p_E {variant['word']:g}, p_U {variant['hidden']:g}"
    return f"C{word % 10}", ("-", "--", ":", "-.")[hidden % 4], label


def abstention(records: list[dict[str, Any]], path: Path, title: str) -> None:
    """Draw error against coverage, first seed of each variant: what is kept are the least uncertain test segments."""
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4.5))
    seen: set[str] = set()
    for record in sorted(records, key=lambda r: r["seed"]):
        name = record["variant"]["name"]
        if name not in seen:
            seen.add(name)
            for number, (judged, kind, curve) in enumerate(_kept(record)):
                label = f"{LABELS[name]}, {PASSES[judged]}: {KINDS[kind]} (AUROC of large errors {curve['auroc']:.2f})"
                style = {"color": COLORS[name], "ls": ("-", "--", ":")[number % 3]}
                kept, risk = np.array(curve["coverage"]), np.array(curve["risk"])
                enough = kept >= FEWEST
                axis.plot(kept[enough], np.sqrt(risk[enough]), label=label, **style)
    axis.set(xlabel="share of segments kept", ylabel="RMSE of those kept", title=f"Learning to abstain: {title}")
    axis.set_xlim(0, 1)
    axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.13), frameon=False)
    _save(figure, path)


def _kept(record: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Return (pass, uncertainty, curve) of the best weights, for each uncertainty that varies between segments.

    Where a network predicts no variance of its own, epistemic and total uncertainty of draws rank alike: one stays.
    """
    kept = []
    stochastic = record["variant"]["name"] != "none"
    for judged in ("deterministic", "mc") if record["variant"]["outputs"] == 2 else ("mc",) * stochastic:
        scores = record.get("scores", {}).get("best", {}).get(judged, {}).get("abstention", {})
        kinds = ("epistemic", "variance") if record["variant"]["outputs"] == 2 else ("epistemic",)
        kept += [(judged, kind, scores[kind]) for kind in kinds if kind in scores]
    return kept


def vader(studies: dict[str, Any], path: Path) -> None:
    """Draw the measured variance of the raters against the predicted aleatoric variance, by bin."""
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 4.5))
    for which, study in studies.items():
        at = [b["predicted"] for b in study["bins"]], [b["measured"] for b in study["bins"]]
        words = f"trained on {which} rating{'s' if which == 'all' else ''} a snippet"
        axis.plot(*at, "o-", label=f"{words} (rank correlation {study['spearman']:.2f})")
    ends = [b[kind] for study in studies.values() for b in study["bins"] for kind in ("predicted", "measured")]
    low, high = min(ends), max(ends)
    axis.plot([low, high], [low, high], color="gray", lw=0.8, ls=":", label="predicted = measured")
    axis.set(xlabel="predicted aleatoric variance, squared rating units", ylabel="measured variance of the raters")
    axis.legend(fontsize=8)
    _save(figure, path)


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _save(figure: Any, path: Path) -> None:
    from matplotlib import pyplot as plt

    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
