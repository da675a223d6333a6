"""`bayesrnn demo` and `bayesrnn forecast`: files, words, exit codes."""

import errno
import json
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bayesrnn.cli import main
from bayesrnn.cli.forecast_files import remember, remembered
from bayesrnn.cli.shown import _cell
from bayesrnn.storage.run import held, read_run, write_run


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


QUICK = ["--quick", "--threads", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a series of 160 days, of which the last ten are in `later.csv`."""
    folder = tmp_path_factory.mktemp("series")
    steps = np.arange(170)
    values = np.sin(2 * np.pi * steps / 7) + 0.05 * np.random.default_rng(0).normal(size=170).cumsum()
    table = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=170, freq="D"), "sales": values})
    table.head(160).to_csv(folder / "early.csv", index=False)
    table.tail(20).to_csv(folder / "later.csv", index=False)  # ten days are in both
    table.tail(7).to_csv(folder / "gap.csv", index=False)
    options = ["--time", "day", "--target", "sales", "--horizon", "5", *QUICK]
    assert main(["forecast", str(folder / "early.csv"), *options, "-o", str(folder / "run")]) == 0
    return folder / "run"


def panel(rows: int, ahead: int, skip: int = 0) -> pd.DataFrame:
    """Three shops with a holiday that acts; the last `ahead` days without sales."""
    parts = []
    for k, shop in enumerate(("north", "south", "west")):
        rng = np.random.default_rng(k)
        holiday = rng.random(400) < 0.15
        sold = 20 * (k + 1) + 4 * np.sin(2 * np.pi * np.arange(400) / 7) + 12 * holiday + rng.normal(size=400)
        days = pd.date_range("2024-01-01", periods=400)
        part = pd.DataFrame({"shop": shop, "day": days, "sold": sold, "holiday": np.where(holiday, "yes", "no")})
        part.loc[rows:, "sold"] = np.nan
        parts.append(part.iloc[skip : rows + ahead])
    return pd.concat(parts)


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shops")
    panel(200, 6).to_csv(folder / "early.csv", index=False)
    panel(230, 6, skip=200).to_csv(folder / "later.csv", index=False)
    options = ["--time", "day", "--id", "shop", "--target", "sold", "--known", "holiday", "--horizon", "6", *QUICK]
    assert main(["forecast", str(folder / "early.csv"), *options, "-o", str(folder / "run"), "--epochs", "3"]) == 0
    return folder / "run"


def test_a_series_of_ones_own(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {"run.json", "model", "report.html", "forecast.png", "held_out.png", "calibration.png"} <= names
    forecast = pd.read_csv(run / "forecast.csv")
    assert forecast["day"].tolist() == [f"2024-06-{day:02d}" for day in range(9, 14)]
    assert {"mean", "median", "std", "lo-80", "hi-80", "lo-95", "hi-95"} <= set(forecast.columns)
    phase = np.sin(2 * np.pi * np.arange(160, 165) / 7)
    assert np.corrcoef(forecast["mean"], phase)[0, 1] > 0.9


def test_predict_goes_on_from_what_is_known_or_from_newer_rows(run: Path, tmp_path: Path) -> None:
    assert main(["predict", str(run), "-o", str(tmp_path / "now.csv")]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "now.csv"), pd.read_csv(run / "forecast.csv"))
    assert main(["predict", str(run), str(run.parent / "later.csv"), "-o", str(tmp_path / "tomorrow.csv")]) == 0
    tomorrow = pd.read_csv(tmp_path / "tomorrow.csv")
    assert tomorrow["day"].iloc[0] == "2024-06-19"
    copy = shutil.copytree(run, tmp_path / "copy")
    assert main(["update", str(copy), str(run.parent / "later.csv")]) == 0
    assert main(["predict", str(copy), "-o", str(tmp_path / "then.parquet.csv")]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "then.parquet.csv"), tomorrow)
    assert json.loads((copy / "run.json").read_text())["data"]["rows"] == 170


def test_runs_are_judged_on_later_rows(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    later = str(run.parent / "later.csv")
    assert main(["calibrate", str(run), later, "-o", str(tmp_path / "c"), "--json"]) == 0
    assert "coverage_80" in json.loads(capsys.readouterr().out)["metrics"]
    one = tmp_path / "one.csv"
    pd.read_csv(later).head(15).to_csv(one, index=False)  # five rows later than the run's: room for one forecast
    assert "room for one forecast of 5 steps" in refused(["compare", str(run), str(one)], capsys)
    assert main(["calibrate", str(run), str(one), "-o", str(tmp_path / "e"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["facts"]["targets"] == 5
    assert main(["compare", str(run), later, "-o", str(tmp_path / "d")]) == 0
    assert "10 rows of later.csv that the run knows already are left out" in capsys.readouterr().out
    assert (tmp_path / "d" / "comparison.png").is_file()
    assert main(["audit", str(run)]) == 0
    assert "hidden_l0 at rate 0.2" in capsys.readouterr().out


def test_many_series_with_known_covariates(shops: Path, tmp_path: Path) -> None:
    forecast = pd.read_csv(shops / "forecast.csv").merge(panel(200, 6), on=["shop"], suffixes=("", "_"))
    forecast = forecast[forecast["day"] == forecast["day_"].astype(str)]
    base = {"north": 20, "south": 40, "west": 60}
    error = forecast["mean"] - forecast["shop"].map(base) - np.where(forecast["holiday"] == "yes", 12, 0)
    assert error.abs().max() < 8  # the week is 4 high, a holiday 12
    assert main(["predict", str(shops), str(shops.parent / "later.csv"), "-o", str(tmp_path / "p.json")]) == 0
    assert len(pd.read_json(tmp_path / "p.json", lines=True)) == 18


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    return complaint


def test_what_does_not_fit_a_run_is_one_line(
    run: Path, shops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["-o", str(tmp_path / "p.csv")]
    changed = tmp_path / "changed.csv"
    for arguments, words in (
        ([str(run), str(run.parent / "gap.csv")], "must begin at 2024-06-09"),
        ([str(run), str(shops.parent / "later.csv")], "no column 'sales'"),
        ([str(tmp_path)], "holds no finished run"),
        ([str(run), "--future", str(run.parent / "later.csv")], "the run has none"),
    ):
        assert words in refused(["predict", *arguments, *out], capsys)
    for change, words in (
        ({"holiday": "perhaps"}, "has 'perhaps', never seen in training"),
        ({"holiday": ""}, "missing in the horizon"),
    ):
        later = panel(230, 6, skip=200)
        for column, value in change.items():
            later.loc[later["sold"].isna(), column] = value
        later.to_csv(changed, index=False)
        assert words in refused(["predict", str(shops), str(changed), *out], capsys)
    panel(230, 6, skip=200).head(36).assign(shop="east").to_csv(changed, index=False)
    assert "was not there at the fit" in refused(["update", str(shops), str(changed)], capsys)
    assert "no row comes after" in refused(["update", str(run), str(run.parent / "early.csv")], capsys)
    assert not (tmp_path / "p.csv").exists()


def test_rows_ahead_are_asked_for_before_anything_is_learned(
    shops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "short.csv", tmp_path / "run"
    columns = ["--time", "day", "--id", "shop", "--target", "sold", "--known", "holiday", "--horizon", "6"]
    for ahead in (0, 5):
        panel(200, ahead).to_csv(file, index=False)
        complaint = refused(["forecast", str(file), *columns, *QUICK, "-o", str(out)], capsys)
        assert f"holds {ahead} rows of 'north' after the last value" in complaint
        assert "--future FILE" in complaint
        assert not out.exists()
    copy = shutil.copytree(shops, tmp_path / "copy")
    assert main(["update", str(copy), str(shops.parent / "later.csv")]) == 0
    assert f"predict {copy} -o" in capsys.readouterr().out


def test_rows_ahead_that_the_run_has_seen_are_not_asked_for_again(
    shops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now, then, copy = tmp_path / "now.csv", tmp_path / "then.csv", shutil.copytree(shops, tmp_path / "copy")
    assert main(["predict", str(shops), "-o", str(now)]) == 0
    assert now.read_text() == (shops / "forecast.csv").read_text()
    panel(203, 0, skip=200).to_csv(tmp_path / "three.csv", index=False)  # three days pass; the next three were seen
    assert main(["update", str(copy), str(tmp_path / "three.csv")]) == 0
    assert f"predict {copy} --future FILE" in capsys.readouterr().out
    missing = "first at 2024-07-25: each of the 6 steps from 2024-07-22 to 2024-07-27"
    assert missing in refused(["predict", str(copy), "-o", str(then)], capsys)
    panel(200, 9, skip=206).drop(columns="sold").to_csv(tmp_path / "ahead.csv", index=False)
    assert main(["predict", str(copy), "--future", str(tmp_path / "ahead.csv"), "-o", str(then)]) == 0
    panel(209, 0, skip=203).to_csv(tmp_path / "six.csv", index=False)  # all that were seen ahead have passed
    assert main(["update", str(copy), str(tmp_path / "six.csv")]) == 0
    assert "needs them for the next 6 steps" in refused(["predict", str(copy), "-o", str(then)], capsys)
    (copy / "ahead.json").write_text("{")
    assert "ahead.json is damaged" in refused(["predict", str(copy), "-o", str(then)], capsys)


@pytest.mark.parametrize("zone", [None, "Europe/Berlin", "UTC+02:00"])
def test_rows_ahead_are_kept_as_they_were(zone: str | None, tmp_path: Path) -> None:
    times = pd.date_range("2024-01-01", periods=3, freq="D", tz=zone)
    rows = pd.DataFrame({"shop": "north", "day": times, "holiday": ["yes", None, "no"], "price": [1.5, np.nan, 1 / 3]})
    remember(tmp_path, rows)
    back = remembered(tmp_path)
    pd.testing.assert_series_equal(back.pop("day"), rows.pop("day") if zone is None else times_in_utc(rows), **LOOSE)
    pd.testing.assert_frame_equal(back, rows, check_dtype=False)
    assert remembered(tmp_path / "elsewhere") is None


LOOSE = {"check_dtype": False, "check_names": False, "check_index_type": False}


def times_in_utc(rows: pd.DataFrame) -> pd.Series:
    return rows.pop("day").dt.tz_convert("UTC")


def test_offsets_may_change_between_a_run_and_its_newer_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first file is in winter time and summer time, the newer rows in summer time only; all are hours."""
    times = pd.date_range("2024-03-24", periods=400, freq="h", tz="Europe/Berlin")
    values = 10 + np.sin(2 * np.pi * np.arange(400) / 24) + 0.1 * np.random.default_rng(0).normal(size=400)
    table = pd.DataFrame({"time": [time.isoformat() for time in times], "load": values})
    early, later, naive, run = (tmp_path / name for name in ("early.csv", "later.csv", "naive.csv", "run"))
    table.head(350).to_csv(early, index=False)
    table.tail(50).to_csv(later, index=False)
    table.tail(50).assign(time=table["time"].str[:19]).to_csv(naive, index=False)
    options = ["--time", "time", "--target", "load", "--horizon", "4", *QUICK]
    assert main(["forecast", str(early), *options, "-o", str(run)]) == 0
    assert "read in UTC, since its offsets change" in capsys.readouterr().err
    assert main(["predict", str(run), str(later), "-o", str(tmp_path / "p.csv")]) == 0
    first = pd.Timestamp(pd.read_csv(tmp_path / "p.csv")["time"][0])
    assert first == times[-1] + pd.Timedelta(hours=1)
    for verb in ("update", "calibrate"):
        assert "have no offset from UTC" in refused([verb, str(run), str(naive)], capsys)


def test_two_processes_and_a_full_disk_leave_the_run_as_it_was(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is written when no room is left, the old run stays whole and no new one is begun."""
    copy, out, later = shutil.copytree(run, tmp_path / "copy"), tmp_path / "p.csv", str(run.parent / "later.csv")
    options = ["--time", "day", "--target", "sales", "--horizon", "4", *QUICK]
    command = ["forecast", str(run.parent / "early.csv"), *options, "-o", str(copy), "--anew"]
    with held(copy):
        for arguments in (["update", str(copy), later], command):
            assert "another process works on this run" in refused(arguments, capsys)

    def contents() -> dict[str, bytes]:
        return {str(place): place.read_bytes() for place in tmp_path.rglob("*") if place.is_file()}

    replace, before = os.replace, contents()
    forecast, judge, go_on = (
        ["predict", str(copy), "-o", str(out)],
        ["calibrate", str(copy), later],
        ["update", str(copy), later],
    )
    for arguments in (forecast, judge, go_on):
        for room in range(9):  # files that there is room for
            left = [room]

            def full(*names: object, left: list[int] = left) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                replace(*names)

            with monkeypatch.context() as patched:
                patched.setattr("os.replace", full)
                code = main(arguments)
            if code == 0:
                break
            assert "No space left" in capsys.readouterr().err
            assert contents() == before
        assert room > 0
        assert code == 0
        before = contents()


def test_a_series_without_newer_rows_is_named(shops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    later, ahead = panel(230, 6, skip=200), panel(200, 6, skip=200)
    later[later["shop"] != "west"].to_csv(tmp_path / "two.csv", index=False)
    future = pd.concat([later[later["sold"].isna() & (later["shop"] != "west")], ahead[ahead["shop"] == "west"]])
    future.to_csv(tmp_path / "future.csv", index=False)
    options = ["--future", str(tmp_path / "future.csv"), "-o", str(tmp_path / "p.csv")]
    assert main(["predict", str(shops), str(tmp_path / "two.csv"), *options]) == 0
    assert "no newer rows of west" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "text"),
    [(2716.4, "2716"), (105.3, "105"), (99.96, "100"), (5.0, "5.00"), (0.0123, "0.0123"), (2.5e7, "2.50e+07")],
)
def test_scores_are_shown_without_exponents(value: float, text: str) -> None:
    assert _cell("rmse", value) == text


def test_runs_of_sequences_and_of_series_are_not_confused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    manifest = replace(read_run(copy), kind="lm")
    write_run(copy, manifest)
    predict = ["predict", str(copy), "-o", str(tmp_path / "p.csv")]
    assert "holds a run of `bayesrnn lm train`" in refused(predict, capsys)


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
    assert "1994-04 follows 1994-02, a step of 2 months where most are 1 month" in capsys.readouterr().err


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


def test_a_forecast_that_was_stopped_goes_on(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped when three trainings are done: these are not repeated, and the forecast is the same."""
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
    assert main(command) == 0
    assert len(begun) == len(calls) - 3
    assert (tmp_path / "run" / "forecast.csv").read_text() == (run / "forecast.csv").read_text()
    assert not (tmp_path / "run" / "training").exists()
