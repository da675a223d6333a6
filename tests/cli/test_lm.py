"""`bayesrnn lm` from text to perplexity and generated words."""

import random
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
from tests.cli.series import refused

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
    before = next((run / "model").glob("weights-*"))  # named after the digest of its tensors
    assert main(["lm", "train", str(text), str(run), *SMALL]) == 0
    assert "2 epochs; the model is in" in capsys.readouterr().out
    assert next((run / "model").glob("weights-*")) == before


def test_evaluate_prints_both_perplexities(run: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm", "evaluate", str(run), str(text), "--draws", "32"]) == 0
    out = capsys.readouterr().out
    numbers = {line.rsplit("  ", 1)[0].split("  ")[0]: line for line in out.splitlines()}
    assert "perplexity, deterministic" in numbers
    assert "Monte Carlo s.e." in numbers["perplexity, 32 draws"]
    assert {"entropy, nats per token", "epistemic, nats per token"} <= set(numbers)


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


def test_generate_says_which_words_it_does_not_know(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm", "generate", str(run), "--prompt", "the zzebra", "--length", "2", "--plain"]) == 0
    assert capsys.readouterr().err.strip() == "read as <unk>, not in the vocabulary: 'zzebra'"
    assert main(["lm", "generate", str(run), "--prompt", "the cat", "--length", "2", "--plain"]) == 0
    assert capsys.readouterr().err == ""


def test_generate_plainly_prints_the_text_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm", "generate", str(run), "--length", "4", "--plain", "--temperature", "0", "--draws", "0"]) == 0
    assert "epistemic" not in capsys.readouterr().out


def test_characters_work_too(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    options = ["--level", "character", "--scheme", "zaremba", "--recipe", "adamw", "--shared"]
    assert main(["lm", "train", str(text), str(run), *SMALL, *options]) == 0
    assert main(["lm", "generate", str(run), "--prompt", "the c", "--length", "5", "--plain"]) == 0
    assert main(["lm", "evaluate", str(run), str(text), "--draws", "0"]) == 0


@pytest.mark.parametrize(
    ("scheme", "recipe"), [("none", "gal"), ("naive", "one-cycle"), ("gal-tied", "adamw"), ("moon", "zaremba")]
)
def test_every_scheme_and_every_recipe_train(scheme: str, recipe: str, text: Path, tmp_path: Path) -> None:
    options = ["--scheme", scheme, "--recipe", recipe, *SMALL, "--epochs", "1"]
    assert main(["lm", "train", str(text), str(tmp_path / "run"), *options]) == 0


def test_errors_are_one_line(run: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, latin, other = tmp_path / "empty.txt", tmp_path / "latin.txt", tmp_path / "other.txt"
    empty.write_text("")
    latin.write_bytes("caf\u00e9".encode("latin1"))
    other.write_text("entirely other words here\n" * 60)
    before = (run / "checkpoint.safetensors").read_bytes()
    assert "is empty" in refused(["lm", "evaluate", str(run), str(empty)], capsys)
    assert "byte 3 is 0xe9" in refused(["lm", "evaluate", str(run), str(latin)], capsys)
    assert "the vocabulary is another one" in refused(["lm", "train", str(other), str(run), *SMALL], capsys)
    assert "holds another training (--seed: 0 there, 3 now)" in refused(
        ["lm", "train", str(text), str(run), *SMALL, "--seed", "3"], capsys
    )
    assert "holds no trained model" in refused(["lm", "generate", str(tmp_path)], capsys)
    assert "--scheme must be one of" in refused(
        ["lm", "train", str(text), str(tmp_path / "r"), *SMALL, "--scheme", "x"], capsys
    )
    assert (run / "checkpoint.safetensors").read_bytes() == before


def test_a_model_beside_a_foreign_vocabulary_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    Vocabulary(["a", "b"]).save(copy / "vocabulary.json")
    assert "is for another vocabulary" in refused(["lm", "generate", str(copy)], capsys)


def test_an_exchanged_order_of_the_vocabulary_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    Vocabulary(reversed(Vocabulary.load(run / "vocabulary.json").tokens)).save(copy / "vocabulary.json")
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
    content: str | None, message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "history.json").unlink()
    if content is not None:
        (copy / "history.json").write_text(content)
    assert message in refused(["lm", "generate", str(copy)], capsys)


def test_the_withheld_part_of_the_text_is_evaluated(
    run: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["lm", "evaluate", str(run), "--draws", "0"]
    assert main([*command, str(text)]) == 0
    withheld = capsys.readouterr().out
    assert "only its last 5 % of lines, which were withheld" in withheld
    last = tmp_path / "last.txt"
    lines = text.read_text().splitlines()
    last.write_text("\n".join(lines[round(len(lines) * 0.95) :]) + "\n")
    assert main([*command, str(last)]) == 0
    assert withheld.splitlines()[1:] == capsys.readouterr().out.splitlines()
    assert main([*command, str(text), "--whole"]) == 0
    out = capsys.readouterr().out
    assert "is too low" in out
    assert f"tokens                     {sum(len(line.split()) + 1 for line in lines) - 1}" in out


def test_the_training_file_of_a_folder_is_known_again(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = tmp_path / "folder", str(tmp_path / "run")
    folder.mkdir()
    lines = text.read_text().splitlines(keepends=True)
    (folder / "my.train.txt").write_text("".join(lines[:120]))
    (folder / "my.test.txt").write_text("".join(lines[120:]))
    assert main(["lm", "train", str(folder), run, *SMALL]) == 0
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


def test_no_dropout_has_no_rate(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["lm", "train", str(text), str(tmp_path / "run"), *SMALL, "--scheme", "none"]
    assert "drops nothing, but --rate 0.5 was given" in refused([*command, "--rate", "0.5"], capsys)
    assert main([*command, "--epochs", "1", "--rate", "0"]) == 0


def test_training_says_what_is_withheld(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm", "train", str(text), str(tmp_path / "run"), *SMALL, "--epochs", "1"]) == 0
    assert "for training (90 % of the lines)" in capsys.readouterr().out


def test_words_that_come_once_become_unknown(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prose, run = tmp_path / "prose.txt", tmp_path / "run"
    prose.write_text(text.read_text() + "".join(f"rare{i} the cat\n" for i in range(60)))
    assert main(["lm", "train", str(prose), str(run), *SMALL, "--epochs", "1"]) == 0
    vocabulary = Vocabulary.load(run / "vocabulary.json")
    assert UNK in vocabulary
    assert "rare1" not in vocabulary
    assert main(["lm", "evaluate", str(run), str(prose), "--draws", "0"]) == 0
    assert "of them <unk>" in capsys.readouterr().out
    again = tmp_path / "again"
    assert main(["lm", "train", str(prose), str(again), *SMALL, "--epochs", "1", "--max-size", "7"]) == 0
    assert len(Vocabulary.load(again / "vocabulary.json")) == 7


def test_a_run_begun_anew_with_another_text_goes_on(
    run: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second epoch; the old vocabulary does not stand in the way."""
    copy, other = shutil.copytree(run, tmp_path / "run"), tmp_path / "other.txt"
    other.write_text(text.read_text().replace("moon", "sun"))
    line = _train._line

    def stops(history: History, epochs: int) -> str:
        if history.epochs == 1:
            raise KeyboardInterrupt
        return line(history, epochs)

    with monkeypatch.context() as patch:
        patch.setattr(_train, "_line", stops)
        assert main(["lm", "train", str(other), str(copy), *SMALL, "--no-resume"]) == 130
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1
    assert "the same command (without --no-resume) goes on" in captured
    assert "begun anew there and not finished" in refused(["lm", "generate", str(copy)], capsys)
    assert main(["lm", "train", str(other), str(copy), *SMALL]) == 0
    out = capsys.readouterr().out
    assert "epoch 2" in out
    assert "epoch 1" not in out
    assert main(["lm", "generate", str(copy), "--length", "2"]) == 0


def test_refusals_speak_of_options_and_leave_nothing(
    run: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new, short = tmp_path / "new", tmp_path / "short.txt"
    short.write_text("a b\n" * 12)
    train = ["lm", "train", str(text)]
    changed = refused([*train, str(run), *SMALL, "--hidden", "13", "--epochs", "3"], capsys)
    assert "--hidden: 12 there, 13 now" in changed
    assert "--epochs: 2 there, 3 now" in changed
    assert "--no-resume to begin anew" in changed
    assert len(changed) < 500
    assert "--rate" in refused([*train, str(new), *SMALL, "--scheme", "none", "--rate", "7"], capsys)
    assert "device must be 'auto', 'cpu' or one that" in refused([*train, str(new), *SMALL, "--device", "mars"], capsys)
    if not torch.cuda.is_available():
        assert "has no CUDA device" in refused(["lm", "evaluate", str(run), str(text), "--device", "cuda"], capsys)
    assert "Invalid value for '--seed'" in refused([*train, str(new), *SMALL, "--seed", "9" * 20], capsys)
    assert "smaller batch_size or window" in refused(["lm", "train", str(short), str(new)], capsys)
    assert not new.exists()
    assert "Invalid value for '--min-count'" in refused([*train, str(new), *SMALL, "--min-count", "0"], capsys)
    assert "device must be" in refused([*train, str(new), *SMALL, "--device", "meta"], capsys)
    assert main(["lm", "generate", str(run), "--temperature", "1e-300", "--length", "3"]) == 0
    assert "--prompt holds no word" in refused(["lm", "generate", str(run), "--prompt", "   "], capsys)
    assert "cannot write to the folder" in refused([*train, str(short), *SMALL], capsys)
    (new / "model").mkdir(parents=True)
    (new / "model" / "notes.txt").write_text("mine")
    assert "is no saved model" in refused([*train, str(new), *SMALL], capsys)
    assert "cannot write to the folder" in refused([*train, str(short / "run"), *SMALL], capsys)


def test_without_a_command_the_help_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm"]) == 0
    assert capsys.readouterr().out.count("\n") > 5


def test_the_error_of_the_perplexity_is_its_spread_over_repetitions() -> None:
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(200):
        p = 0.02 * torch.rand(8, 1, 300, generator=generator, dtype=torch.double) + 0.001
        found.append(TokenPredictive.from_blocks(p.mean(-1, keepdim=True).expand_as(p).log(), origin=Origin(8)))
    spread = torch.tensor([result.perplexity for result in found]).std()
    assert sum(float(_error(result)) for result in found) / 200 == pytest.approx(float(spread), rel=0.2)


def test_unknown_words_are_counted_among_those_that_are_scored(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "zebra.txt"
    for text, line in (("zebra sees the moon .\n", ""), ("zebra sees the zebra .\n", "of them <unk>")):
        path.write_text(text)
        assert main(["lm", "evaluate", str(run), str(path), "--draws", "0"]) == 0
        out = capsys.readouterr().out
        assert ("of them <unk>" in out) == bool(line)
        assert not line or "1  (20.0%)" in out


def test_a_warning_is_one_line_without_a_path(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with noted():
            warnings.warn("two\nlines", stacklevel=1)
    assert capsys.readouterr().err == "bayesrnn: note: two lines\n"
    if multiplies_bfloat16():
        return
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["lm", "train", str(text), str(tmp_path / "run"), *SMALL, "--bf16"]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "note" in line]
    assert notes
    assert all(line.startswith("bayesrnn: note: precision='bf16' was asked for") for line in notes)
