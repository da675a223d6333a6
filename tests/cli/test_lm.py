"""`bayesrnn lm` from text to perplexity and generated words."""

import random
from pathlib import Path

import pytest

from bayesrnn.cli import main

SMALL = ["--hidden", "12", "--embedding", "12", "--layers", "1", "--epochs", "2", "--batch-size", "4", "--window", "8"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences by three rules, made here."""
    choice = random.Random(0).choice
    subjects, verbs, objects = ("the cat", "a dog", "one bird"), ("sees", "hears"), ("the moon .", "some rain .")
    lines = [f"{choice(subjects)} {choice(verbs)} {choice(objects)}" for _ in range(150)]
    path = tmp_path_factory.mktemp("text") / "small.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(text: Path) -> Path:
    folder = text.parent / "run"
    assert main(["lm", "train", str(text), str(folder), *SMALL]) == 0
    return folder


def test_train_writes_all_that_the_others_read(run: Path) -> None:
    assert {"model", "vocabulary.json", "history.json", "checkpoint.safetensors"} <= {p.name for p in run.iterdir()}


def test_training_again_changes_nothing(run: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "model" / "model.safetensors").read_bytes()
    assert main(["lm", "train", str(text), str(run), *SMALL]) == 0
    assert "2 epochs; the model is in" in capsys.readouterr().out
    assert (run / "model" / "model.safetensors").read_bytes() == before


def test_evaluate_prints_both_perplexities(run: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm", "evaluate", str(run), str(text), "--draws", "32"]) == 0
    out = capsys.readouterr().out
    numbers = {line.rsplit("  ", 1)[0].split("  ")[0]: line for line in out.splitlines()}
    assert "perplexity, deterministic" in numbers
    assert "Monte Carlo s.e." in numbers["perplexity, 32 draws"]
    assert {"entropy, nats a token", "epistemic, nats a token"} <= set(numbers)


def test_evaluate_without_draws_is_the_deterministic_pass(
    run: Path, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lm", "evaluate", str(run), str(text), "--draws", "0"]) == 0
    assert "draws" not in capsys.readouterr().out


def test_generate_shows_the_uncertainty_of_each_token(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["lm", "generate", str(run), "--prompt", "the cat", "--length", "5", "--seed", "7"]
    assert main(command) == 0
    out = capsys.readouterr().out
    table = out.split("epistemic\n")[1].splitlines()
    assert len(table) == 5
    for line in table:
        probability, entropy, epistemic = map(float, line.split()[-3:])
        assert 0 < probability <= 1
        assert 0 <= epistemic <= entropy
    assert main(command) == 0
    assert capsys.readouterr().out == out


def test_generate_plainly_prints_the_text_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm", "generate", str(run), "--length", "4", "--plain", "--temperature", "0", "--draws", "0"]) == 0
    assert "epistemic" not in capsys.readouterr().out


def test_characters_work_too(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    options = ["--level", "character", "--scheme", "zaremba", "--recipe", "adamw", "--shared"]
    assert main(["lm", "train", str(text), str(run), *SMALL, *options]) == 0
    assert main(["lm", "generate", str(run), "--prompt", "the c", "--length", "5", "--plain"]) == 0
    assert main(["lm", "evaluate", str(run), str(text), "--draws", "0"]) == 0


@pytest.mark.parametrize("scheme", ["none", "naive", "gal-tied", "moon"])
def test_every_scheme_trains(scheme: str, text: Path, tmp_path: Path) -> None:
    options = ["--scheme", scheme, "--recipe", "gal", *SMALL, "--epochs", "1"]
    assert main(["lm", "train", str(text), str(tmp_path / "run"), *options]) == 0


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    return captured.err


def test_errors_are_one_line(run: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, latin, other = tmp_path / "empty.txt", tmp_path / "latin.txt", tmp_path / "other.txt"
    empty.write_text("")
    latin.write_bytes("caf\u00e9".encode("latin1"))
    other.write_text("entirely other words here\n" * 60)
    before = (run / "checkpoint.safetensors").read_bytes()
    assert "is empty" in refused(["lm", "evaluate", str(run), str(empty)], capsys)
    assert "byte 3 is 0xe9" in refused(["lm", "evaluate", str(run), str(latin)], capsys)
    assert "out of the vocabulary" in refused(["lm", "evaluate", str(run), str(other)], capsys)
    assert "another vocabulary" in refused(["lm", "train", str(other), str(run), *SMALL], capsys)
    assert "belongs to another training" in refused(["lm", "train", str(text), str(run), *SMALL, "--seed", "3"], capsys)
    assert "holds no trained model" in refused(["lm", "generate", str(tmp_path)], capsys)
    assert "scheme must be one of" in refused(
        ["lm", "train", str(text), str(tmp_path / "r"), *SMALL, "--scheme", "x"], capsys
    )
    assert (run / "checkpoint.safetensors").read_bytes() == before


def test_a_model_beside_a_foreign_vocabulary_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    from bayesrnn.data.text import Vocabulary

    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    Vocabulary(["a", "b"]).save(copy / "vocabulary.json")
    assert "is for another vocabulary" in refused(["lm", "generate", str(copy)], capsys)
