"""The Penn Treebank and the shift evaluation on texts made on the spot."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bayesrnn.predictive import Origin, TokenPredictive
from evaluation import records
from evaluation.penn_treebank import report
from evaluation.penn_treebank.__main__ import _tiny_corpus, main
from evaluation.penn_treebank.judging import reliability
from evaluation.penn_treebank.rows import rows
from evaluation.penn_treebank.run import Plan, run_row
from tests.evaluation.exit_codes import code_of


def test_every_row_runs_and_leaves_its_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--smoke", "--results", str(tmp_path)]) == 0
    for row in rows("gal", "small"):
        result = json.loads((tmp_path / f"penn_treebank_gal_small_{row.name}.json").read_text())
        assert {"commit", "command", "seed", "machine", "date"} <= set(result["provenance"])
        assert [e["epoch"] for e in result["epochs"]] == [1, 2]
        assert math.isfinite(result["scores"]["test"])
        assert result["scores"]["test_dynamic"] < 1.1 * result["scores"]["test"]
        assert ("test_mc" in result["scores"]) == (row.name != "none")
        assert ("test_mc_words_kept" in result["scores"]) == row.name.startswith("gal")
    ensemble = json.loads((tmp_path / "penn_treebank_beyond_small_shared_ensemble_2.json").read_text())
    assert ensemble["members"] == 2
    assert ensemble["scores"]["tuned_on_valid"]["multiplier"] in (0.5, 0.7, 0.85, 1.0)
    assert ensemble["scores"]["tuned_on_valid"]["average"] in ("arithmetic", 0.5, "geometric")
    assert "test_dynamic" not in ensemble["scores"]  # of one model only
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


def test_a_row_says_which_row_it_goes_on_from(tmp_path: Path) -> None:
    result_of(90.0, 0, tmp_path, start="zaremba")
    report.write("gal", "medium", tmp_path)
    assert "| none, after zaremba | 1 | 90.00" in (tmp_path / "penn_treebank_gal_medium.md").read_text()


def result_of(test: float, seed: int, folder: Path, suffix: str = "", **extra: object) -> None:
    result = {
        "row": "none",
        "published": {"test": 121.7},
        "scores": {"test": test},
        "epochs": [{"epoch": 1, "valid_perplexity": 9.0, "train_perplexity": 50.0, "words_per_second": 100.0}],
        **extra,
    }
    records.save(f"penn_treebank_gal_medium_none{suffix}", result, seed=seed, folder=folder)


def test_seeds_are_tabulated_with_mean_and_range(tmp_path: Path) -> None:
    result_of(120.0, 1, tmp_path, "_seed_1")
    report.write("gal", "medium", tmp_path)
    table = tmp_path / "penn_treebank_gal_medium.md"
    assert "| none, seed 1 | 1 | 120.00 (121.7) | 50.0 | 100 |" in table.read_text()
    result_of(123.0, 0, tmp_path)
    result_of(123.0, 10, tmp_path, "_seed_10")
    result_of(0.0, 3, tmp_path, "_seed_3", scores={})  # still in training
    result_of(0.0, 4, tmp_path, "_member_4", scores={})
    result_of(110.0, 1, tmp_path, "_ensemble_2_seed_1", members=2, epochs=[])
    result_of(100.0, 5, tmp_path, "_seed_5", share_of_training_text=0.5)
    report.write("gal", "medium", tmp_path)
    text = table.read_text()
    assert "| none, 3 seeds | 1 | 122.00 [120.00, 123.00] (121.7) | 50.0 | 100 |" in text
    assert "| none, 2 members, seed 1 |  | 110.00 |  |  |" in text
    assert "| none, seed 5 | 1 | 100.00 (121.7) |" in text
    assert text.count("| none") == 3
    assert "Rows of several seeds: their mean" in text


def test_a_fresh_folder_takes_another_seed_and_every_row_runs(tmp_path: Path) -> None:
    plan = Plan("gal", "small", _tiny_corpus(), tmp_path / "w", tmp_path / "r", seed=1, units=4, progress=False)
    for row in [r for r in rows("gal", "small", epochs=1, precision=None) if r.name in ("none", "zaremba")]:
        run_row(replace(plan, draws=16), replace(row, recipe=replace(row.recipe, window=10, batch_size=4)))
        report.write("gal", "small", tmp_path / "r")
    text = (tmp_path / "r" / "penn_treebank_gal_small.md").read_text()
    assert "| none, seed 1 |" in text
    assert "| zaremba, seed 1 |" in text


def test_a_table_without_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no result of the table 'gal'"):
        report.write("gal", "small", tmp_path)
    (tmp_path / "penn_treebank_gal_small_none.json").write_text("{}")
    with pytest.raises(ValueError, match="is a result of something else: it has no row, published"):
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--draws", "-3"], "--draws must be at least 1, but -3"),
        (["--draws", "0"], "--draws must be at least 1, but 0"),
        (["--draws", "many"], "argument --draws: invalid int value"),
        (["--fraction", "0"], r"--fraction .* must lie in \(0, 1\], but 0"),
        (["--fraction", "2"], r"must lie in \(0, 1\], but 2"),
        (["--fraction", "-0.3"], r"must lie in \(0, 1\], but -0\.3"),
        (["--members", "0"], "--members must be at least 1"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--row", "nine"], "--row must be of"),
        (["--report"], "holds no result of the table 'gal'"),
        ([], "there is no text file or folder"),
    ],
)
def test_one_line_says_what_is_wrong_before_anything_is_trained(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--data", str(tmp_path / "none"), "--results", str(tmp_path / "r"), "--work", str(tmp_path / "w")]
    assert code_of(main, [*where, *options]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(message, said)
    assert list(tmp_path.iterdir()) == []
