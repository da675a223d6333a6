"""Where CPU time goes: functions wrapped for a while, each with the time that it does not hand on."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import wraps
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

__all__ = ["Stages"]


class Stages:
    """CPU seconds by stage, while the functions of `watched` (by their names) are wrapped.

    A stage has the time of its functions without what they call of other stages; `whole` is a stage that has all of it.

    Example:
        >>> import torch
        >>> stages = Stages({"torch.nn.functional.softplus": "softplus"})
        >>> with stages.watching():
        ...     value = torch.nn.functional.softplus(torch.zeros(3))
        >>> sorted(stages.seconds)
        ['rest', 'softplus']
    """

    def __init__(self, watched: Mapping[str, str], whole: str | None = None) -> None:
        self.watched, self.whole, self.seconds = dict(watched), whole, {"rest": 0.0}
        self._open, self._since = ["rest"], 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Wrap the functions; the time of the block that is spent in none of them is the rest."""
        with ExitStack() as stack:
            for place, stage in self.watched.items():
                owner, name = place.rsplit(".", 1)
                stack.enter_context(patch(place, self._wrapped(getattr(resolve_name(owner), name), stage)))
            self._since = time.process_time()
            yield
            self._turn()

    def _wrapped(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            self._turn()
            self._open.append(self._open[-1] if self._open[-1] == self.whole else stage)
            try:
                return function(*arguments, **options)
            finally:
                self._turn()
                self._open.pop()

        return call

    def _turn(self) -> None:
        now, stage = time.process_time(), self._open[-1]
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now
