"""Known covariates ahead: what a run has seen of them, and what it asks for."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesrnn.cli import main
from bayesrnn.cli.forecast_files import remember, remembered
from tests.cli.series import panel, refused


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


LOOSE = {"check_dtype": False, "check_names": False, "check_index_type": False}


@pytest.mark.parametrize("zone", [None, "Europe/Berlin", "UTC+02:00"])
def test_rows_ahead_are_kept_as_they_were(zone: str | None, tmp_path: Path) -> None:
    times = pd.date_range("2024-01-01", periods=3, freq="D", tz=zone)
    rows = pd.DataFrame({"shop": "north", "day": times, "holiday": ["yes", None, "no"], "price": [1.5, np.nan, 1 / 3]})
    remember(tmp_path, rows)
    back = remembered(tmp_path)
    pd.testing.assert_series_equal(back.pop("day"), rows.pop("day") if zone is None else times_in_utc(rows), **LOOSE)
    pd.testing.assert_frame_equal(back, rows, check_dtype=False)
    assert remembered(tmp_path / "elsewhere") is None


def times_in_utc(rows: pd.DataFrame) -> pd.Series:
    return rows.pop("day").dt.tz_convert("UTC")
