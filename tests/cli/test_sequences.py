"""`bayesrnn classify` and `regress`, and what is done with their runs: files, words, exit codes."""

import errno
import json
import os
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
from tests.cli.series import SMALL_SEQUENCES, refused


def test_a_run_holds_model_report_and_tables(classify_run: Path) -> None:
    names = {path.name for path in classify_run.iterdir()}
    assert names == {
        "run.json", "model", "report", "comparison", "held_out.csv", "sets.csv", "abstention.csv"
    }  # fmt: skip
    pictures = {path.name for path in (classify_run / "report").iterdir()}
    assert {"report.html", "reliability.png", "confusion_matrix.png", "risk_coverage.png"} <= pictures
    scores = json.loads((classify_run / "run.json").read_text())["scores"]
    assert scores["accuracy"] > 0.7  # 0.85 at best


def test_predict_says_how_sure_and_why(
    classify_run: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.csv"
    pd.read_csv(reviews).drop(columns="verdict").head(50).to_csv(new, index=False)  # no target
    assert main(["predict", str(classify_run), str(new), "-o", str(tmp_path / "p.csv"), "--risk", "0.3"]) == 0
    capsys.readouterr()
    table = pd.read_csv(tmp_path / "p.csv")
    assert set(table["predicted"]) == {"good", "bad"}
    assert {"id", "confidence", "abstain", "set_90", "entropy", "aleatoric", "epistemic"} <= set(table.columns)
    np.testing.assert_allclose(table["probability_bad"] + table["probability_good"], 1, atol=1e-6)
    np.testing.assert_allclose(table["aleatoric"] + table["epistemic"], table["entropy"], atol=1e-5)
    assert not table["abstain"].all()
    assert (
        main(["predict", str(classify_run), str(new), "-o", str(tmp_path / "p.csv"), "--risk", "0.001", "--json"]) == 0
    )
    assert "60 calibration rows are too few for a risk of 0.001" in json.loads(capsys.readouterr().out)["note"]
    assert pd.read_csv(tmp_path / "p.csv")["abstain"].all()
    first = pd.read_csv(new).head(3)
    first.to_csv(tmp_path / "three.csv", index=False)  # a row's prediction does not depend on the others
    assert main(["predict", str(classify_run), str(tmp_path / "three.csv"), "-o", str(tmp_path / "q.json")]) == 0
    again = pd.read_json(tmp_path / "q.json", lines=True)
    np.testing.assert_allclose(again["probability_good"], table["probability_good"].head(3), atol=1e-5)


def test_the_rest_of_the_verbs(
    classify_run: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(classify_run, tmp_path / "copy")
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


def test_the_same_command_does_nothing_and_another_is_refused(
    classify_run: Path, reviews: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "classify",
        str(reviews),
        "-o",
        str(classify_run),
        "--text",
        "review",
        "--target",
        "verdict",
        *SMALL_SEQUENCES,
    ]
    stamp = (classify_run / "run.json").stat().st_mtime_ns
    assert main([*command, "--epochs", "12"]) == 0
    assert "holds this run already" in capsys.readouterr().out
    assert main([*command, "--epochs", "13"]) == 2
    assert "holds another run (settings: epochs 12 there, 13 now)" in capsys.readouterr().err
    assert (classify_run / "run.json").stat().st_mtime_ns == stamp


def test_regress(machines: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run", tmp_path / "p.csv"
    columns = ["--id", "machine", "--time", "hour", "--target", "wear"]
    assert main(["regress", str(machines), "-o", str(run), *columns, *SMALL_SEQUENCES, "--epochs", "40", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores["rmse"] < 1.5  # 2.6 for the mean, 0.3 at best
    assert main(["predict", str(run), str(machines), "-o", str(out), "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    table = pd.read_csv(out)
    assert {"id", "mean", "std", "aleatoric", "epistemic", "lo-80", "hi-80", "lo-95", "hi-95"} <= set(table.columns)
    wear = pd.read_csv(machines).groupby("machine")["wear"].first()[table["id"]].to_numpy()
    assert 0.6 < ((table["lo-80"] <= wear) & (wear <= table["hi-80"])).mean() <= 1


@pytest.mark.parametrize("kind", ["classify", "regress"])
def test_a_model_that_is_no_better_than_a_constant_is_said_to_be(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = np.random.default_rng(0)
    rows = pd.DataFrame({f"s{k}": draw.normal(size=90) for k in range(4)})
    rows["kind"] = draw.choice(["a", "b"], 90) if kind == "classify" else draw.normal(size=90)
    rows.to_csv(tmp_path / "noise.csv", index=False)
    options = ["--sequence", "s*", "--target", "kind", "--quick", *SMALL_SEQUENCES]
    assert main([kind, str(tmp_path / "noise.csv"), "-o", str(tmp_path / "o"), *options]) == 0
    answer = "to answer '[ab]' each time" if kind == "classify" else "to answer with the mean each time"
    assert re.search(f"It is not shown to be better than {answer}, which is", capsys.readouterr().out)


def test_no_space_left_leaves_the_old_run(
    classify_run: Path,
    reviews: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = shutil.copytree(classify_run, tmp_path / "copy")
    (copy / "mine.txt").write_text("mine")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    command = [
        "classify",
        str(reviews),
        "-o",
        str(copy),
        "--text",
        "review",
        "--target",
        "verdict",
        *SMALL_SEQUENCES,
        "--quick",
    ]
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


def test_a_training_that_was_stopped_goes_on(reviews: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ["classify", str(reviews), "-o", str(run), "--text", "review", "--target", "verdict", *SMALL_SEQUENCES]
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
