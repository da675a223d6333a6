"""What `bayesrnn classify`, `regress` and the verbs on their runs refuse, each in one line."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from bayesrnn.storage.run import held
from tests.cli.series import SMALL_SEQUENCES, refused


@pytest.mark.parametrize(("verb", "rows"), [("calibrate", 1), ("compare", 1), ("update", 3)])
def test_too_few_rows_are_refused_with_their_number(
    verb: str, rows: int, classify_run: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few.csv"
    pd.read_csv(reviews).head(rows).to_csv(few, index=False)
    assert f"holds {rows} labelled rows, but this takes" in refused([verb, str(classify_run), str(few)], capsys)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--text", "review"], "which column is to be predicted"),
        (["--target", "verdict"], "how does"),
        (["--text", "words", "--target", "verdict"], "no column 'words'"),
        (["--text", "review", "--target", "verdict", "--rate", "0"], "rate must be above 0"),
        (["--text", "review", "--target", "verdict", "--sets", "top"], "score must be one of"),
        (["--text", "review", "--target", "verdict", "--by", "group"], "sets by group need the groups"),
        (["--text", "review", "--target", "verdict", "--group", "verdict"], "there are 2 groups"),
        (["--text", "review", "--target", "verdict", "--device", "abacus"], "device must be"),
        (["--text", "review", "--target", "verdict", "--level", "page"], "level must be one of"),
    ],
)
def test_bad_calls_are_one_line_and_leave_nothing(
    options: list[str], words: str, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(["classify", str(reviews), "-o", str(tmp_path / "out"), *options, *SMALL_SEQUENCES], capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", [["--sequence", "s*"], ["--id", "name", "--features", "s1,s2"]])
def test_steps_that_are_texts_are_refused_with_what_to_do(
    how: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.DataFrame({"name": range(40), "s1": 1.5, "s2": ["dry", "wet"] * 20, "kind": ["a", "b"] * 20})
    rows.to_csv(tmp_path / "steps.csv", index=False)
    command = [
        "classify",
        str(tmp_path / "steps.csv"),
        "-o",
        str(tmp_path / "o"),
        "--target",
        "kind",
        *how,
        *SMALL_SEQUENCES,
    ]
    assert "of a text with few values (dry, wet) make a column of 0 and 1 each" in refused(command, capsys)


def test_a_target_that_is_text_is_no_number(reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["regress", str(reviews), "-o", str(tmp_path / "o"), "--text", "review", "--target", "verdict"]
    assert "no number. Is it a class? Then use `bayesrnn classify`" in refused(command, capsys)


def test_runs_of_another_kind_or_version_are_refused(
    classify_run: Path, reviews: Path, machines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict = ["predict", str(tmp_path / "copy"), str(reviews), "-o", str(tmp_path / "p.csv")]
    assert "holds no finished run" in refused(predict, capsys)
    copy = shutil.copytree(classify_run, tmp_path / "copy")
    assert "no column 'review'" in refused([*predict[:2], str(machines), *predict[3:]], capsys)
    assert "must end in .csv, .parquet or .json" in refused([*predict[:3], "-o", "p.txt"], capsys)
    text = (copy / "run.json").read_text()
    for change, words in (
        (('"bayesrnn.run/2"', '"bayesrnn.run/9"'), "format version 9"),
        (('"seed": 0', '"seed": 1'), "is damaged"),
        (('"bayesrnn.run/2"', '"other"'), "does not describe a run"),
    ):
        (copy / "run.json").write_text(text.replace(*change))
        assert words in refused(predict, capsys)
    assert not (tmp_path / "p.csv").exists()


def test_a_class_that_the_model_does_not_know(
    classify_run: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(reviews)
    table.loc[3, "verdict"] = "mixed"
    table.to_csv(tmp_path / "odd.csv", index=False)
    assert "the classes mixed are unknown to the model" in refused(
        ["calibrate", str(classify_run), str(tmp_path / "odd.csv"), "-o", str(tmp_path / "c")], capsys
    )
    assert not (tmp_path / "c").exists()


def test_two_processes_on_one_run_are_told_so(
    classify_run: Path, reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with held(classify_run):
        assert "is in use: another process works on this run" in refused(
            ["update", str(classify_run), str(reviews)], capsys
        )


def test_a_folder_that_is_no_run_is_left_alone(
    reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    command = [
        "classify",
        str(reviews),
        "-o",
        str(tmp_path),
        "--text",
        "review",
        "--target",
        "verdict",
        *SMALL_SEQUENCES,
    ]
    assert "is not empty and holds no run" in refused(command, capsys)
