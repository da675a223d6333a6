"""Options of the experiments: what is wrong with them is said in one line, before any work is done."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypeVar

import torch

from bayesrnn.nn.devices import pick_device

T = TypeVar("T")


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def at_least(least: int, **options: int | None) -> None:
    """Refuse options below `least`; None is an option that was not given.

    Raises:
        ValueError: That names the first of them.
    """
    for name, value in options.items():
        if value is not None and value < least:
            raise ValueError(f"--{name} must be at least {least}, but {value} was given.")


def named(only: Sequence[str] | None, known: Mapping[str, T], option: str = "--only") -> list[T]:
    """Return what is known by these names, all of it if none is given.

    Raises:
        ValueError: If a name is unknown.
    """
    if unknown := [name for name in only or () if name not in known]:
        raise ValueError(f"{option} must be of {list(known)}, but {', '.join(map(repr, unknown))} was given.")
    return [value for name, value in known.items() if not only or name in only]


def run(parser: OneLineParser, work: Callable[[argparse.Namespace], None], arguments: Sequence[str] | None) -> int:
    """Do the work that the arguments ask for; return 0, or 2 after one line about what is wrong."""
    given = parser.parse_args(arguments)
    try:
        work(given)
    except (ValueError, OSError) as error:
        print(f"{parser.prog}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add `--device`."""
    parser.add_argument("--device", default="auto", help="cpu, cuda, ...; auto: a CUDA device where there is one")


def device_of(given: argparse.Namespace) -> torch.device:
    """Return the device that `--device` names.

    Raises:
        ValueError: If this machine has none such.
    """
    try:
        return pick_device(given.device)
    except ValueError as error:
        raise ValueError(f"--{error}") from None
