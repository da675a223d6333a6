"""What is done with the run of a forecast: predict, update, calibrate, compare."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesrnn.cli import main
from bayesrnn.storage.run import held, read_run, write_run
from tests.cli.series import QUICK, panel, refused


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


def test_a_series_without_newer_rows_is_named(shops: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    later, ahead = panel(230, 6, skip=200), panel(200, 6, skip=200)
    later[later["shop"] != "west"].to_csv(tmp_path / "two.csv", index=False)
    future = pd.concat([later[later["sold"].isna() & (later["shop"] != "west")], ahead[ahead["shop"] == "west"]])
    future.to_csv(tmp_path / "future.csv", index=False)
    options = ["--future", str(tmp_path / "future.csv"), "-o", str(tmp_path / "p.csv")]
    assert main(["predict", str(shops), str(tmp_path / "two.csv"), *options]) == 0
    assert "ended before 2024-08-17: west (2024-07-18)" in capsys.readouterr().out


def test_runs_of_sequences_and_of_series_are_not_confused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    manifest = replace(read_run(copy), kind="lm")
    write_run(copy, manifest)
    predict = ["predict", str(copy), "-o", str(tmp_path / "p.csv")]
    assert "holds a run of `bayesrnn lm train`" in refused(predict, capsys)


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


def test_rows_without_times_go_on_only_after_the_rows_that_are_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without times rows are counted from the start: newer rows by themselves would lie years too early."""
    noise = 0.1 * np.random.default_rng(0).normal(size=130)
    values = pd.DataFrame({"sales": np.sin(2 * np.pi * np.arange(130) / 12) + np.arange(130) / 10 + noise})
    early, whole, newer, run = (tmp_path / name for name in ("early.csv", "whole.csv", "newer.csv", "run"))
    for rows, file in ((values.head(120), early), (values, whole), (values.tail(10), newer)):
        rows.to_csv(file, index=False)
    options = ["--target", "sales", "--every", "MS", "--start", "2010-01", "--horizon", "3", "--epochs", "1", *QUICK]
    assert main(["forecast", str(early), *options, "-o", str(run)]) == 0
    for verb in ("predict", "update", "calibrate", "compare"):
        out = [] if verb == "update" else ["-o", str(tmp_path / "out.csv")]
        assert "counted from 2010-01, where the run begins" in refused([verb, str(run), str(newer), *out], capsys)
    assert main(["predict", str(run), str(whole), "-o", str(tmp_path / "p.csv")]) == 0
    assert pd.read_csv(tmp_path / "p.csv")["time"].tolist() == ["2020-11-01", "2020-12-01", "2021-01-01"]
