"""docs/reliability.md: the table of what was tried, from the JSON files."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

from evaluation import records

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
_BLOCK = re.compile(r"(<!-- table -->\n).*?(<!-- end table -->)", re.S)
_COUNTED = {
    "flips": "one bit flipped, the end cut off, or files exchanged, in every kind of file that is kept",
    "headers": "crafted models: sizes, layers, nesting and headers beyond what the files hold",
    "fuzz": "mutated tables, texts, archives, models and recalibrations given to their readers",
    "numbers": "finite numbers of scales from 1e-300 to 1e300 in float16 to float64, 1 to 10,000 steps, rates to .99",
}
_KILLED = {
    "save": "`br.save` over a model, killed",
    "folder": "a folder of results exchanged, killed",
    "fit": "`fit`, killed again and again, then ended",
    "language": "`train_language_model`, killed again and again, then ended",
}

Line = tuple[str, str, str]


def write(folder: Path) -> Path:
    """Write the table into the page, and return its path."""
    text = _BLOCK.sub(lambda block: block[1] + table(folder) + block[2], PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(text, encoding="utf-8")
    return PAGE


def table(folder: Path) -> str:
    """Return one line per thing that was tried, and a line on where."""
    results = {path.stem: records.load(path.stem, folder) for path in sorted(folder.glob("*.json"))}
    lines: list[Line] = [("tried", "trials", "result")]
    if "kills" in results:
        lines += _kills(results["kills"]["units"])
    lines += [
        (title, f"{results[k]['trials']:,}", _outcomes(results[k])) for k, title in _COUNTED.items() if k in results
    ]
    if "signals" in results:
        lines += [_stops(unit) for unit in results["signals"]["units"]]
    if "load" in results:
        lines += [(unit["unit"], "", _facts(unit)) for unit in results["load"]["units"]]
    if "sameness" in results:
        lines += _sameness(results["sameness"]["units"][0]["rows"])
    if "cost" in results:
        cost, *more = results["cost"]["units"]
        said = f"{cost['loading_ms']:.0f} ms; reading the same bytes {cost['reading_ms']:.0f} ms: {cost['ratio']:.2f} x"
        lines.append((f"a model of {cost['megabytes']} MB loaded, every bit checked", "", said))
        for unit in more:
            said = (
                f"{unit['checked_ms']:.0f} ms; without its checks {unit['unchecked_ms']:.0f} ms: {unit['ratio']:.2f} x"
            )
            lines.append(("`fit`, an epoch of 640 rows of 50 steps, 64 units", "", said))
    rows = ["| " + " | ".join(line) + " |" for line in (lines[0], ("---", "---:", "---"), *lines[1:])]
    where = sorted({_where(result["provenance"]["machine"]) for result in results.values()})
    return "\n".join(rows) + f"\n\n{'; '.join(where)}.\n"


def _kills(units: list[dict[str, Any]]) -> list[Line]:
    lines = []
    for kind, title in _KILLED.items():
        counts = [{k: v for k, v in unit.items() if k != "unit"} for unit in units if unit["unit"].split()[0] == kind]
        total = sum(map(Counter, counts), Counter())
        ended = total["trainings ended"]
        same = f"; {ended} trainings ended, {total['ended with other bits']} with other bits than one never killed"
        left = total["left over after the next save"] + total["left over after the end"]
        lines.append(
            (title, f"{total['kills']}", f"{total['lost']} lost{same if ended else ''}; {left} files left over")
        )
    return lines


def _stops(unit: dict[str, Any]) -> Line:
    said = f"{unit['right_exit_codes']} end with the signal's exit code; median {unit['median_s']:.2f} s, "
    said += f"at most {unit['largest_s']:.2f} s, with {unit['busy_per_core']:.1f} processes at work per core"
    return (f"`bayesrnn {unit['unit']}` stopped by SIGTERM or SIGINT while it trains", f"{unit['stops']}", said)


def _outcomes(result: dict[str, Any]) -> str:
    words = [f"{count:,} {name}" for name, count in sorted(result["outcomes"].items(), key=lambda item: -item[1])]
    if "slowest_s" in result:
        words.append(f"at most {result['slowest_s']:.2f} s and {result['largest_mb']:.0f} MB above the files")
    return ", ".join(words)


def _facts(unit: dict[str, Any]) -> str:
    facts = {key.replace("_", " "): _shown(value) for key, value in unit.items() if key != "unit" and value != []}
    return "; ".join(f"{key}: {value}" for key, value in facts.items())


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{count:,} {name}" for name, count in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _sameness(rows: dict[str, dict[str, Any]]) -> list[Line]:
    lines = []
    for name, row in rows.items():
        apart = row["largest relative difference"]
        lines.append((f"the same seed: {name}", "", "the same bits" if row["equal bits"] else f"equal to {apart:.0e}"))
    return lines


def _where(machine: dict[str, Any]) -> str:
    return f"{machine['processor']}, cores shared with other work, one thread unless said, torch {machine['torch']}"
