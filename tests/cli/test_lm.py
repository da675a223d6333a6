"""`bayesrnn lm` from text to perplexity and generated words."""

import shutil
import warnings
from pathlib import Path

import pytest
import torch

from bayesrnn.cli import lm_train as _train
from bayesrnn.cli import main
from bayesrnn.cli.lm_trained import _error
from bayesrnn.cli.shown import noted
from bayesrnn.data.vocabulary import UNK, Vocabulary
from bayesrnn.nn.precision import multiplies_bfloat16
from bayesrnn.predictive import Origin, TokenPredictive
from bayesrnn.training import History
from tests.cli.series import SMALL_LM, refused


def test_train_writes_all_that_the_others_read(lm_run: Path) -> None:
    assert {"model", "vocabulary.json", "history.json", "checkpoint.safetensors"} <= {p.name for p in lm_run.iterdir()}


def test_training_again_changes_nothing(lm_run: Path, lm_text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = next((lm_run / "model").glob("weights-*"))  # named after the digest of its tensors
    assert main(["lm", "train", str(lm_text), str(lm_run), *SMALL_LM]) == 0
    assert "2 epochs; the model is in" in capsys.readouterr().out
    assert next((lm_run / "model").glob("weights-*")) == before


def test_evaluate_prints_both_perplexities(lm_run: Path, lm_text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm", "evaluate", str(lm_run), str(lm_text), "--draws", "32"]) == 0
    out = capsys.readouterr().out
    numbers = {line.rsplit("  ", 1)[0].split("  ")[0]: line for line in out.splitlines()}
    assert "perplexity, deterministic" in numbers
    assert "Monte Carlo s.e." in numbers["perplexity, 32 draws"]
    assert {"entropy, nats per token", "epistemic, nats per token"} <= set(numbers)


def test_evaluate_without_draws_is_the_deterministic_pass(
    lm_run: Path, lm_text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lm", "evaluate", str(lm_run), str(lm_text), "--draws", "0"]) == 0
    assert "draws" not in capsys.readouterr().out


def test_generate_shows_the_uncertainty_of_each_token(lm_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["lm", "generate", str(lm_run), "--prompt", "the cat", "--length", "5", "--seed", "7"]
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


def test_generate_says_which_words_it_does_not_know(lm_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm", "generate", str(lm_run), "--prompt", "the zzebra", "--length", "2", "--plain"]) == 0
    assert capsys.readouterr().err.strip() == "read as <unk>, not in the vocabulary: 'zzebra'"
    assert main(["lm", "generate", str(lm_run), "--prompt", "the cat", "--length", "2", "--plain"]) == 0
    assert capsys.readouterr().err == ""


def test_generate_plainly_prints_the_text_alone(lm_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm", "generate", str(lm_run), "--length", "4", "--plain", "--temperature", "0", "--draws", "0"]) == 0
    assert "epistemic" not in capsys.readouterr().out


def test_characters_work_too(lm_text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    options = ["--level", "character", "--scheme", "zaremba", "--recipe", "adamw", "--shared"]
    assert main(["lm", "train", str(lm_text), str(run), *SMALL_LM, *options]) == 0
    assert main(["lm", "generate", str(run), "--prompt", "the c", "--length", "5", "--plain"]) == 0
    assert main(["lm", "evaluate", str(run), str(lm_text), "--draws", "0"]) == 0


@pytest.mark.parametrize(
    ("scheme", "recipe"), [("none", "gal"), ("naive", "one-cycle"), ("gal-tied", "adamw"), ("moon", "zaremba")]
)
def test_every_scheme_and_every_recipe_train(scheme: str, recipe: str, lm_text: Path, tmp_path: Path) -> None:
    options = ["--scheme", scheme, "--recipe", recipe, *SMALL_LM, "--epochs", "1"]
    assert main(["lm", "train", str(lm_text), str(tmp_path / "run"), *options]) == 0


def test_the_withheld_part_of_the_text_is_evaluated(
    lm_run: Path, lm_text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["lm", "evaluate", str(lm_run), "--draws", "0"]
    assert main([*command, str(lm_text)]) == 0
    withheld = capsys.readouterr().out
    assert "only its last 5 % of lines, which were withheld" in withheld
    last = tmp_path / "last.txt"
    lines = lm_text.read_text().splitlines()
    last.write_text("\n".join(lines[round(len(lines) * 0.95) :]) + "\n")
    assert main([*command, str(last)]) == 0
    assert withheld.splitlines()[1:] == capsys.readouterr().out.splitlines()
    assert main([*command, str(lm_text), "--whole"]) == 0
    out = capsys.readouterr().out
    assert "is too low" in out
    assert f"tokens                     {sum(len(line.split()) + 1 for line in lines) - 1}" in out


def test_the_training_file_of_a_folder_is_known_again(
    lm_text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = tmp_path / "folder", str(tmp_path / "run")
    folder.mkdir()
    lines = lm_text.read_text().splitlines(keepends=True)
    (folder / "my.train.txt").write_text("".join(lines[:120]))
    (folder / "my.test.txt").write_text("".join(lines[120:]))
    assert main(["lm", "train", str(folder), run, *SMALL_LM]) == 0
    evaluate = ["lm", "evaluate", run, "--draws", "0"]
    assert "was trained on, and nothing of it was withheld" in refused(
        [*evaluate, str(folder / "my.train.txt")], capsys
    )
    assert main([*evaluate, str(folder / "my.train.txt"), "--whole"]) == 0
    assert "is too low" in capsys.readouterr().out
    trick = tmp_path / "trick"
    trick.mkdir()
    (trick / "test.txt").write_text("".join(lines[:120]).replace("\n", "\r\n"))
    assert "was trained on, and nothing of it was withheld" in refused([*evaluate, str(trick)], capsys)
    assert main([*evaluate, str(folder / "my.test.txt")]) == 0
    of_file = capsys.readouterr().out
    assert main([*evaluate, str(folder)]) == 0
    assert capsys.readouterr().out == of_file


def test_training_says_what_is_withheld(lm_text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm", "train", str(lm_text), str(tmp_path / "run"), *SMALL_LM, "--epochs", "1"]) == 0
    assert "for training (90 % of the lines)" in capsys.readouterr().out


def test_words_that_come_once_become_unknown(lm_text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prose, run = tmp_path / "prose.txt", tmp_path / "run"
    prose.write_text(lm_text.read_text() + "".join(f"rare{i} the cat\n" for i in range(60)))
    assert main(["lm", "train", str(prose), str(run), *SMALL_LM, "--epochs", "1"]) == 0
    vocabulary = Vocabulary.load(run / "vocabulary.json")
    assert UNK in vocabulary
    assert "rare1" not in vocabulary
    assert main(["lm", "evaluate", str(run), str(prose), "--draws", "0"]) == 0
    assert "of them <unk>" in capsys.readouterr().out
    again = tmp_path / "again"
    assert main(["lm", "train", str(prose), str(again), *SMALL_LM, "--epochs", "1", "--max-size", "7"]) == 0
    assert len(Vocabulary.load(again / "vocabulary.json")) == 7


def test_a_run_begun_anew_with_another_text_goes_on(
    lm_run: Path, lm_text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second epoch; the old vocabulary does not stand in the way."""
    copy, other = shutil.copytree(lm_run, tmp_path / "run"), tmp_path / "other.txt"
    other.write_text(lm_text.read_text().replace("moon", "sun"))
    line = _train._line

    def stops(history: History, epochs: int) -> str:
        if history.epochs == 1:
            raise KeyboardInterrupt
        return line(history, epochs)

    with monkeypatch.context() as patch:
        patch.setattr(_train, "_line", stops)
        assert main(["lm", "train", str(other), str(copy), *SMALL_LM, "--no-resume"]) == 130
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1
    assert "the same command (without --no-resume) goes on" in captured
    assert "begun anew there and not finished" in refused(["lm", "generate", str(copy)], capsys)
    assert main(["lm", "train", str(other), str(copy), *SMALL_LM]) == 0
    out = capsys.readouterr().out
    assert "epoch 2" in out
    assert "epoch 1" not in out
    assert main(["lm", "generate", str(copy), "--length", "2"]) == 0


def test_without_a_command_the_help_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm"]) == 0
    assert capsys.readouterr().out.count("\n") > 5


def test_the_error_of_the_perplexity_is_its_spread_over_repetitions() -> None:
    generator = torch.Generator().manual_seed(0)
    results = []
    for _ in range(200):
        p = 0.02 * torch.rand(8, 1, 300, generator=generator, dtype=torch.double) + 0.001
        results.append(TokenPredictive.from_blocks(p.mean(-1, keepdim=True).expand_as(p).log(), origin=Origin(8)))
    spread = torch.tensor([result.perplexity for result in results]).std()
    assert sum(float(_error(result)) for result in results) / 200 == pytest.approx(float(spread), rel=0.2)


def test_unknown_words_are_counted_among_those_that_are_scored(
    lm_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "zebra.txt"
    for text, line in (("zebra sees the moon .\n", ""), ("zebra sees the zebra .\n", "of them <unk>")):
        path.write_text(text)
        assert main(["lm", "evaluate", str(lm_run), str(path), "--draws", "0"]) == 0
        out = capsys.readouterr().out
        assert ("of them <unk>" in out) == bool(line)
        assert not line or "1  (20.0%)" in out


def test_a_warning_is_one_line_without_a_path(
    lm_text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with noted():
            warnings.warn("two\nlines", stacklevel=1)
    assert capsys.readouterr().err == "bayesrnn: note: two lines\n"
    if multiplies_bfloat16():
        return
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["lm", "train", str(lm_text), str(tmp_path / "run"), *SMALL_LM, "--bf16"]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "note" in line]
    assert notes
    assert all(line.startswith("bayesrnn: note: precision='bf16' was asked for") for line in notes)
