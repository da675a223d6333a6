"""What `bayesrnn lm` refuses: texts, options and damaged runs, each in one line."""

import shutil
from pathlib import Path

import pytest
import torch

from bayesrnn.cli import main
from bayesrnn.data.vocabulary import Vocabulary
from tests.cli.series import SMALL_LM, refused


def test_errors_are_one_line(lm_run: Path, lm_text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, latin, other = tmp_path / "empty.txt", tmp_path / "latin.txt", tmp_path / "other.txt"
    empty.write_text("")
    latin.write_bytes("caf\u00e9".encode("latin1"))
    other.write_text("entirely other words here\n" * 60)
    before = (lm_run / "checkpoint.safetensors").read_bytes()
    assert "is empty" in refused(["lm", "evaluate", str(lm_run), str(empty)], capsys)
    assert "byte 3 is 0xe9" in refused(["lm", "evaluate", str(lm_run), str(latin)], capsys)
    assert "the vocabulary is another one" in refused(["lm", "train", str(other), str(lm_run), *SMALL_LM], capsys)
    assert "holds another training (--seed: 0 there, 3 now)" in refused(
        ["lm", "train", str(lm_text), str(lm_run), *SMALL_LM, "--seed", "3"], capsys
    )
    assert "holds no trained model" in refused(["lm", "generate", str(tmp_path)], capsys)
    assert "--scheme must be one of" in refused(
        ["lm", "train", str(lm_text), str(tmp_path / "r"), *SMALL_LM, "--scheme", "x"], capsys
    )
    assert (lm_run / "checkpoint.safetensors").read_bytes() == before


def test_refusals_speak_of_options_and_leave_nothing(
    lm_run: Path, lm_text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, short = tmp_path / "new", tmp_path / "short.txt"
    short.write_text("a b\n" * 12)
    train = ["lm", "train", str(lm_text)]
    changed = refused([*train, str(lm_run), *SMALL_LM, "--hidden", "13", "--epochs", "3"], capsys)
    assert "--hidden: 12 there, 13 now" in changed
    assert "--epochs: 2 there, 3 now" in changed
    assert "--no-resume to begin anew" in changed
    assert len(changed) < 500
    assert "--rate" in refused([*train, str(new), *SMALL_LM, "--scheme", "none", "--rate", "7"], capsys)
    assert "device must be 'auto', 'cpu' or one that" in refused(
        [*train, str(new), *SMALL_LM, "--device", "mars"], capsys
    )
    if not torch.cuda.is_available():
        assert "has no CUDA device" in refused(
            ["lm", "evaluate", str(lm_run), str(lm_text), "--device", "cuda"], capsys
        )
    assert "Invalid value for '--seed'" in refused([*train, str(new), *SMALL_LM, "--seed", "9" * 20], capsys)
    assert "smaller batch_size or window" in refused(["lm", "train", str(short), str(new)], capsys)
    assert not new.exists()
    assert "Invalid value for '--min-count'" in refused([*train, str(new), *SMALL_LM, "--min-count", "0"], capsys)
    assert "device must be" in refused([*train, str(new), *SMALL_LM, "--device", "meta"], capsys)
    assert main(["lm", "generate", str(lm_run), "--temperature", "1e-300", "--length", "3"]) == 0
    assert "--prompt holds no word" in refused(["lm", "generate", str(lm_run), "--prompt", "   "], capsys)
    assert "cannot write to the folder" in refused([*train, str(short), *SMALL_LM], capsys)
    (new / "model").mkdir(parents=True)
    (new / "model" / "notes.txt").write_text("mine")
    assert "is no saved model" in refused([*train, str(new), *SMALL_LM], capsys)
    assert "cannot write to the folder" in refused([*train, str(short / "run"), *SMALL_LM], capsys)


def test_no_dropout_has_no_rate(lm_text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["lm", "train", str(lm_text), str(tmp_path / "run"), *SMALL_LM, "--scheme", "none"]
    assert "drops nothing, but --rate 0.5 was given" in refused([*command, "--rate", "0.5"], capsys)
    assert main([*command, "--epochs", "1", "--rate", "0"]) == 0


def test_a_model_beside_a_foreign_vocabulary_is_refused(
    lm_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(lm_run, copy)
    Vocabulary(["a", "b"]).save(copy / "vocabulary.json")
    assert "is for another vocabulary" in refused(["lm", "generate", str(copy)], capsys)


def test_an_exchanged_order_of_the_vocabulary_is_refused(
    lm_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(lm_run, tmp_path / "run")
    Vocabulary(reversed(Vocabulary.load(lm_run / "vocabulary.json").tokens)).save(copy / "vocabulary.json")
    assert "the tokens or their order differ" in refused(["lm", "generate", str(copy)], capsys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no"),
        ("{}", "does not describe a history"),
        ("garbage", "is not JSON"),
        ("[1]", "does not describe"),
    ],
)
def test_a_damaged_history_is_one_line(
    content: str | None, message: str, lm_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(lm_run, tmp_path / "run")
    (copy / "history.json").unlink()
    if content is not None:
        (copy / "history.json").write_text(content)
    assert message in refused(["lm", "generate", str(copy)], capsys)
