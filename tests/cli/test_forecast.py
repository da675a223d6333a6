"""`bayesrnn forecast`: what it reads, writes and refuses."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesrnn.cli import main
from bayesrnn.estimators import BayesianRNNForecaster
from bayesrnn.tables.forecasts import forecast_ahead
from tests.cli.series import QUICK, panel, refused


@pytest.fixture
def table(tmp_path: Path) -> Path:
    steps = np.arange(160)
    values = np.sin(2 * np.pi * steps / 7) + 0.05 * np.random.default_rng(0).normal(size=160).cumsum()
    path = tmp_path / "daily.csv"
    times = pd.date_range("2024-01-01", periods=160, freq="D")
    pd.DataFrame({"day": times, "sales": values, "other": "x"}).to_csv(path, index=False)
    return path


def test_a_series_of_ones_own(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {"run.json", "model", "report.html", "forecast.png", "held_out.png", "calibration.png"} <= names
    forecast = pd.read_csv(run / "forecast.csv")
    assert forecast["day"].tolist() == [f"2024-06-{day:02d}" for day in range(9, 14)]
    assert {"mean", "median", "std", "lo-80", "hi-80", "lo-95", "hi-95"} <= set(forecast.columns)
    phase = np.sin(2 * np.pi * np.arange(160, 165) / 7)
    assert np.corrcoef(forecast["mean"], phase)[0, 1] > 0.9


def test_judged_origins_visit_every_day_of_the_week(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesrnn.tables.forecasts._MOST_ORIGINS", 12)
    forecaster = BayesianRNNForecaster.load(run / "model")
    judged = forecast_ahead(forecaster, None, pd.Timestamp("2024-03-12"))  # 85 origins: 8 apart, and not 7
    assert judged.origins.diff().unique().tolist() == [8]


def test_many_series_with_known_covariates(shops: Path, tmp_path: Path) -> None:
    forecast = pd.read_csv(shops / "forecast.csv").merge(panel(200, 6), on=["shop"], suffixes=("", "_"))
    forecast = forecast[forecast["day"] == forecast["day_"].astype(str)]
    base = {"north": 20, "south": 40, "west": 60}
    error = forecast["mean"] - forecast["shop"].map(base) - np.where(forecast["holiday"] == "yes", 12, 0)
    assert error.abs().max() < 8  # the week is 4 high, a holiday 12
    assert main(["predict", str(shops), str(shops.parent / "later.csv"), "-o", str(tmp_path / "p.json")]) == 0
    assert len(pd.read_json(tmp_path / "p.json", lines=True)) == 18


def test_rows_ahead_are_asked_for_before_anything_is_learned(
    shops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "short.csv", tmp_path / "run"
    columns = ["--time", "day", "--id", "shop", "--target", "sold", "--known", "holiday", "--horizon", "6"]
    for ahead, words in ((0, "needs them for the next 6 steps"), (5, "'north' are missing in the horizon, first at ")):
        panel(200, ahead).to_csv(file, index=False)
        complaint = refused(["forecast", str(file), *columns, *QUICK, "-o", str(out)], capsys)
        assert words in complaint
        assert "--future FILE" in complaint
        assert not out.exists()
    copy = shutil.copytree(shops, tmp_path / "copy")
    assert main(["update", str(copy), str(shops.parent / "later.csv")]) == 0
    assert f"predict {copy} -o" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"--target": "nothing"}, "no column 'nothing'"),
        ({"--target": "other"}, "must hold numbers"),
        ({"--horizon": "0"}, "--horizon must be at least 1"),
        ({"--horizon": "100"}, "too few for a horizon of 100"),
        ({"--season": "90"}, "a season of 90 steps needs two of them"),
        ({"--season": "week"}, "--season must be whole numbers"),
        ({"--seed": "-1"}, "--seed"),
        ({"--known": "other,sales"}, "was named for two things"),
        ({"--known": "price"}, "no column 'price'"),
        ({"--id": "other", "--duplicates": "mean"}, "are for one series without covariates"),
        ({"--draws": "0"}, "draws must be at least 2"),
        ({"--epochs": "0"}, "epochs must be at least 1"),
        ({"--device": "abacus"}, "device must be"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], words: str
) -> None:
    options = {"--time": "day", "--target": "sales", "--horizon": "5", "--output": str(tmp_path / "out")} | change
    assert words in refused(["forecast", str(table), *(p for pair in options.items() for p in pair), *QUICK], capsys)
    assert not (tmp_path / "out").exists()


def test_a_missing_month_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = [t for t in pd.date_range("1990-01-01", periods=120, freq="MS") if str(t.date()) != "1994-03-01"]
    file = tmp_path / "gap.csv"
    pd.DataFrame({"t": times, "y": range(119)}).to_csv(file, index=False)
    assert main(["forecast", str(file), "--time", "t", "--target", "y", "--horizon", "6", "--output", "o"]) == 2
    assert "1994-04 follows 1994-02, a step of 2 months where most are 1 month" in capsys.readouterr().err


def interrupted(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_forecast_that_was_stopped_goes_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped when three trainings are done, and while saving: nothing is repeated, and the forecast is the same."""
    from bayesrnn.forecasting import learn
    from bayesrnn.training import _fit

    calls, fit, trains = [], learn.fit, _fit._run

    def counted(model: object, *arguments: object, stop: int = 0, **options: object) -> object:
        calls.append(model)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return fit(model, *arguments, **options)

    options = ["--time", "day", "--target", "sales", "--horizon", "5", *QUICK]
    command = ["forecast", str(run.parent / "early.csv"), *options, "-o", str(tmp_path / "run")]
    monkeypatch.setattr(learn, "fit", partial(counted, stop=4))
    assert main(command) == 130
    complaint = capsys.readouterr().err
    assert complaint.endswith(f"stopped; what was done is in {tmp_path / 'run'}: the same command goes on.\n")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["training"]
    begun: list[object] = []
    calls.clear()
    monkeypatch.setattr(learn, "fit", counted)
    monkeypatch.setattr(_fit, "_run", lambda *a, **k: begun.append(a) or trains(*a, **k))
    with monkeypatch.context() as saving:
        saving.setattr("bayesrnn.cli.forecasts.remember", interrupted)
        assert main(command) == 130
    assert capsys.readouterr().err == complaint  # also when stopped while the run is saved
    assert len(begun) == len(calls) - 3
    begun.clear()
    assert main(command) == 0
    assert not begun
    assert (tmp_path / "run" / "forecast.csv").read_text() == (run / "forecast.csv").read_text()
    assert not (tmp_path / "run" / "training").exists()
