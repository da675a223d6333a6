"""Lightning without its chatter, and Ctrl-C that stays a KeyboardInterrupt."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["interruptible", "quiet"]

_LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
_NEEDLESS = (
    r".*available but not used.*",
    r".*does not have many workers.*",
    r".*have no `val_dataloader`.*",
    r".*number of training batches.*",
    r".*module\(s\) in eval mode.*",
    r".*IterableDataset.*__len__.*",
    r".*isinstance\(treespec, LeafSpec\).*",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back what Lightning says about devices and workers; its errors and other warnings come through."""
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    with warnings.catch_warnings():
        for text in _NEEDLESS:
            warnings.filterwarnings("ignore", message=text)
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt where Lightning would end the process, and give the signal its handler back."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if main and handler is not None:
            signal.signal(signal.SIGINT, handler)
