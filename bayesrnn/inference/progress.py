"""A progress bar, if one is wanted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["reported"]


@contextmanager
def reported(wanted: bool, draws: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to be told how many draws x rows are done; with `wanted` it moves a bar on the terminal."""
    if not wanted:
        yield lambda _: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}"), TimeElapsedColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task(f"{draws} draws a row", total=None)
        yield lambda count: bar.advance(task, count)
