"""`bayesrnn classify` and `regress`, and what is done with their runs: files, words, exit codes."""

import errno
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesrnn.cli import main
from bayesrnn.storage.run import held
from tests.cli.series import refused

SMALL = ["--hidden", "12", "--draws", "16", "--threads", "1"]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences whose verdict is in one word, three in twenty of them wrong."""
    choice = random.Random(0).choice
    good, bad, things = ("fine", "great", "lovely"), ("dull", "poor", "weak"), ("film", "book", "song", "plot")
    lines = []
    for k in range(400):
        verdict = choice(("good", "bad"))
        word = choice(good if verdict == "good" else bad)
        lines.append({"id": k, "review": f"a {word} {choice(things)}, {choice(things)} and all", "verdict": verdict})
    table = pd.DataFrame(lines)
    flipped = np.random.default_rng(0).random(400) < 0.15
    table.loc[flipped, "verdict"] = table.loc[flipped, "verdict"].map({"good": "bad", "bad": "good"})
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    table.to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def run(reviews: Path) -> Path:
    folder = reviews.parent / "run"
    command = ["classify", str(reviews), "-o", str(folder), "--text", "review", "--target", "verdict"]
    assert main([*command, *SMALL, "--epochs", "12"]) == 0  # not --quick: that means four epochs
    return folder


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sequences of 4 to 9 steps whose target is the sum of a feature, with noise."""
    draw = np.random.default_rng(0)
    lines = []
    for k in range(160):
        heat = draw.normal(size=draw.integers(4, 10))
        wear = heat.sum() + 0.3 * draw.normal()
        lines += [{"machine": f"m{k}", "hour": t, "heat": v, "wear": wear} for t, v in enumerate(heat)]
    path = tmp_path_factory.mktemp("machines") / "machines.csv"
    pd.DataFrame(lines).sample(frac=1, random_state=0).to_csv(path, index=False)
    return path


def test_a_run_holds_model_report_and_tables(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert names == {
        "run.json", "model", "report", "comparison", "held_out.csv", "sets.csv", "abstention.csv"
    }  # fmt: skip
    pictures = {path.name for path in (run / "report").iterdir()}
    assert {"report.html", "reliability.png", "confusion_matrix.png", "risk_coverage.png"} <= pictures
    scores = json.loads((run / "run.json").read_text())["scores"]
    assert scores["accuracy"] > 0.7  # 0.85 at best


def test_predict_says_how_sure_and_why(
    run: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.csv"
    pd.read_csv(reviews).drop(columns="verdict").head(50).to_csv(new, index=False)  # no target
    assert main(["predict", str(run), str(new), "-o", str(tmp_path / "p.csv"), "--risk", "0.3"]) == 0
    capsys.readouterr()
    table = pd.read_csv(tmp_path / "p.csv")
    assert set(table["predicted"]) == {"good", "bad"}
    assert {"id", "confidence", "abstain", "set_90", "entropy", "aleatoric", "epistemic"} <= set(table.columns)
    np.testing.assert_allclose(table["probability_bad"] + table["probability_good"], 1, atol=1e-6)
    np.testing.assert_allclose(table["aleatoric"] + table["epistemic"], table["entropy"], atol=1e-5)
    assert not table["abstain"].all()
    assert main(["predict", str(run), str(new), "-o", str(tmp_path / "p.csv"), "--risk", "0.001", "--json"]) == 0
    assert "60 calibration rows are too few for a risk of 0.001" in json.loads(capsys.readouterr().out)["note"]
    assert pd.read_csv(tmp_path / "p.csv")["abstain"].all()
    first = pd.read_csv(new).head(3)
    first.to_csv(tmp_path / "three.csv", index=False)  # a row's prediction does not depend on the others
    assert main(["predict", str(run), str(tmp_path / "three.csv"), "-o", str(tmp_path / "q.json")]) == 0
    again = pd.read_json(tmp_path / "q.json", lines=True)
    np.testing.assert_allclose(again["probability_good"], table["probability_good"].head(3), atol=1e-5)


def test_the_rest_of_the_verbs(run: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    before = next((copy / "model").glob("weights-*")).name  # of the digest of its tensors
    whole, reviews = reviews, tmp_path / "some.csv"
    pd.read_csv(whole).head(80).to_csv(reviews, index=False)
    assert main(["calibrate", str(copy), str(reviews)]) == 0
    assert "sets hold" in capsys.readouterr().out
    assert (copy / "calibrate" / "report" / "report.html").is_file()
    assert main(["compare", str(copy), str(reviews), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reference"] == "deterministic pass"
    assert main(["update", str(copy), str(reviews)]) == 0
    assert next((copy / "model").glob("weights-*")).name == before
    assert main(["audit", str(copy)]) == 0
    assert "hidden_l0 at rate 0.25" in capsys.readouterr().out
    assert main(["models", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert "classify" in listed
    assert "accuracy" in listed


@pytest.mark.parametrize(("verb", "rows"), [("calibrate", 1), ("compare", 1), ("update", 3)])
def test_too_few_rows_are_refused_with_their_number(
    verb: str, rows: int, run: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few.csv"
    pd.read_csv(reviews).head(rows).to_csv(few, index=False)
    assert f"holds {rows} labelled rows, but this takes" in refused([verb, str(run), str(few)], capsys)


def test_the_same_command_does_nothing_and_another_is_refused(
    run: Path, reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["classify", str(reviews), "-o", str(run), "--text", "review", "--target", "verdict", *SMALL]
    stamp = (run / "run.json").stat().st_mtime_ns
    assert main([*command, "--epochs", "12"]) == 0
    assert "holds this run already" in capsys.readouterr().out
    assert main([*command, "--epochs", "13"]) == 2
    assert "holds another run (settings: epochs 12 there, 13 now)" in capsys.readouterr().err
    assert (run / "run.json").stat().st_mtime_ns == stamp


def test_regress(machines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run", tmp_path / "p.csv"
    columns = ["--id", "machine", "--time", "hour", "--target", "wear"]
    assert main(["regress", str(machines), "-o", str(run), *columns, *SMALL, "--epochs", "40", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores["rmse"] < 1.5  # 2.6 for the mean, 0.3 at best
    assert main(["predict", str(run), str(machines), "-o", str(out), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    table = pd.read_csv(out)
    assert {"id", "mean", "std", "aleatoric", "epistemic", "lo-80", "hi-80", "lo-95", "hi-95"} <= set(table.columns)
    wear = pd.read_csv(machines).groupby("machine")["wear"].first()[table["id"]].to_numpy()
    assert 0.6 < ((table["lo-80"] <= wear) & (wear <= table["hi-80"])).mean() <= 1


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
    assert words in refused(["classify", str(reviews), "-o", str(tmp_path / "out"), *options, *SMALL], capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", [["--sequence", "s*"], ["--id", "name", "--features", "s1,s2"]])
def test_steps_that_are_texts_are_refused_with_what_to_do(
    how: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.DataFrame({"name": range(40), "s1": 1.5, "s2": ["dry", "wet"] * 20, "kind": ["a", "b"] * 20})
    rows.to_csv(tmp_path / "steps.csv", index=False)
    command = ["classify", str(tmp_path / "steps.csv"), "-o", str(tmp_path / "o"), "--target", "kind", *how, *SMALL]
    assert "of a text with few values (dry, wet) make a column of 0 and 1 each" in refused(command, capsys)


@pytest.mark.parametrize("kind", ["classify", "regress"])
def test_a_model_that_is_no_better_than_a_constant_is_said_to_be(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(0)
    rows = pd.DataFrame({f"s{k}": draw.normal(size=90) for k in range(4)})
    rows["kind"] = draw.choice(["a", "b"], 90) if kind == "classify" else draw.normal(size=90)
    rows.to_csv(tmp_path / "noise.csv", index=False)
    options = ["--sequence", "s*", "--target", "kind", "--quick", *SMALL]
    assert main([kind, str(tmp_path / "noise.csv"), "-o", str(tmp_path / "o"), *options]) == 0
    answer = "to answer '[ab]' each time" if kind == "classify" else "to answer with the mean each time"
    assert re.search(f"It is not shown to be better than {answer}, which is", capsys.readouterr().out)


def test_a_target_that_is_text_is_no_number(reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["regress", str(reviews), "-o", str(tmp_path / "o"), "--text", "review", "--target", "verdict"]
    assert "no number. Is it a class? Then use `bayesrnn classify`" in refused(command, capsys)


def test_runs_of_another_kind_or_version_are_refused(
    run: Path, reviews: Path, machines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predict = ["predict", str(tmp_path / "copy"), str(reviews), "-o", str(tmp_path / "p.csv")]
    assert "holds no finished run" in refused(predict, capsys)
    copy = shutil.copytree(run, tmp_path / "copy")
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
    run: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(reviews)
    table.loc[3, "verdict"] = "mixed"
    table.to_csv(tmp_path / "odd.csv", index=False)
    assert "the classes mixed are unknown to the model" in refused(
        ["calibrate", str(run), str(tmp_path / "odd.csv"), "-o", str(tmp_path / "c")], capsys
    )
    assert not (tmp_path / "c").exists()


def test_two_processes_on_one_run_are_told_so(run: Path, reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with held(run):
        assert "is in use: another process works on this run" in refused(["update", str(run), str(reviews)], capsys)


def test_no_space_left_leaves_the_old_run(
    run: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / "mine.txt").write_text("mine")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    command = ["classify", str(reviews), "-o", str(copy), "--text", "review", "--target", "verdict", *SMALL, "--quick"]
    before = sorted(path.name for path in copy.iterdir())
    with monkeypatch.context() as patched:
        patched.setattr("bayesrnn.tables.judgement.atomic_write", full)
        assert "No space left" in refused([*command, "--anew"], capsys)
    assert sorted(path.name for path in copy.iterdir() if path.name != "training") == before
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    assert main(["predict", str(copy), str(reviews), "-o", str(tmp_path / "p.csv")]) == 0
    assert main([*command, "--anew"]) == 0
    assert (copy / "mine.txt").read_text() == "mine"
    assert not (copy / "training").exists()


def test_a_folder_that_is_no_run_is_left_alone(
    reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    command = ["classify", str(reviews), "-o", str(tmp_path), "--text", "review", "--target", "verdict", *SMALL]
    assert "is not empty and holds no run" in refused(command, capsys)


def test_a_training_that_was_stopped_goes_on(reviews: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["classify", str(reviews), "-o", str(run), "--text", "review", "--target", "verdict", *SMALL]
    command += ["--epochs", "500", "--patience", "500"]
    process = subprocess.Popen(
        [sys.executable, "-m", "bayesrnn", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while not list(run.glob("training/*/checkpoint.safetensors")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    error = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 143
    assert error.splitlines()[-1] == f"bayesrnn: stopped; what was done is in {run}: the same command goes on."
    assert list(run.glob("training/*/checkpoint.safetensors"))
