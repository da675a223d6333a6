"""The one progress bar: on the error stream, and only where that is a terminal or a notebook."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(
    wanted: bool, total: float | None, text: str = "", *, stays: bool = True
) -> Iterator[Callable[..., None]]:
    """Yield `advance(steps, text)`, which moves the bar by `steps` and writes `text` beside it.

    Args:
        wanted: Whether to show anything.
        total: Steps until the end; None if unknown.
        text: What to write beside the bar at first.
        stays: Whether the bar stays on the screen when it is done.
    """
    if not wanted:
        yield lambda steps, text=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(file=sys.stderr)
    left = (TextColumn("left"), TimeRemainingColumn()) if total else (TextColumn("{task.completed:.0f} done"),)
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), *left)
    visible = console.is_terminal or console.is_jupyter
    with Progress(*columns, console=console, transient=not stays, disable=not visible) as bar:
        task = bar.add_task(text, total=total)

        def advance(steps: float, text: str | None = None) -> None:
            bar.update(task, advance=steps, description=text)

        yield advance
