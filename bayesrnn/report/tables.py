"""Tables of a report's page: parts of the data, and the classes with their confusions."""

from collections.abc import Mapping
from typing import Any

from bayesrnn.metrics import ConfusionMatrix
from bayesrnn.report.format import number, percent, span
from bayesrnn.report.page import Page

_LONG = 12
_MOST_COLUMNS = 15


def add_classes(page: Page, matrix: ConfusionMatrix) -> None:
    """Add the tables of a class target: each class, and which is taken for which."""
    rows = matrix.by_class().to_dict("records")
    for row in rows:
        row |= {name: "" if row[name] != row[name] else percent(row[name]) for name in ("recall", "precision")}
    text = "Recall: share of the observed that are predicted so. Precision: share of the predicted that are right."
    page.section("By class", text).table(rows, folded=folded(rows))
    if len(rows) <= _MOST_COLUMNS:
        counts = zip(matrix.class_names, matrix.counts.tolist(), strict=True)
        cells = [{"observed ↓ predicted →": name, **dict(zip(matrix.class_names, row))} for name, row in counts]
        page.table(cells, "Confusion matrix: targets of each observed class by predicted class.")
        return
    mistakes = matrix.confusions()
    if len(mistakes):
        page.table(mistakes, "The most frequent confusions; the whole matrix is in confusion_matrix.csv.")


def folded(rows: list[dict[str, Any]]) -> str:
    """Return what a long table hides behind, nothing for a short one."""
    return f"All {len(rows)} rows" if len(rows) > _LONG else ""


def part_row(row: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the scores of a part of the data as one line of a table, each with its interval."""
    shown: dict[str, Any] = {{"horizon": "step", "frequency": "occurrences"}.get(kind, kind): row["part"]}
    for name, value in row.items():
        if name == "part":
            continue
        if name.endswith(("_low", "_high")):
            continue
        if name == "off":
            shown["beyond chance"] = "" if value is None else "yes" if value else "no"
        elif isinstance(value, float):
            ends = f" {span(row[f'{name}_low'], row[f'{name}_high'])}" if f"{name}_low" in row else ""
            shown[name.replace("_", " ")] = number(value) + ends
        else:
            shown[name] = value
    return shown
