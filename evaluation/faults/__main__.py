"""`python -m evaluation.faults`: break things on purpose, note what became of each, write docs/reliability.md.

python -m evaluation.faults                   # all of it, under two hours on two cores; goes on where it was stopped
python -m evaluation.faults kills numbers     # some parts
python -m evaluation.faults --small           # a hundredth of it: about a minute
python -m evaluation.faults report            # only the page, from the JSON files
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from bayesrnn._files import atomic_write
from evaluation import records
from evaluation.faults import report
from evaluation.faults.cost import cost, training
from evaluation.faults.flips import exchanged, flips
from evaluation.faults.fuzz import fuzz, readers
from evaluation.faults.headers import headers
from evaluation.faults.kills import KINDS, kills
from evaluation.faults.load import loads
from evaluation.faults.numbers import numbers
from evaluation.faults.sameness import sameness
from evaluation.faults.signals import COMMANDS, signals
from evaluation.options import OneLineParser, named
from evaluation.options import run as run_script

RESULTS = records.RESULTS / "faults"
_PIECES = 10  # into which long parts are cut, so that little is done again after a stop

Unit = tuple[str, Callable[[], dict[str, Any]]]


def parts(share: float) -> dict[str, list[Unit]]:
    """Return the units of every part; `share` of 1 is the full form."""

    def units(total: int, work: Callable[[int, int], dict[str, Any]], name: str) -> list[Unit]:
        size = max(round(total * share / (_PIECES if share == 1 else 1)), 1)
        return [(f"{name} {k}", lambda k=k: work(size, k)) for k in range(_PIECES if share == 1 else 1)]

    each, whole = 100_000 // len(readers()), share == 1
    return {
        "numbers": [("numbers", lambda: numbers(share))],
        "headers": [("headers", headers)] if whole else [],
        "sameness": [("sameness", sameness)] if whole else [],
        "cost": [("cost", cost), ("training", training)] if whole else [],
        "flips": [*units(2000, flips, "flips"), *units(100, exchanged, "exchanged")],
        "kills": [unit for kind in KINDS for unit in units(60, lambda n, k, kind=kind: kills(kind, n, k), kind)],
        "signals": [(c, lambda c=c: signals(c)) for c in COMMANDS] if whole else [],
        "load": list(loads().items()) if whole else [],
        "fuzz": [unit for name in readers() for unit in units(each, lambda n, k, r=name: fuzz(r, n, k), name)],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = OneLineParser(
        prog="python -m evaluation.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts(1))}; or report")
    parser.add_argument("--small", action="store_true", help="a hundredth, into runs/faults-small")
    parser.add_argument("--work", type=Path, default=Path("runs/faults"), help="folder of finished units")
    return run_script(parser, _work, arguments)


def _work(given: argparse.Namespace) -> None:
    if given.parts == ["report"]:
        print(report.write(RESULTS))
        return
    torch.set_num_threads(1)
    everything = parts(0.01 if given.small else 1)
    work = Path("runs/faults-small") if given.small else given.work
    for name, units in named(given.parts, {name: (name, units) for name, units in everything.items()}, "a part"):
        if units:
            merged = merge([_once(work / name, unit) for unit in units])
            worst = "".join(f"\n  {key}: {value}"[:300] for key, value in merged.get("worst", {}).items())
            shown = json.dumps({key: value for key, value in merged.items() if key != "worst"})
            print(f"{name}: {shown[:600]}{worst}", flush=True)
            records.save(name, merged, seed=0, folder=work / "results" if given.small else RESULTS)
    if not given.small:
        print(report.write(RESULTS))


def _once(folder: Path, unit: Unit) -> dict[str, Any]:
    """Return the result of a unit, from its file if it was finished before."""
    name, work = unit
    file = folder / f"{name.replace(' ', '_')}.json"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(file, json.dumps({"unit": name, **work()}, indent=1))
    return json.loads(file.read_text(encoding="utf-8"))


def merge(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the results of the units of a part as one: trials are counted together, all else stays by unit."""
    if not all("outcomes" in result and "trials" in result for result in results):
        return {"units": results}
    outcomes = sum((Counter(result["outcomes"]) for result in results), Counter[str]())
    worst = {key: value for result in results for key, value in result["worst"].items()}
    own = {key: value for key, value in results[0].items() if key not in ("unit", "trials", "outcomes", "worst")}
    return {"trials": outcomes.total(), "outcomes": dict(outcomes), "worst": worst, **own}


if __name__ == "__main__":
    raise SystemExit(main())
