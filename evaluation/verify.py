"""`python -m evaluation.verify RESULT.json`: run a small result again and compare every number.

The command of the result is run as its provenance says, with `--results` in a folder of its own; times and what the
provenance holds are not compared. Says first what differs between then and now: versions, processor, threads, commit.
"""

import argparse
import json
import math
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from evaluation import records
from evaluation.options import OneLineParser
from evaluation.options import run as run_script

_ASIDE = ("provenance", "seconds", "minutes", "date")  # keys whose values need not come again


def main(arguments: Sequence[str] | None = None) -> int:
    parser = OneLineParser(
        prog="python -m evaluation.verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("result", type=Path, help="a JSON file that an experiment wrote with --results")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="largest difference, relative to the number")
    return run_script(parser, _work, arguments)


def _work(given: argparse.Namespace) -> None:
    result = records.load(given.result.stem, given.result.parent)
    came_from = result.get("provenance")
    if not isinstance(came_from, dict) or not str(came_from.get("command", "")).startswith("python -m evaluation."):
        raise ValueError(
            f"{given.result} does not say which command of evaluation/ wrote it, so it cannot be run again."
        )
    for line in changes(came_from, records.provenance()):
        print(line)
    again = rerun(came_from["command"], given.result.name)
    differing = list(differences(result, again, given.tolerance))
    if differing:
        shown = "; ".join(differing[:5]) + (f"; and {len(differing) - 5} more" if len(differing) > 5 else "")
        raise ValueError(f"{given.result.name} does not come again: {shown}.")
    print(f"{given.result.name} comes again, every number to {given.tolerance:g}.")


def rerun(command: str, name: str) -> dict[str, Any]:
    """Run the command of a result, and return the file of that name which it writes.

    Raises:
        ValueError: If it fails, or writes no such file.
    """
    words = shlex.split(command)[1:]
    if "--results" in words:
        place = words.index("--results")
        del words[place : place + 2]
    with tempfile.TemporaryDirectory() as folder:
        state = str(Path(folder) / "state")  # of a recorded command whose folders are not known
        words = [state if word == "FOLDER" else word for word in words]
        done = subprocess.run(
            [sys.executable, *words, "--results", folder], capture_output=True, text=True, check=False
        )
        file = Path(folder) / name
        if done.returncode or not file.is_file():
            said = (done.stderr.strip().splitlines() or ["no word"])[-1]
            raise ValueError(f"`{command}` did not write {name} again: {said}")
        return json.loads(file.read_text(encoding="utf-8"))


def changes(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Yield in words what of the provenance is another now."""
    for key in ("commit", "environment", *(f"machine.{name}" for name in now["machine"])):
        a, b = (_under(where, key) for where in (then, now))
        if a != b:
            yield f"{key}: {a} then, {b} now"


def _under(values: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None  # type: ignore[assignment]
    return values


def differences(then: Any, now: Any, tolerance: float, where: str = "") -> Iterator[str]:
    """Yield in words every value that is another now."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted(set(then) | set(now)):
            if key not in _ASIDE:
                yield from differences(then.get(key), now.get(key), tolerance, f"{where}.{key}" if where else key)
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for place, (a, b) in enumerate(zip(then, now)):
            yield from differences(a, b, tolerance, f"{where}[{place}]")
    elif isinstance(then, int | float) and isinstance(now, int | float) and not isinstance(then, bool):
        if not math.isclose(then, now, rel_tol=tolerance, abs_tol=1e-12):
            yield f"{where}: {then:.6g} then, {now:.6g} now"
    elif then != now:
        yield f"{where}: {then!r:.60} then, {now!r:.60} now"


if __name__ == "__main__":
    raise SystemExit(main())
