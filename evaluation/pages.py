"""`python -m evaluation.pages`: write the tables of README.md and evaluation/README.md anew from the results.

A page marks the place of a table by `<!-- table: NAME -->` and `<!-- end table -->`; what stands between is replaced.
"""

import re
from collections.abc import Callable, Sequence
from math import exp, log
from pathlib import Path
from typing import Any

from evaluation import records
from evaluation.sentiment.report import of_grid

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "evaluation" / "README.md")
_BLOCK = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end table -->)", re.S)


def main() -> int:
    """Write the pages."""
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(f"written {page.relative_to(ROOT)}")
    return 0


def filled(text: str) -> str:
    """Return a page with every marked table replaced by the one that the results give."""
    return _BLOCK.sub(lambda block: f"{block[1]}{_table(block[2])}{block[3]}", text)


def _table(name: str) -> str:
    kind, *arguments = name.split()
    return _KINDS[kind](*arguments) + "\n"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int = 1) -> str:
    ruler = ["---" if k < numbers_from else "---:" for k in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ruler, *rows))


def _file(path: str, place: str = "0") -> str:
    """A table that another report has written: the one at this place of its file."""
    text = (records.RESULTS / path).read_text(encoding="utf-8")
    return re.findall(r"(?:^\|.*\n?)+", text, flags=re.M)[int(place)].rstrip("\n")


_BEYOND = [
    ("beyond_medium", name)
    for name in (
        "plain-narrow", "shared-narrow", "shared-middle", "shared-shifted", "shared-restarted", "shared-branch-a",
        "shared-branch-b", "shared-joined", "shared",
    )
]  # fmt: skip


def _treebank(size: str) -> str:
    """The papers' rows of one size, or those beyond the papers, with published numbers in brackets."""
    chosen = {
        "papers": [("gal_medium", "zaremba"), ("gal_medium", "gal-tied"), ("gal_medium", "gal-untied"),
                   ("gal_large", "gal-untied"), ("beyond_medium", "shared")],
        "small": [("gal_small", n) for n in ("none", "naive", "zaremba", "moon", "gal-tied", "gal-untied")],
        "beyond": _BEYOND,
    }[size]  # fmt: skip
    kinds = {
        "test": "deterministic pass",
        "test_tempered": "deterministic pass, tuned",
        "test_mc_words_kept": "MC, words kept",
        "test_mc": "MC, words dropped",
        "test_mc_tuned": "MC, tuned",
        "test_dynamic": "dynamic evaluation",
    }
    results = [(table, records.load(f"penn_treebank_{table}_{row}")) for table, row in chosen]
    columns = [c for c in kinds if any(c in r["scores"] for _, r in results)]
    rows = []
    for table, result in results:
        scores, published = dict(result["scores"]), result["published"] if table.startswith("gal") else {}
        if "test_mc" in scores and "test_mc_words_kept" not in scores:  # no masks of words: all are kept
            scores["test_mc_words_kept"] = scores.pop("test_mc")
        cells = []
        for column in columns:
            wanted = published.get("test_mc" if column == "test_mc_words_kept" else column)
            shown = f" ({wanted:.1f})" if wanted is not None and column != "test_mc" else ""
            cells.append(f"{scores[column]:.1f}{shown}" if column in scores else "")
        epochs = f"{'+' if result.get('start') else ''}{len(result['epochs'])}"
        rows.append([f"{result['row']}, {table.split('_')[1]}", epochs, *cells])
    return _markdown(["model", "epochs", *(kinds[c] for c in columns)], rows)


def _averaging() -> str:
    """What draws gain on one pass, and how far the entropy of their mean is above its loss; the largest gain first."""
    places = [
        *_BEYOND, ("gal_medium", "zaremba"), ("gal_medium", "gal-tied"), ("gal_medium", "gal-untied"),
        ("gal_large", "gal-untied"), ("beyond_small", "shared"), ("gal_small", "naive"), ("gal_small", "zaremba"),
        ("gal_small", "gal-tied"), ("gal_small", "gal-untied"),
    ]  # fmt: skip
    lines = []
    for table, row in places:
        scores = records.load(f"penn_treebank_{table}_{row}")["scores"]
        for name in ("test_mc_words_kept", "test_mc"):
            if name in scores:
                loss = log(scores[name])
                kind = "words dropped" if name == "test_mc" and "test_mc_words_kept" in scores else "words kept"
                gain, excess = log(scores["test"]) - loss, scores[f"{name}_entropy"] - loss
                lines.append((gain, [f"{row}, {table.split('_')[1]}, {kind}", f"{gain:.3f}", f"{excess:.3f}"]))
    head = ["model", "gain by averaging, nats per token", "entropy of the mean minus its loss"]
    return _markdown(head, [line for _, line in sorted(lines, reverse=True)])


def _multipliers() -> str:
    """Perplexity of validation text at factors of the rates, and the entropy of the mean minus its loss."""
    results = [records.load(path.stem) for path in sorted(records.RESULTS.glob("penn_treebank_*_multipliers.json"))]
    rows = []
    for result in results:
        cells = [f"{exp(m['loss']):.1f} ({m['entropy'] - m['loss']:+.2f})" for m in result["multipliers"]]
        rows.append([f"{result['row']}, {result['size']}", *cells])
    head = [f"{m['multiplier']:g} of the rates" if m["multiplier"] else "one pass" for m in results[0]["multipliers"]]
    return _markdown(["model", *head], rows)


def _posterior() -> str:
    """Spread relative to NUTS and coverage of 95 % intervals, by region."""
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in _file("posterior.md").splitlines()]
    head, regions = lines[0], ("inside", "gap", "beyond")
    place = {name: head.index(name) for name in ("method", "region", "ratio to NUTS", "cov. 95")}
    methods = list(dict.fromkeys(line[place["method"]] for line in lines[2:]))
    rows = []
    for method in methods:
        by = {line[place["region"]]: line for line in lines[2:] if line[place["method"]] == method}
        rows.append([method, *(f"{float(by[r][place['ratio to NUTS']]):.2f}" for r in regions),
                     *(f"{float(by[r][place['cov. 95']]):.0%}".replace("%", " %") for r in regions)])  # fmt: skip
    spread = [f"spread / NUTS, {r}" for r in ("at the data", "in the gap", "beyond")]
    return _markdown(["method", *spread, "in 95 %, at the data", "in the gap", "beyond"], rows)


def _shift() -> str:
    """Entropy gaps of reversed text, and how well uncertainty detects foreign text."""
    rows = []
    for name, title in (
        ("small_gal-untied", "Gal, untied, small"),
        ("medium_shared-middle", "shared-middle"),
        ("holmes", "Holmes"),
    ):
        result: dict[str, Any] = records.load(f"shift_language_{name}")
        gap = result["reversed_gap_nats"]
        for text, shift in result["shift"].items():
            auroc = shift["auroc"]
            cells = (gap["entropy"], gap["deterministic entropy"], gap["epistemic"], auroc["entropy"])
            cells += (auroc["deterministic entropy"], auroc["epistemic"], auroc["share of <unk>"])
            rows.append([title, text, *(f"{value:.2f}" for value in cells)])
    head = ["model", "foreign text", "gap, MC (nats)", "gap, deterministic", "of it epistemic"]
    return _markdown([*head, "AUROC: entropy, MC", "deterministic", "epistemic", "share of `<unk>`"], rows, 2)


def _sentiment_errors() -> dict[tuple[str, ...], str]:
    """Test errors by split, cell, variant, epoch and pass."""
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in _file("sentiment/table.md").splitlines()]
    return {tuple(line[:5]): line[6] for line in lines}


def _sentiment_grid() -> str:
    """Test errors of one pass, epoch 60 and early stopping, by rates of words and states; a dash where missing."""
    runs = records.load_all(records.RESULTS / "sentiment", "paper-*.json", "scores")
    scores = {(r["cell"], r["variant"]["word"], r["variant"]["hidden"]): r["scores"] for r in of_grid(runs)}
    rates, rows = (0.0, 0.25, 0.5), []
    for word in rates:
        both = []
        for key in [(cell, word, state) for cell in ("gru", "lstm") for state in rates]:
            epochs = [scores[key][which] for which in ("last", "best") if key in scores]
            errors = [f"{epoch['deterministic']['rmse']:.4f}" for epoch in epochs]
            both.append(" / ".join(errors) or "–")
        rows.append([f"{word:g}", *both])
    head = [f"{cell}, states {state:g}" for cell in ("GRU", "LSTM") for state in rates]
    return _markdown(["words", *head], rows)


def _sentiment(split: str) -> str:
    """Test errors of the main rows of one split."""
    errors = _sentiment_errors()
    names = {"none": "no dropout", "gal": "variational", "gal_variance": "variational, predicted variance",
             "naive": "per-step masks (naive)"}  # fmt: skip
    passes = {"deterministic": "deterministic pass", "mc": "50 draws"}
    rows = []
    for variant, title in names.items():
        for kind, shown in passes.items():
            cells = []
            for cell in ("gru", "lstm"):
                for epoch in ("60", "best"):
                    cells.append(errors.get((split, cell, variant, epoch, kind), ""))
            if any(cells):
                rows.append([f"{title}, {shown}", *cells])
    return _markdown(["", "GRU, epoch 60", "GRU, early stopping", "LSTM, epoch 60", "LSTM, early stopping"], rows)


def _speed() -> str:
    """What a training step and a prediction cost, against what one would do otherwise."""
    train = {(r["cell"], r["candidate"]): r for r in reversed(records.load("speed_train")["rows"])}
    rows = [
        [f"training step, {cell} 2 x 650, tied masks", "`torch.nn` without masks",
         f"{train[cell, 'gal tied, scan']['ratio']:.2f} x its time"]
        for cell in ("LSTM", "GRU")
    ]  # fmt: skip
    for candidate, what in (("predict", "float32"), ("predict, bf16", "bfloat16")):
        cells = [c.strip() for c in next(
            line for line in _file("speed_predict.md", "0").splitlines() if line.split("|")[1].strip() == candidate
        ).strip("|").split("|")]  # fmt: skip
        rows.append([f"100 draws of one sequence, {what}", "a cell loop per draw", f"{cells[2]} x faster"])
    machine = records.load("speed_predict")["provenance"]["machine"]
    table = _markdown(["workload", "against", "result"], rows, 2)
    return f"{table}\n\n{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}."


def _people() -> str:
    """Four rows of the networks that people use, and the processor."""
    result = records.load("speed_people")
    predict = {row["network"]: row for row in result["predict"]}
    train = {row["network"]: row for row in result["train"]}
    loop, plain = "100 passes of `nn.LSTM` with `nn.Dropout` on", "`torch.nn` without masks"
    rows = [
        [f"100 draws, LSTM {name} steps", loop, f"{predict[name]['times_faster']:.1f} x faster"]
        for name in ("2 x 64, 64 x 168", "2 x 650, 1 x 35")
    ]
    rows += [
        [f"training step with tied masks, {name} steps", plain, f"{train[name]['ratio']:.2f} x its time"]
        for name in ("LSTM 1 x 128, 128 x 200", "GRU 1 x 128, 128 x 200")
    ]
    machine = result["provenance"]["machine"]
    table = _markdown(["layers x units, rows x steps", "against", "result"], rows, 2)
    return f"{table}\n\n{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}."


_KINDS: dict[str, Callable[..., str]] = {
    "file": _file,
    "treebank": _treebank,
    "averaging": _averaging,
    "multipliers": _multipliers,
    "posterior": _posterior,
    "shift": _shift,
    "sentiment": _sentiment,
    "sentiment-grid": _sentiment_grid,
    "speed": _speed,
    "people": _people,
}

if __name__ == "__main__":
    raise SystemExit(main())
