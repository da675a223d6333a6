"""A study on the terminal: progress, table, sentences, and where the files are."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayesrnn.cli.options import Common
    from bayesrnn.comparison import Comparison
    from bayesrnn.data import Series
    from bayesrnn.forecasting import Settings


@contextmanager
def noted() -> Iterator[None]:
    """Within the block, write each warning to stderr as one line, `bayesrnn: note: ...`.

    Which warnings are shown stays as the filters have it (`-W`, PYTHONWARNINGS).
    """

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print("bayesrnn: note: " + " ".join(str(message).split()), file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


_SHOWN = ("rmse", "crps", "nll", "coverage_50", "coverage_80", "coverage_95", "width_80")


def show_study(
    series: "Series",
    settings: "Settings",
    output: Path,
    common: "Common",
    *,
    validation: Any = None,
    held_out: Any = None,
) -> None:
    """Run a study, write its files and show its results."""
    import shutil

    from rich.console import Console

    from bayesrnn.cli.options import stopped
    from bayesrnn.forecasting import study

    training = output / "training"
    try:
        result = study(
            series,
            settings,
            validation=validation,
            held_out=held_out,
            progress=common.progress,
            say=lambda text: common.say(f"· {text} ..."),
            checkpoint=training,
        )
    except KeyboardInterrupt:
        raise stopped(output) from None
    page = result.save(output)
    shutil.rmtree(training, ignore_errors=True)
    if not common.json and not common.quiet:
        Console().print(score_grid(result.comparison, series.units))
    common.result(
        {"output": str(output), **result.to_dict()},
        result.setup,
        *(text for text, _ in result.sentences),
        f"Tables and pictures are in {output}. Open {page} in a browser.",
    )


def check_folder(folder: Path) -> None:
    """Refuse, before any work is done, an output that is no folder or cannot be one."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--output must be a folder, but {folder} is a file. Give another name.")
    folder.mkdir(parents=True, exist_ok=True)


def score_grid(comparison: "Comparison", units: str) -> Any:
    """Return the scores as a rich table."""
    from rich.box import SIMPLE
    from rich.table import Table

    title = f"Held-out scores{f' in {units}' if units else ''} (in 80: inside the 80 % interval)"
    grid = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    grid.add_column("", min_width=13, overflow="fold")  # names wrap before a number is cut
    for score in _SHOWN:
        grid.add_column(_heading(score), justify="right", no_wrap=True)
    for name, scores in comparison.scores.items():
        grid.add_row(name, *(_cell(score, scores[score].value) for score in _SHOWN))
    return grid


def _cell(score: str, value: float) -> str:
    from bayesrnn.plots.style import short

    return f"{100 * value:.0f} %" if score.startswith("coverage") else short(value)


def _heading(score: str) -> str:
    if score.startswith("coverage_"):
        return f"in {score[9:]}"
    return "width" if score.startswith("width_") else score.upper()
