"""The options of every command, and how a command prints."""

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Common:
    """The options that every command has.

    Attributes:
        seed: Of weights, masks and choices.
        device: Where to compute.
        threads: Threads of a CPU; None for torch's own choice.
        quiet: Whether to say nothing but errors.
        json: Whether to print the result as one JSON object, and say the rest on the error stream.
    """

    seed: int = 0
    device: str = "cpu"
    threads: int | None = None
    quiet: bool = False
    json: bool = False

    def where(self) -> "torch.device":
        """Return the device, after the number of threads was set."""
        import torch

        from bayesrnn.nn.devices import pick_device

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return pick_device(self.device)

    @property
    def progress(self) -> bool:
        """Whether progress is shown: a bar on a terminal, a line per minute in a log."""
        return not self.quiet

    def say(self, text: str) -> None:
        """Print what is being done, or a result."""
        if not self.quiet:
            typer.echo(text, err=self.json)

    def say_time(self, what: str, seconds: float, quicker: str) -> None:
        """Say before long work how long it takes, and what takes less."""
        from bayesrnn._progress import duration

        if seconds > 20:
            self.say(f"{what} about {duration(seconds)} on this machine; {quicker}.")

    def result(self, values: Mapping[str, Any], *lines: str) -> None:
        """Give the result: as one JSON object, or in words."""
        if self.json:
            from bayesrnn.report.exhibit import plain

            typer.echo(json.dumps(plain(dict(values)), ensure_ascii=False))
            return
        for line in lines:
            self.say(line)


_OPTIONS: dict[str, Any] = {
    "seed": (
        Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of weights, masks and choices.")],
        0,
    ),
    "device": (
        Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto takes a CUDA device where there is one.")],
        "auto",
    ),
    "threads": (
        Annotated[int | None, typer.Option(min=1, help="Threads of the CPU; by default torch's choice.")],
        None,
    ),
    "quiet": (Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")], False),
    "json": (Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")], False),
}


def with_common_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the common options; it takes them as one argument `common`."""

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        common = Common(**{name: arguments.pop(name) for name in _OPTIONS})
        command(**arguments, common=common)

    signature = inspect.signature(command)
    own = [p for p in signature.parameters.values() if p.name != "common"]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in _OPTIONS.items()
    ]
    run.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in [*own, *shared]} | {"return": None}
    return run


def columns_of(text: str | None) -> list[str]:
    """Return the names in a list joined by commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def write_table(frame: Any, path: Path) -> None:
    """Write a table in one step, as csv, JSON lines or Parquet by the ending of the name.

    Raises:
        ValueError: If the ending is none of these, the folder does not exist, or pyarrow is missing.
    """
    from bayesrnn._files import atomic_write

    check_table_name(path)
    kind = path.suffix.lower()
    if kind == ".parquet":
        try:
            atomic_write(path, lambda place: frame.to_parquet(place, index=False))
        except ImportError:
            raise ValueError(
                "pandas writes Parquet with pyarrow, which is not installed. Run `pip install pyarrow`, or give a name "
                "that ends in .csv."
            ) from None
    elif kind == ".csv":
        atomic_write(path, frame.to_csv(index=False, float_format="%.8g"))
    else:
        atomic_write(path, frame.to_json(orient="records", lines=True, date_format="iso", double_precision=10))


def check_table_name(path: Path) -> None:
    """Refuse, before any work is done, a name by whose ending no table can be written, or without its folder."""
    if path.suffix.lower() not in (".csv", ".parquet", ".json", ".jsonl"):
        raise ValueError(f"--output must end in .csv, .parquet or .json, but {path.name!r} was given.")
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: the folder {path.parent} does not exist. Create it first.")


def stopped(run: Path) -> typer.Abort:
    """Return what ends a command that was asked to stop while it trained."""
    return typer.Abort(f"stopped; what was done is in {run}: the same command goes on.")
