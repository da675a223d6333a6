"""The command line: `bayesrnn demo`, `bayesrnn forecast`, ... One line and exit code 2 for an error of the user."""

import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, or 2 where the input was wrong."""
    import typer
    from click.exceptions import ClickException, Exit
    from typer.main import get_command

    from bayesrnn.cli.app import app

    command = get_command(app)
    try:
        result = command.main(args=arguments, prog_name="bayesrnn", standalone_mode=False)
    except (typer.Exit, Exit) as stop:
        return int(stop.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return _complain("stopped.")
    except ClickException as error:
        return _complain(error.format_message())
    except (ValueError, TypeError, OSError) as error:
        return _complain(str(error))
    return result if isinstance(result, int) else 0


def run() -> None:
    """Entry point of the console script."""
    sys.exit(main())


def _complain(message: str) -> int:
    print("bayesrnn: " + " ".join(message.split()), file=sys.stderr)
    return 2
