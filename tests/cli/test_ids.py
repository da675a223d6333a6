"""Series that come and go between a run and newer rows, ids of other types, covariates that do not fit."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesrnn.cli import main
from bayesrnn.forecasting.record import Columns, Record
from bayesrnn.tables.rows import aligned, learned_from, with_levels_of
from tests.cli.series import QUICK, refused

COLUMNS = ["--time", "day", "--id", "shop", "--target", "sold", "--horizon", "4"]


def shop(k: int, rows: int, skip: int = 0, start: str = "2024-01-01") -> pd.DataFrame:
    rng = np.random.default_rng(k)
    sold = 20 * k + 4 * np.sin(2 * np.pi * np.arange(rows) / 7) + rng.normal(size=200)[:rows]
    days = pd.date_range(start, periods=rows)
    table = pd.DataFrame(
        {"shop": k, "day": days, "sold": sold, "region": "ab"[k % 2], "warm": rng.normal(size=200)[:rows]}
    )
    return table.iloc[skip:]


LATER = pd.concat([shop(k, 110, 100) for k in (1, 2, 3)])
NEW = shop(5, 60, start="2024-02-15")


def store(rows: pd.DataFrame, path: Path) -> None:
    """Write a table as text, or as JSON, which keeps numbers apart from texts."""
    if path.suffix == ".csv":
        rows.to_csv(path, index=False)
    else:
        rows.assign(day=rows["day"].astype(str)).to_json(path, orient="records", lines=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of three shops whose ids are numbers."""
    folder = tmp_path_factory.mktemp("ids")
    store(pd.concat([shop(k, 100) for k in (1, 2, 3)]), folder / "early.jsonl")
    options = ["--static", "region", "--past", "warm", "--epochs", "1", *QUICK]
    assert main(["forecast", str(folder / "early.jsonl"), *COLUMNS, *options, "-o", str(folder / "run")]) == 0
    return folder / "run"


def predicted(run: Path, rows: pd.DataFrame, place: Path, name: str = "new.csv") -> pd.DataFrame:
    store(rows, place / name)
    assert main(["predict", str(run), str(place / name), "-o", str(place / "p.csv")]) == 0
    return pd.read_csv(place / "p.csv")


def test_ids_of_another_type_or_order_are_the_same_series(run: Path, tmp_path: Path) -> None:
    whole = predicted(run, LATER, tmp_path, "new.jsonl")
    assert whole["day"].min() == "2024-04-20"
    for rows in (LATER, LATER.assign(shop=LATER["shop"].astype(float)), LATER.sample(frac=1, random_state=0)):
        pd.testing.assert_frame_equal(predicted(run, rows, tmp_path), whole)
    mixed = [json.loads(line) for line in LATER.to_json(orient="records", lines=True, date_format="iso").splitlines()]
    mixed[0]["shop"] = "1"
    (tmp_path / "mixed.jsonl").write_text("\n".join(map(json.dumps, mixed)))
    assert main(["predict", str(run), str(tmp_path / "mixed.jsonl"), "-o", str(tmp_path / "p.csv")]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "p.csv"), whole)


def test_ids_that_are_told_apart_stay_apart() -> None:
    times = pd.date_range("2024-01-01", periods=4)
    nothing = np.zeros((4, 0))
    records = [Record(id, times, np.zeros(4), np.ones(4, bool), nothing, nothing) for id in ("1", "1.0", "2", "007")]
    frame = pd.DataFrame({"shop": ["1", "1.0", 1, 2.0, " 2", "7", "2.5"], "day": times[0], "sold": 0.0})
    ids = aligned(frame, Columns("shop", "day", "sold"), records)["shop"].tolist()
    assert ids == ["1", "1.0", 1, "2", "2", "7", "2.5"]


def test_known_series_go_on_and_new_ones_are_forecast_on_their_own(run: Path, tmp_path: Path) -> None:
    both = predicted(run, pd.concat([NEW, LATER]), tmp_path)
    apart = [predicted(run, LATER, tmp_path), predicted(run, NEW, tmp_path)]
    pd.testing.assert_frame_equal(both, pd.concat(apart, ignore_index=True))


def test_a_series_without_newer_rows_is_forecast_from_where_it_ends(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some, whole = predicted(run, LATER[LATER["shop"] != 2], tmp_path), predicted(run, LATER, tmp_path)
    assert "ended before 2024-04-19: 2 (2024-04-09)" in capsys.readouterr().out
    kept = pd.read_csv(run / "forecast.csv")
    pd.testing.assert_frame_equal(some[some["shop"] != 2], whole[whole["shop"] != 2])
    pd.testing.assert_frame_equal(some[some["shop"] == 2], kept[kept["shop"] == 2])
    copy = shutil.copytree(run, tmp_path / "copy")
    for rows, note in ((LATER[LATER["shop"] != 2], True), (LATER, False)):
        rows.to_csv(tmp_path / "rows.csv", index=False)
        assert main(["update", str(copy), str(tmp_path / "rows.csv")]) == 0
        assert ("2 (2024-04-09)" in capsys.readouterr().out) is note
    assert main(["predict", str(copy), "-o", str(tmp_path / "p.csv")]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "p.csv"), whole)


MOVED = LATER.assign(region=LATER["region"].where(LATER["shop"] != 2, "b"))
TURNING = LATER.assign(region=LATER["region"].where((LATER["shop"] != 2) | (LATER["day"] < "2024-04-15"), "b"))


@pytest.mark.parametrize(
    ("rows", "words", "verbs"),
    [
        (pd.concat([LATER, NEW]), "'5' was not there at the fit", ("update", "calibrate", "compare")),
        (
            pd.concat([LATER, shop(5, 1)]),
            "has 1 row; at least 3 are needed. Give more of it, or leave it out",
            ("predict",),
        ),
        (MOVED, "a static covariate of the series 2 is another one than before", None),
        (TURNING, "'region' of the series 2 changes over time", None),
        (LATER.assign(region="c"), "'region' has 'c', never seen in training", None),
    ],
)
def test_what_cannot_be_right_is_refused(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rows: pd.DataFrame,
    words: str,
    verbs: tuple[str] | None,
) -> None:
    file, out, before = tmp_path / "rows.csv", tmp_path / "out.csv", (run / "run.json").read_bytes()
    rows.to_csv(file, index=False)
    for verb in verbs or ("predict", "update", "calibrate", "compare"):
        options = [] if verb == "update" else ["-o", str(out)]
        assert words in refused([verb, str(run), str(file), *options], capsys), verb
        assert not out.exists()
    assert (run / "run.json").read_bytes() == before


def test_a_series_that_ended_and_one_that_has_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One closed long ago, one opened two days before the judged span: neither keeps the others from being forecast."""
    rows = pd.concat([shop(1, 100), shop(2, 40), shop(3, 100, skip=78)])
    rows["promotion"] = np.where(rows["day"] > "2024-04-01", "poster", "none")  # a level that comes in the judged span
    rows.to_csv(tmp_path / "rows.csv", index=False)
    options = ["--past", "promotion", "--epochs", "1", *QUICK, "-o", str(tmp_path / "run")]
    assert main(["forecast", str(tmp_path / "rows.csv"), *COLUMNS, *options]) == 0
    assert "Note: ended before 2024-04-09: 2 (2024-02-09). A forecast begins where" in capsys.readouterr().out
    starts = pd.read_csv(tmp_path / "run" / "forecast.csv").groupby("shop")["day"].min()
    assert starts.to_dict() == {1: "2024-04-10", 2: "2024-02-10", 3: "2024-04-10"}


def test_what_a_twin_learns_from() -> None:
    frame = pd.DataFrame({"id": [*"aaaabbbb"], "t": [1, 2, 3, 9, 2, 3, 9, 9], "y": 1.0, "x": [*"ppqqpprr"]})
    early = learned_from(frame, {"id": "id", "time": "t", "target": "y"}, 5)
    assert early["id"].tolist() == [*"aaa"]
    assert with_levels_of(frame, early, ["x"])["x"].fillna("-").tolist() == [*"ppqqpp--"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"offer": "surprise"}, "'offer' has 'surprise', never seen in training"),
        ({"shop": 9}, "has no rows of the series '1'"),
    ],
)
def test_rows_ahead_that_do_not_fit_are_refused_before_anything_is_learned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object], words: str
) -> None:
    rows = pd.concat([shop(k, 100) for k in (1, 2)]).assign(offer=lambda t: np.where(t["day"].dt.day < 9, "yes", "no"))
    ahead = pd.concat([shop(k, 104, skip=100) for k in (1, 2)]).assign(offer="no")[["shop", "day", "offer"]]
    rows.to_csv(tmp_path / "rows.csv", index=False)
    known = ["--known", "offer", "--future", str(tmp_path / "ahead.jsonl"), "--epochs", "1", *QUICK]
    command = ["forecast", str(tmp_path / "rows.csv"), *COLUMNS, *known, "-o", str(tmp_path / "run")]
    store(ahead.assign(**change), tmp_path / "ahead.jsonl")
    assert words in refused(command, capsys)
    assert not (tmp_path / "run").exists()
    if "shop" in change:  # the ids of the rows ahead are numbers, those of the others texts
        store(ahead, tmp_path / "ahead.jsonl")
        assert main(command) == 0
