"""The progress bar of a language model's training: perplexities and words per second."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import exp

from bayesrnn.training.language_checkpoint import Checkpoint

__all__ = ["bar"]


@contextmanager
def bar(epochs: int, windows: int, visible: bool) -> Iterator[Callable[[Checkpoint, int], None]]:
    """Yield a function to be called after each step; it shows nothing where the error stream is no terminal."""
    if not visible:
        yield lambda point, rows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(file=sys.stderr)
    columns = (
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"epoch 1/{epochs}", total=epochs * windows)

        def shown(point: Checkpoint, rows: int) -> None:
            done = point.history
            text = f"epoch {len(done) + 1}/{epochs}  {point.targets / max(point.seconds, 1e-9):,.0f} words/s"
            text += f"  train {exp(min(point.loss / max(point.targets, 1), 700.0)):.1f}"
            if done and "valid_perplexity" in done[-1]:
                text += f"  validation {done[-1]['valid_perplexity']:.1f}"
            progress.update(task, completed=point.step, description=text)

        yield shown
