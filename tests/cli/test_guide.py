"""Every line of the page on the command line runs, in order, on the files that its first block makes."""

import re
import shlex
from pathlib import Path

import pytest

from bayesrnn.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"


@pytest.mark.slow
def test_every_line_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, flags=re.S | re.M):
        exec(compile(block, str(PAGE), "exec"), {})
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, flags=re.S | re.M) for line in block.splitlines()]
    assert len(lines) >= 10
    for line in lines:
        name, *arguments = shlex.split(line)
        assert name == "bayesrnn"
        assert main(arguments) == 0, (line, capsys.readouterr().err)
    assert {"tomorrow.csv", "predictions.csv"} <= {path.name for path in tmp_path.iterdir()}
