"""The exit code of a script, also where its parser exits itself."""

from collections.abc import Callable


def code_of(script: Callable[[list[str]], int], options: list[str]) -> int:
    """Return the exit code of a script with these options."""
    try:
        return script(options)
    except SystemExit as end:
        return int(end.code or 0)
