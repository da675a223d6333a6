"""`bayesrnn demo`, how scores are shown, and calls that no command takes."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bayesrnn.cli import main
from bayesrnn.cli.shown import _cell
from tests.cli.series import refused


def test_the_demo_runs_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--output", str(out), "--quick"]) == 0
    names = {"forecast.csv", "forecast.png", "calibration.png", "comparison.csv", "comparison.png", "report.html"}
    assert names <= {path.name for path in out.iterdir()}
    forecast = pd.read_csv(out / "forecast.csv")
    assert forecast["time"].iloc[0] == "1990-01-01"
    assert np.isfinite(forecast.drop(columns="time")).all().all()
    shown = capsys.readouterr().out
    assert "MC dropout, recalibrated" in shown
    assert "report.html" in shown


def test_an_output_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert "--output must be a folder" in refused(["demo", "--output", str(tmp_path / "file"), "--quick"], capsys)


@pytest.mark.parametrize(
    ("value", "text"),
    [(2716.4, "2716"), (105.3, "105"), (99.96, "100"), (5.0, "5.00"), (0.0123, "0.0123"), (2.5e7, "2.50e+07")],
)
def test_scores_are_shown_without_exponents(value: float, text: str) -> None:
    assert _cell("rmse", value) == text


def test_the_scores_are_shown_whole_at_any_scale() -> None:
    from rich.console import Console

    from bayesrnn.cli.shown import _SHOWN, score_grid

    scores = {s: 1.0 if s.startswith("coverage") else -1.8423e-9 for s in _SHOWN}
    names = ("MC dropout, recalibrated", "deterministic pass")
    held = {name: {key: SimpleNamespace(value=value) for key, value in scores.items()} for name in names}
    console = Console(width=80)
    with console.capture() as captured:
        console.print(score_grid(SimpleNamespace(scores=held), "kg"))
    assert "…" not in captured.get()
    assert captured.get().count("-1.84e-09") == 2 * 4
    assert captured.get().count("100 %") == 2 * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--nonsense"], "No such option: --nonsense"),
        (["forecast"], "Missing argument"),
        (["forecast", "x.csv", "--time", "t", "--target", "y", "--horizon", "six", "--output", "o"], "--horizon"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_no_arguments_show_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "forecast" in capsys.readouterr().out
