"""Options of the language scripts: what is wrong with them is said in one line, before anything is trained."""

import argparse
from typing import NoReturn


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
