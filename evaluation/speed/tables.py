"""Tables of the benchmarks, made from their JSON: by the run that measured, or later by `report`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluation import records
from evaluation.speed import control, draws, fit, gpu, memory, people, predict, stream, train, versions

__all__ = ["report", "write"]

_MARKDOWN: dict[str, Callable[[dict[str, Any]], str]] = {
    "control": control.markdown,
    "draws": draws.markdown,
    "fit": fit.markdown,
    "gpu": gpu.markdown,
    "memory": memory.markdown,
    "people": people.markdown,
    "predict": predict.markdown,
    "stream": stream.markdown,
    "train": train.markdown,
    "versions": versions.markdown,
}


def write(name: str, folder: Path = records.RESULTS) -> str:
    """Write the table of one result beside it and return its text."""
    result = records.load(name, folder)
    text = _MARKDOWN[name.split("_")[1]](result) + f"\n\n{_origin(result['provenance'])}\n"
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    return text


def report(folder: Path = records.RESULTS) -> list[str]:
    """Write the tables of all results and return their names."""
    names = [path.stem for path in sorted(folder.glob("speed_*.json"))]
    for name in names:
        write(name, folder)
    return names


def _origin(facts: dict[str, Any]) -> str:
    """Return the line that says where the figures were measured."""
    machine = facts["machine"]
    where = machine["gpu"] or f"{machine['processor']}, {machine['threads']} threads"
    if "vectors" in machine and not machine["gpu"]:
        where += f", vectors of {machine['vectors']}, {'AMX' if machine['amx'] else 'no AMX'}"
    return f"`{facts['command']}` at {facts['commit']} on {facts['date'][:10]}: {where}, torch {machine['torch']}."
