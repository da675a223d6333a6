"""The command line: `bayesrnn demo`, `bayesrnn forecast`, ... One line and exit code 2 for an error of the user."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["main"]

_INTERRUPTED = 128 + signal.SIGINT  # what shells give for Ctrl-C


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 (wrong input) or 128 + n (signal n)."""
    import typer
    from typer.main import get_command

    from bayesrnn.cli.app import app
    from bayesrnn.cli.shown import noted

    stops: list[int] = []
    command = get_command(app)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        with noted(), _stoppable() as stops:
            result = command.main(args=arguments or ["--help"], prog_name="bayesrnn", standalone_mode=False)
    except typer.Exit as stop:
        return int(stop.exit_code)
    except (typer.Abort, KeyboardInterrupt) as stop:
        _complain(str(stop) or "stopped.")
        return 128 + stops[0] if stops else _INTERRUPTED
    except (ValueError, TypeError, OSError, ImportError) as error:
        return _complain(str(error))
    except Exception as error:
        if not isinstance(error, _usage_errors(typer.BadParameter)):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":  # `bayesrnn lm`: its message is the help
            print(error.format_message())
            return 0
        return _complain(error.format_message())
    if result == _INTERRUPTED:  # typer makes this of Ctrl-C
        _complain("stopped.")
        return 128 + stops[0] if stops else _INTERRUPTED
    return result if isinstance(result, int) else 0


def run() -> None:
    """Entry point of the console script.

    After a signal the process leaves without freeing what the libraries hold, which would take seconds; files are
    closed and exit hooks have run by then.
    """
    code = main()
    if code > 128:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


@contextmanager
def _stoppable() -> Iterator[list[int]]:
    """Let SIGTERM and SIGHUP stop the work as Ctrl-C does, and yield the list that receives their numbers."""
    stops: list[int] = []

    def stop(number: int, frame: Any) -> None:
        stops.append(number)
        raise KeyboardInterrupt

    main_thread = threading.current_thread() is threading.main_thread()
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if main_thread and hasattr(signal, name)]
    before = {n: h for n in numbers if (h := signal.getsignal(n)) is signal.SIG_DFL}  # nohup ignores SIGHUP
    for number in before:
        signal.signal(number, stop)
    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _usage_errors(known: type[Exception]) -> Any:
    """Return the base of all errors of usage: click's, whether typer brings a click of its own or not."""
    return next(base for base in known.__mro__ if base.__name__ == "ClickException")


def _complain(message: str) -> int:
    print("bayesrnn: " + " ".join(message.split()), file=sys.stderr)
    return 2
