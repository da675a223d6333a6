"""Progress on stderr: a bar on a terminal or in a notebook, else a line per minute."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger("bayesrnn")
"""Has a line per minute at level INFO, also where no bar is wanted; `logging.basicConfig(level="INFO")` shows it."""
logger.addHandler(logging.NullHandler())

_EVERY = 60.0
"""Seconds between lines in a log."""


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
    log = _log(total, text, logger.info)
    if not wanted:
        yield log
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(file=sys.stderr)
    if not (console.is_terminal or console.is_jupyter):
        yield _log(total, text, _to_error_stream)
        return
    left = (TextColumn("left"), TimeRemainingColumn()) if total else (TextColumn("{task.completed:.0f} done"),)
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), *left)
    with Progress(*columns, console=console, transient=not stays) as bar:
        task = bar.add_task(text, total=total)

        def advance(steps: float, text: str | None = None) -> None:
            bar.update(task, advance=steps, description=text)
            log(steps, text)

        yield advance


def _log(total: float | None, text: str, write: Callable[[str], None]) -> Callable[..., None]:
    """Return `advance` for a log: a line once a minute, with the time left."""
    start = last = time.monotonic()
    done = first = 0.0
    shown = text

    def advance(steps: float, text: str | None = None) -> None:
        nonlocal last, done, first, shown
        done, shown = done + steps, shown if text is None else text
        now = time.monotonic()
        if now == start or (first == 0.0 and now - start < 0.1):
            first = done  # what a resumed training had done before
        if now - last < _EVERY:
            return
        last = now
        line = f"{shown}: {done:.0f} done"
        if total and done > first:
            left = (now - start) * (total - done) / (done - first)
            line = f"{shown}: {done / total:.0%} done, {duration(left)} left"
        write(line)

    return advance


def _to_error_stream(line: str) -> None:
    logger.info(line)
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds the second of two calls takes: the first one warms up. Random states stay."""
    import torch

    with torch.random.fork_rng(devices=[]):
        work()
        start = time.perf_counter()
        work()
        return time.perf_counter() - start


def duration(seconds: float) -> str:
    """Return a duration in words, in the unit that fits.

    Example:
        >>> duration(8), duration(250), duration(9000)
        ('8 seconds', '4 minutes', '2.5 hours')
    """
    if seconds < 90:
        number, unit = f"{max(round(seconds), 1)}", "second"
    elif seconds < 90 * 60:
        number, unit = f"{round(seconds / 60)}", "minute"
    else:
        number, unit = f"{seconds / 3600:.2g}", "hour"
    return f"{number} {unit}{'' if number == '1' else 's'}"
