"""Every command says what it does, takes the common options, and shows an example whose options exist."""

import shlex

import pytest
from typer.main import get_command

from bayesrnn.cli import main
from bayesrnn.cli.app import app

LM = ("train", "evaluate", "generate")
COMMANDS = [[name] for name in get_command(app).commands if name != "lm"] + [["lm", name] for name in LM]


def command_of(names: list[str]) -> object:
    command = get_command(app)
    for name in names:
        command = command.commands[name]
    return command


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_the_help_holds_an_example_that_the_command_takes(names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*names, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for option in ("--seed", "--device", "--threads", "--quiet", "--json"):
        assert option in shown
    command = command_of(names)
    example = command.help.split("Example: ")[1].strip()
    words = shlex.split(example)
    assert words[: 1 + len(names)] == ["bayesrnn", *names]
    command.make_context("bayesrnn", words[1 + len(names) :])  # parses: unknown options and missing ones raise
