"""The Penn Treebank and the shift evaluation on texts made on the spot."""

import json
import math
from pathlib import Path

import pytest
import torch

from bayesrnn.data.text import EOS, UNK, Vocabulary
from bayesrnn.predictive import Origin, TokenPredictive
from evaluation import shift_language
from evaluation.penn_treebank import report
from evaluation.penn_treebank.__main__ import main
from evaluation.penn_treebank.rows import rows
from evaluation.penn_treebank.run import reliability


def test_every_row_runs_and_leaves_its_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--smoke", "--results", str(tmp_path)]) == 0
    for row in rows("gal", "small"):
        result = json.loads((tmp_path / f"penn_treebank_gal_small_{row.name}.json").read_text())
        assert {"commit", "command", "seed", "machine", "date"} <= set(result["provenance"])
        assert [e["epoch"] for e in result["epochs"]] == [1, 2]
        assert math.isfinite(result["scores"]["test"])
        assert ("test_mc" in result["scores"]) == (row.name != "none")
        assert ("test_mc_words_kept" in result["scores"]) == row.name.startswith("gal")
    ensemble = json.loads((tmp_path / "penn_treebank_beyond_small_shared_ensemble_2.json").read_text())
    assert ensemble["members"] == 2
    assert ensemble["scores"]["tuned_on_valid"]["multiplier"] in (0.7, 0.85, 1.0)
    table = (tmp_path / "penn_treebank_gal_small.md").read_text()
    assert table.count("| gal-") == 2
    assert (tmp_path / "penn_treebank_gal_small.png").stat().st_size > 1000
    assert "gal-untied" in capsys.readouterr().out


def test_published_numbers_stand_beside_ours() -> None:
    result = {
        "row": "gal-untied",
        "published": {"valid": 81.9, "test": 79.7, "test_mc": 78.6},
        "scores": {"valid": 80.0, "test": 78.0, "test_mc_words_kept": 77.0, "test_mc_words_kept_standard_error": 0.05},
        "epochs": [{"train_perplexity": 50.0, "words_per_second": 100.0}],
        "share_of_training_text": 1.0,
    }
    line = report.markdown("gal", "medium", [result]).splitlines()[-1]
    assert "80.00 (81.9) | 78.00 (79.7) | 77.00 ± 0.05 (78.6)" in line


def test_a_table_without_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no result of the table 'gal'"):
        report.write("gal", "small", tmp_path)


def test_the_rows_of_the_papers_have_their_rates() -> None:
    large = {row.name: row for row in rows("gal", "large")}
    scheme = large["gal-untied"].scheme
    assert [scheme.rate(site) for site in ("word", "input", "hidden", "output")] == [0.3, 0.5, 0.3, 0.5]
    assert large["zaremba"].scheme.rate("input") == 0.65
    assert large["gal-untied"].published["test_mc"] == 73.4
    assert all(row.recipe.epochs == 4 for row in rows("gal", "small", epochs=4))


def test_reliability_counts_hits_by_confidence() -> None:
    confidence = torch.tensor([[0.95, 0.92, 0.31, 0.33]])
    correct = torch.tensor([[True, False, False, True]])
    result = TokenPredictive(torch.full((1, 4), -1.0), Origin(1), confidence=confidence, correct=correct)
    low, high = reliability(result)
    assert low == pytest.approx({"confidence": 0.32, "correct": 0.5, "tokens": 2.0})
    assert high == pytest.approx({"confidence": 0.935, "correct": 0.5, "tokens": 2.0})
    with pytest.raises(ValueError, match="needs the statistics"):
        reliability(TokenPredictive(torch.full((1, 4), -1.0), Origin(1)))


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
