"""Weights of treebank rows that are kept, begun with, and judged again."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bayesrnn import perplexity
from bayesrnn.data.vocabulary import Vocabulary
from bayesrnn.models import LanguageModel
from bayesrnn.training import SGD, StepDecay
from evaluation import records
from evaluation.penn_treebank import kept
from evaluation.penn_treebank.__main__ import _tiny_corpus
from evaluation.penn_treebank.judging import by_multiplier, spread
from evaluation.penn_treebank.rows import Row, rows
from evaluation.penn_treebank.run import Plan, judge_multipliers, run_row


def test_a_row_begins_with_the_kept_weights_of_another(tmp_path: Path) -> None:
    plan, row = tiny_plan(tmp_path)
    run_row(plan, row)
    recipe = replace(row.recipe, optimizer=SGD(StepDecay(1e-12)), averaging=None)  # hardly moves the weights
    [path] = run_row(plan, replace(row, name="again", start=("shared",), recipe=recipe))
    first, second = records.load(plan.name(row), tmp_path), json.loads(path.read_text())
    assert second["start"] == "shared"
    assert second["scores"]["test"] == pytest.approx(first["scores"]["test"], rel=1e-6)
    with pytest.raises(ValueError, match="holds no kept weights"):
        run_row(plan, replace(row, name="other", start=("naive",)))


def test_a_row_begins_with_the_mean_of_two(tmp_path: Path) -> None:
    plan, row = tiny_plan(tmp_path)
    ends = [replace(row, name="one", seed_offset=1), replace(row, name="two", seed_offset=2)]
    [first, second] = [run_row(plan, end)[0] for end in ends]
    weights = [kept.opened(path, plan.corpus.vocabulary)[0].state_dict() for path in kept_folders(plan, ends)]
    assert json.loads(first.read_text())["epochs"] != json.loads(second.read_text())["epochs"]
    recipe = replace(row.recipe, optimizer=SGD(StepDecay(1e-12)), averaging=None)
    joined = replace(row, name="joined", start=("one", "two"), recipe=recipe)
    [path] = run_row(plan, joined)
    assert json.loads(path.read_text())["start"] == "the mean of one and two"
    [folder] = kept_folders(plan, [joined])
    for name, value in kept.opened(folder, plan.corpus.vocabulary)[0].state_dict().items():
        torch.testing.assert_close(value, (weights[0][name] + weights[1][name]) / 2, rtol=1e-5, atol=1e-6)


def kept_folders(plan: Plan, members: list[Row]) -> list[Path]:
    return [plan.work / plan.table / plan.size / f"{row.name}-{plan.seed}" / "kept" for row in members]


def test_a_rate_that_diverges_on_validation_text_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dynamic(*texts: object, rate: float, **options: object) -> object:
        if rate > 1e-4:
            raise ValueError(f"the weights diverged at rate={rate:g}: a log probability is not finite.")
        return SimpleNamespace(perplexity=1 / rate)

    monkeypatch.setattr("evaluation.penn_treebank.judging.dynamic_perplexity", dynamic)
    plan, row = tiny_plan(tmp_path)
    [path] = run_row(plan, row)
    scores = json.loads(path.read_text())["scores"]
    assert scores["dynamic_on_valid"]["rate"] == 5e-5
    assert scores["test_dynamic"] == pytest.approx(2e4)


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


def test_one_pass_gets_the_temperature_of_validation_text(tmp_path: Path) -> None:
    plan, row = tiny_plan(tmp_path)
    run_row(plan, row)
    scores = records.load(plan.name(row), tmp_path)["scores"]
    model, _ = kept.opened(tmp_path / "runs" / "beyond" / "small" / "shared-0" / "kept", plan.corpus.vocabulary)
    text = plan.corpus["test"]
    with torch.no_grad():
        logits = model.eval()(text[None, :-1])[0].logits[0].double() / scores["tempered_on_valid"]["temperature"]
    loss = torch.nn.functional.cross_entropy(logits, text[1:])
    assert scores["test_tempered"] == pytest.approx(float(loss.exp()), rel=1e-5)
    assert scores["tempered_on_valid"]["temperature"] != 1.0  # an untrained model is not sharp enough, or too sharp
