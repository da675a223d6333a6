"""The Penn Treebank and the shift evaluation on texts made on the spot."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bayesrnn import perplexity
from bayesrnn.data.vocabulary import EOS, UNK, Vocabulary
from bayesrnn.models import LanguageModel
from bayesrnn.predictive import Origin, TokenPredictive
from bayesrnn.training import SGD, StepDecay
from bayesrnn.training.language import train_language_model
from evaluation import records, shift_language
from evaluation.penn_treebank import kept, report
from evaluation.penn_treebank.__main__ import _tiny_corpus, main
from evaluation.penn_treebank.judging import by_multiplier, reliability, spread
from evaluation.penn_treebank.rows import Row, rows
from evaluation.penn_treebank.run import Plan, judge_multipliers, run_row


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


def test_a_row_begins_with_the_kept_weights_of_another(tmp_path: Path) -> None:
    plan, row = tiny_plan(tmp_path)
    run_row(plan, row)
    recipe = replace(row.recipe, optimizer=SGD(StepDecay(1e-12)), averaging=None)  # hardly moves the weights
    [path] = run_row(plan, replace(row, name="again", start="shared", recipe=recipe))
    first, second = records.load(plan.name(row), tmp_path), json.loads(path.read_text())
    assert second["start"] == "shared"
    assert second["scores"]["test"] == pytest.approx(first["scores"]["test"], rel=1e-6)
    with pytest.raises(ValueError, match="holds no kept weights"):
        run_row(plan, replace(row, name="other", start="naive"))


def test_a_kill_while_judging_loses_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*models: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("evaluation.penn_treebank.judging.tune_perplexity", killed)
    plan, row = tiny_plan(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_row(plan, row)
    scores = records.load(plan.name(row), tmp_path)["scores"]
    assert {"valid", "test", "test_mc_words_kept", "test_mc"} <= scores.keys()
    assert "test_mc_tuned" not in scores


def tiny_plan(folder: Path, **options: Any) -> tuple[Plan, Row]:
    row = next(row for row in rows("beyond", "small", epochs=1, precision=None) if row.name == "shared")
    row = replace(row, model={"shared_embeddings": True, "embedding_size": 8, "hidden_size": 8})
    plan = Plan("beyond", "small", _tiny_corpus(), folder / "runs", folder, draws=4, progress=False, **options)
    return plan, row


@pytest.mark.parametrize("part_bytes", [None, 700])
def test_kept_weights_are_judged_without_training(
    part_bytes: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, row = tiny_plan(tmp_path, part_bytes=part_bytes)
    run_row(plan, row)
    first = records.load(plan.name(row), tmp_path)
    (tmp_path / f"{plan.name(row)}.json").unlink()
    folder = tmp_path / "runs" / "beyond" / "small" / "shared-0"
    (folder / "checkpoint.safetensors").unlink()  # the kept weights are enough
    parts = [path for path in (folder / "kept").iterdir() if path.name != "row.json"]
    assert (len(parts) > 5) == (part_bytes is not None)
    assert part_bytes is None or max(path.stat().st_size for path in parts) <= part_bytes
    monkeypatch.setattr("evaluation.penn_treebank.run.train_language_model", None)
    run_row(replace(plan, judge_only=True), row)
    again = records.load(plan.name(row), tmp_path)
    first.pop("provenance"), again.pop("provenance")
    assert first == again


def test_kept_weights_that_are_not_what_they_were_are_refused(tmp_path: Path) -> None:
    plan, row = tiny_plan(tmp_path, part_bytes=700)
    folder, words = tmp_path / "runs" / "beyond" / "small" / "shared-0" / "kept", plan.corpus.vocabulary
    judged = replace(plan, judge_only=True)
    with pytest.raises(ValueError, match="holds no kept weights"):
        run_row(judged, row)
    kept.keep(LanguageModel(20, 4, 4), folder, words, {}, 700)
    with pytest.raises(ValueError, match="trained with another vocabulary"):
        kept.opened(folder, Vocabulary([f"v{i}" for i in range(20)]))
    part = sorted(folder.glob("*.part-*"))[1]
    content = part.read_bytes()
    part.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"part-001 is missing or damaged"):
        run_row(judged, row)
    part.unlink()
    with pytest.raises(ValueError, match=r"part-001 is missing or damaged"):
        run_row(judged, row)
    part.write_bytes(content)
    assert kept.opened(folder, words)[0].hidden_size == 4
    (folder / "row.json").write_text("{")
    with pytest.raises(ValueError, match=r"row.json cannot be read"):
        run_row(judged, row)


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


def code_of(script: Callable[[list[str]], int], options: list[str]) -> int:
    """Exit code, also where the parser exits itself."""
    try:
        return script(options)
    except SystemExit as end:
        return int(end.code or 0)


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


def test_kept_weights_are_judged_at_factors_of_the_rates(tmp_path: Path) -> None:
    plan, row = tiny_plan(tmp_path)
    run_row(plan, row)
    assert len(records.load(judge_multipliers(plan, row).stem, tmp_path)["multipliers"]) == 5
    model, _ = kept.opened(tmp_path / "runs" / "beyond" / "small" / "shared-0" / "kept", plan.corpus.vocabulary)
    text = plan.corpus["validation"][:140]
    found = by_multiplier(row, [model], text, draws=4, seed=0)
    assert [one["multiplier"] for one in found] == [0.0, 0.25, 0.5, 0.75, 1.0]
    with torch.no_grad():
        logits = model.logits(model.eval().features(text.view(20, 7), None)[0]).flatten(0, 1)
    logs = torch.log_softmax(logits, -1)[:-1]
    loss = -logs.gather(-1, text[1:, None]).mean()
    assert found[0]["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert found[0]["entropy"] == pytest.approx(-float((logs.exp() * logs).sum(-1).mean()), rel=1e-5)
    whole = perplexity(model, text, draws=4, batch_size=20, drop_words=False)
    assert found[-1]["loss"] == pytest.approx(whole.nll)


def test_tuning_reads_from_all_over_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.penn_treebank.judging.TUNING_TOKENS", 6)
    assert spread(torch.arange(31), 3).tolist() == [0, 1, 10, 11, 20, 21]
    assert spread(torch.arange(6), 3).tolist() == [0, 1, 2, 3, 4, 5]
