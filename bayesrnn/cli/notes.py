"""Warnings of the library as notes of one line, without the path and the line of code that warned."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["noted"]


@contextmanager
def noted(words: Callable[[str], str] = str) -> Iterator[None]:
    """Within the block, write each warning to stderr as `bayesrnn: note: ...`, in the words that `words` makes of it.

    Which warnings are shown stays as the filters have it (`-W`, PYTHONWARNINGS).
    """

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print("bayesrnn: note: " + " ".join(words(str(message)).split()), file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
