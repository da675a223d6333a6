"""`bayesrnn demo` and `bayesrnn forecast`: files, words, exit codes."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bayesrnn.cli import main


@pytest.fixture
def table(tmp_path: Path) -> Path:
    steps = np.arange(160)
    values = np.sin(2 * np.pi * steps / 7) + 0.05 * np.random.default_rng(0).normal(size=160).cumsum()
    path = tmp_path / "daily.csv"
    times = pd.date_range("2024-01-01", periods=160, freq="D")
    pd.DataFrame({"day": times, "sales": values, "other": "x"}).to_csv(path, index=False)
    return path


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


def test_a_series_of_ones_own(table: Path, tmp_path: Path) -> None:
    arguments = ["forecast", str(table), "--time", "day", "--target", "sales", "--horizon", "5", "--quick"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    forecast = pd.read_csv(tmp_path / "out" / "forecast.csv")
    assert {"held_out.csv", "held_out.png", "forecast.png"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert forecast["time"].tolist() == [f"2024-06-{day:02d}" for day in range(9, 14)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--target": "nothing"}, "no column 'nothing'"),
        ({"--target": "other"}, "must hold numbers"),
        ({"--horizon": "0"}, "--horizon must be at least 1"),
        ({"--horizon": "100"}, "too short"),
        ({"--period": "90"}, "too short"),
        ({"--seed": "-1"}, "seed must be at least 0"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], words: str
) -> None:
    options = {"--time": "day", "--target": "sales", "--horizon": "5", "--output": str(tmp_path / "out")} | change
    assert main(["forecast", str(table), *(part for pair in options.items() for part in pair)]) == 2
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1
    assert not list((tmp_path / "out").glob("*"))


def test_what_is_asked_for_wins_over_quick(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    fixed = ["--time", "day", "--target", "sales", "--horizon", "5", "--output", str(tmp_path / "o"), "--quick"]
    arguments = ["forecast", str(table), *fixed]
    for option in ("--draws", "--epochs"):
        assert main([*arguments, option, "0"]) == 2
        assert f"{option.strip('-')} must be at least" in capsys.readouterr().err
    monkeypatch.setattr("bayesrnn.cli.studies.show_study", lambda series, settings, *a, **k: seen.append(settings))
    assert main(arguments) == 0
    assert main([*arguments, "--draws", "48", "--epochs", "3"]) == 0
    assert [(s.draws, s.epochs, s.hidden_size) for s in seen] == [(16, 2, 8), (48, 3, 8)]


def test_an_output_that_is_a_file_is_refused(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--output", str(table), "--quick"]) == 2
    assert "--output must be a folder" in capsys.readouterr().err


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


def test_a_missing_month_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = [t for t in pd.date_range("1990-01-01", periods=120, freq="MS") if str(t.date()) != "1994-03-01"]
    file = tmp_path / "gap.csv"
    pd.DataFrame({"t": times, "y": range(119)}).to_csv(file, index=False)
    assert main(["forecast", str(file), "--time", "t", "--target", "y", "--horizon", "6", "--output", "o"]) == 2
    assert "1994-04-01 follows 1994-02-01, a step of 2 months where most are 1 month" in capsys.readouterr().err


def test_the_scores_are_shown_whole_at_any_scale() -> None:
    from rich.console import Console

    from bayesrnn.cli.shown import _SHOWN, score_grid

    scores = {s: 1.0 if s.startswith("coverage") else -1.8423e-9 for s in _SHOWN}
    names = ("MC dropout, recalibrated", "standard approximation")
    held = {name: {key: SimpleNamespace(value=value) for key, value in scores.items()} for name in names}
    console = Console(width=80)
    with console.capture() as captured:
        console.print(score_grid(SimpleNamespace(scores=held), "kg"))
    assert "…" not in captured.get()
    assert captured.get().count("-1.84e-09") == 2 * 4
    assert captured.get().count("100 %") == 2 * 3
