"""torch's names for the arguments of a layer, beside ours: models written for torch's layers call with them."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def torch_names(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a method take arguments by torch's keywords too, given as ``torch_names(input="x")``: torch's name = ours.

    Example:
        >>> @torch_names(input="x")
        ... def double(x):
        ...     return 2 * x
        >>> double(input=3)
        6
    """

    def renaming(method: Callable[P, R]) -> Callable[P, R]:
        @wraps(method)
        def renamed(*args: P.args, **named: P.kwargs) -> R:
            for theirs, ours in names.items():
                if theirs in named:
                    if ours in named:
                        raise TypeError(f"{theirs}= is torch's name of {ours}=: give one of them.")
                    named[ours] = named.pop(theirs)
            return method(*args, **named)

        return renamed

    return renaming
