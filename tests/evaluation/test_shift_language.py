"""Foreign text: how it is made, read and told apart."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bayesrnn import perplexity
from bayesrnn.data.vocabulary import EOS, UNK, Vocabulary
from bayesrnn.models import LanguageModel
from bayesrnn.predictive import Origin, TokenPredictive
from bayesrnn.training.language import train_language_model
from evaluation import shift_language
from evaluation.penn_treebank.__main__ import _tiny_corpus
from evaluation.penn_treebank.rows import rows
from tests.evaluation.exit_codes import code_of


def test_strange_text_is_told_apart(tmp_path: Path) -> None:
    assert shift_language.main(["--smoke", "--results", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "shift_language_smoke.json").read_text())
    assert result["reversed_gap_nats"]["entropy"] > 0
    assert result["shift"]["other rules"]["auroc"]["nll"] > 0.9


def test_sentences_are_averaged_each_by_itself() -> None:
    vocabulary = Vocabulary([EOS, "a", UNK])
    tokens = torch.tensor([0, 1, 2, 0, 1, 1, 1, 0])
    values = torch.tensor([[1.0, 2.0, 3.0, 10.0, 20.0, 30.0, 40.0]])
    drawn = TokenPredictive(-values, Origin(1), entropy=values, aleatoric=values, epistemic=values)
    found = shift_language.by_sentence(vocabulary, tokens, drawn, drawn)
    assert found["entropy"].tolist() == [2.0, 25.0]
    assert found["nll"].tolist() == [2.0, 25.0]
    assert found["length"].tolist() == [3.0, 4.0]
    assert found["share of <unk>"].tolist() == pytest.approx([1 / 3, 0.0])


def test_foreign_text_is_written_as_the_treebank_writes() -> None:
    text = "The cat’s 3,400 “mice” — don't run @-@ away .\n\n = Title = \n"
    assert shift_language.treebank_style(text) == "the cat 's N mice do n't run-away\ntitle"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--draws", "0"], "--draws must be at least 1"),
        (["--tokens", "-1"], "--tokens must be at least 2"),
        (["--holmes", "--epochs", "0"], "--epochs must be at least 1"),
        ([], "holds no checkpoint"),
        (["--holmes"], "there is no text file"),
    ],
)
def test_the_shift_evaluation_says_it_in_one_line_too(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data", str(tmp_path / "none"), "--results", str(tmp_path / "r"), "--model", str(tmp_path / "m")]
    assert code_of(shift_language.main, [*where, *options]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(message, said)


def test_a_checkpoint_of_another_vocabulary_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ptb"
    folder.mkdir()
    for part in ("train", "valid", "test"):
        (folder / f"{part}.txt").write_text("a b c\nb a c\n" * 30, encoding="utf-8")
    corpus, vocabulary = _tiny_corpus(), _tiny_corpus().vocabulary
    recipe = replace(rows("gal", "small", epochs=1, precision=None)[0].recipe, window=10, batch_size=4)
    train_language_model(
        LanguageModel(20, 4, 4, 1), corpus["train"], recipe, vocabulary=vocabulary, checkpoint=tmp_path / "m"
    )
    monkeypatch.delenv("BAYESRNN_DATA", raising=False)
    options = ["--model", str(tmp_path / "m"), "--results", str(tmp_path / "r")]
    assert shift_language.main([*options, "--data", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "was trained with another vocabulary" in said
    assert shift_language.main(options) == 2
    assert "set BAYESRNN_DATA" in capsys.readouterr().err


def test_the_shift_evaluation_reads_in_one_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def noted(*given: object, **options: object) -> TokenPredictive:
        asked.append(options.get("precision"))
        return perplexity(*given, **options | {"precision": None})  # type: ignore[arg-type]

    monkeypatch.setattr(shift_language, "perplexity", noted)
    vocabulary = Vocabulary([EOS, *(f"w{i}" for i in range(8))])
    text = torch.arange(54) % 9
    model = LanguageModel(9, 4, 4, 1, dropout=0.2)
    for units, precision in ((True, "bf16"), (False, None)):
        monkeypatch.setattr(shift_language, "multiplies_bfloat16", lambda device, units=units: units)
        asked.clear()
        result = shift_language.shifts(model, vocabulary, text, {"same": text}, draws=16)
        assert asked == [precision] * 6
        assert result["precision"] == (precision or "float32")
