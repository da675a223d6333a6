"""The translation experiment: pairs, batches, scores of uncertainty, and a whole small run that resumes."""

import gzip
import json
import os

import numpy as np
import pytest
import torch

import bayesrnn as br
from evaluation.records import load
from evaluation.translation import report
from evaluation.translation.__main__ import main
from evaluation.translation.scoring import disagreement, judged, nll, rank_correlation, scores_of
from evaluation.translation.sentences import (
    END,
    PADDING,
    PARTS,
    START,
    LikeLengths,
    Pairs,
    TokenPairs,
    Words,
    batches,
    checked,
    load_pairs,
    synthetic,
)
from evaluation.translation.training import Settings, loss, trained

DATA = os.environ.get("BAYESRNN_DATA")
TINY = Settings(units=8, embedding=8, epochs=2, batch=16)


@pytest.mark.skipif(not DATA, reason="BAYESRNN_DATA names no folder")
def test_the_corpus_has_the_published_sizes():
    assert [len(load_pairs(part)) for part in ("train", "validation", "test")] == [29_000, 1014, 1000]


def test_files_that_do_not_fit_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"they have 2 and 1 lines\. Is one of them cut"):
        checked(["a", "b"], ["c"], "train")
    with pytest.raises(ValueError, match="line 2 of the target of train is empty"):
        checked(["a", "b"], ["c", ""], "train")
    (tmp_path / "train.de.gz").write_bytes(gzip.compress("Ein  Hund\xa0.\n\n".encode()))
    (tmp_path / "train.en.gz").write_bytes(gzip.compress(b"A dog .\nA cat .\n"))
    with pytest.raises(ValueError, match="line 2 of the source of train is empty"):
        load_pairs("train", tmp_path)
    (tmp_path / "train.de.gz").write_bytes(gzip.compress("Ein  Hund\xa0.\nEine Katze .\n".encode()))
    assert load_pairs("train", tmp_path) == Pairs(["ein hund .", "eine katze ."], ["a dog .", "a cat ."])
    (tmp_path / "train.en.gz").write_bytes(b"A dog .\n")
    with pytest.raises(ValueError, match=r"train.en.gz is no gzipped UTF-8 text"):
        load_pairs("train", tmp_path)
    monkeypatch.delenv("BAYESRNN_DATA", raising=False)
    with pytest.raises(ValueError, match="set BAYESRNN_DATA"):
        load_pairs("train")


def test_bad_files_are_one_line_each(tmp_path, capsys):
    pytest.importorskip("sacrebleu")
    good = {f"{PARTS[part]}.{lang}.gz": "ein hund .\nzwei hunde .\n" for part in PARTS for lang in ("de", "en")}
    for name, text, message in (
        ("val.en.gz", "a dog .\n", "they have 2 and 1 lines"),
        ("train.de.gz", "\nzwei hunde .\n", "line 1 of the source of train is empty"),
        ("test_2016_flickr.en.gz", "", "2 and 1 lines"),
        ("train.en.gz", None, "No such file"),
        (
            "val.de.gz",
            gzip.compress(b"")[:10] + b"\xff" * 20,
            "val.de.gz is no gzipped UTF-8 text (Error -3 while decompressing",
        ),
    ):
        folder = tmp_path / name
        folder.mkdir()
        for file, lines in (good | {name: text}).items():
            if lines is not None:
                (folder / file).write_bytes(lines if isinstance(lines, bytes) else gzip.compress(lines.encode()))
        options = ["--data", str(folder), "--results", str(folder / "results"), "--checkpoints", str(folder / "state")]
        assert main(options) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
        assert not (folder / "results").exists()
    assert main(["--synthetic", "--draws", "1", *options[2:]]) == 2  # before anything is trained
    assert "--draws must be at least 2, but 1" in capsys.readouterr().err


def test_subwords_that_cannot_be_learned_or_read_are_one_line_each(tmp_path, capsys):
    pytest.importorskip("sacrebleu")
    pytest.importorskip("sentencepiece")
    for part in PARTS.values():
        for language in ("de", "en"):
            (tmp_path / f"{part}.{language}.gz").write_bytes(gzip.compress(b"ein hund .\nzwei hunde .\n"))
    options = [
        "--data",
        str(tmp_path),
        "--results",
        str(tmp_path / "results"),
        "--checkpoints",
        str(tmp_path / "state"),
    ]
    (tmp_path / "state").mkdir()
    (tmp_path / "state/subwords-30.model").write_bytes(b"torn")
    for size, message in (("5", "5 subwords cannot be learned"), ("5000", "5000 subwords cannot be learned"),
                          ("30", "subwords-30.model holds no subwords"), ("0", "--vocabulary must be")):  # fmt: skip
        assert main([*options, "--vocabulary", size]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["subwords-30.model"]


def test_a_torn_result_is_named(tmp_path, capsys):
    (tmp_path / "gal-2epochs-seed0.json").write_text('{"split": "paper"}')
    assert main(["report", "--results", str(tmp_path)]) == 2
    assert "is a result of something else: it has no scheme, scores" in capsys.readouterr().err
    (tmp_path / "gal-2epochs-seed0.json").write_text('{"scheme": ')
    assert main(["report", "--results", str(tmp_path)]) == 2
    assert "gal-2epochs-seed0.json cannot be read" in capsys.readouterr().err


def test_batches_hold_every_pair_once_in_an_order_of_the_generator():
    lengths = np.random.default_rng(0).integers(1, 40, 103).tolist()
    order = [list(LikeLengths(lengths, 10, torch.Generator().manual_seed(k))) for k in (0, 0, 1)]
    assert order[0] == order[1] != order[2]
    assert sorted(row for batch in order[0] for row in batch) == list(range(103))
    wasted = sum(max(lengths[k] for k in b) * len(b) for b in order[0]) / sum(lengths)
    assert wasted < 1.3
    assert len(LikeLengths(lengths, 10, None)) == len(order[0]) == 11


def test_the_target_so_far_is_the_target_a_step_late():
    pairs = Pairs(["x y", "y"], ["a b", "b"])
    tokens = TokenPairs(pairs, Words([*pairs.source, *pairs.target]))
    ((source, known, target),) = batches(tokens, 2, shuffled=False)
    assert source.tolist() == [[5, END, PADDING], [4, 5, END]]
    assert known.tolist() == [[START, 7, PADDING], [START, 6, 7]]
    assert target.tolist() == [[7, END, PADDING], [6, 7, END]]
    words = Words(["a b"])
    assert words.decode(torch.tensor([[4, 5, END, PADDING]])) == ["a b"]
    assert words.encode(["b c"]) == [[5, 3]]


def test_the_loss_leaves_padding_out():
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[1, 2, 4], [3, 0, 0]])
    exact = torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=0)
    assert float(loss(torch.distributions.Categorical(logits=logits), target)) == pytest.approx(float(exact))


def test_another_vocabulary_is_refused_and_a_cut_training_goes_on(tmp_path):
    parts = {"train": synthetic(60, 0), "validation": synthetic(20, 1)}
    vocabulary = Words([*parts["train"].source, *parts["train"].target])
    tokens = {name: TokenPairs(pairs, vocabulary) for name, pairs in parts.items()}
    whole, _ = trained("gal", 0, TINY, tokens, vocabulary, tmp_path / "whole")

    calls = []

    def cut(net, *args, **options):
        calls.append(options["epochs"])
        return fit(net, *args, **{**options, "epochs": 1})

    fit = br.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(br, "fit", cut)
        trained("gal", 0, TINY, tokens, vocabulary, tmp_path / "cut")
    again, history = trained("gal", 0, TINY, tokens, vocabulary, tmp_path / "cut")
    assert calls == [2]
    assert history.epochs == 2
    for (name, a), b in zip(whole.state_dict().items(), again.state_dict().values()):
        assert torch.equal(a, b), name
    with pytest.raises(ValueError, match=r"gal-2epochs-seed0 was trained with another vocabulary .*--checkpoints"):
        trained("gal", 0, TINY, tokens, Words(["other words"]), tmp_path / "cut")


def test_uncertainties_of_a_translation_by_hand():
    logs = torch.tensor([[[-1.0, -2.0, 0.0]], [[-3.0, -1.0, 0.0]]])
    half = torch.full((1, 3), 0.5)
    translation = br.inference.Translation(torch.tensor([[5, END, 0]]), torch.tensor([2]), logs, half, half / 2)
    found = scores_of(translation)
    sentence = np.log((np.exp(-3) + np.exp(-4)) / 2)
    tokens = np.log((np.exp(-1) + np.exp(-3)) / 2) + np.log((np.exp(-2) + np.exp(-1)) / 2)
    assert found["sentence under one mask"][0] == pytest.approx(-sentence / 2)
    assert found["sentence under one mask, summed"][0] == pytest.approx(-sentence)
    assert found["every token averaged"][0] == pytest.approx(-tokens / 2)
    assert found["spread of the draws"][0] == pytest.approx(np.std([-1.5, -2.0], ddof=1))
    assert found["epistemic part"][0] == pytest.approx(0.375)


def test_ranks_that_do_not_vary_have_no_correlation():
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([2.0, 4, 8])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([5.0, 5, 5])) is None


def test_rejecting_what_is_wrong_gains():
    pytest.importorskip("sacrebleu")
    references = [f"a small dog number {k} runs over green grass" for k in range(20)]
    texts = [text if k % 5 else "something else entirely is said here" for k, text in enumerate(references)]
    knowing = np.array([float(k % 5 == 0) for k in range(20)])
    found = judged({"knowing": knowing, "blind": 1 - knowing}, texts, references)
    assert found["knowing"]["spearman"] > 0.99
    assert found["knowing"]["bleu_kept"] == pytest.approx(100)
    assert found["knowing"]["bleu_gain"] > 0 > found["blind"]["bleu_gain"]
    assert found["knowing"]["area"] < found["blind"]["area"]
    assert found["knowing"]["risk"][-1] == pytest.approx(found["blind"]["risk"][-1])


def test_disagreement_is_the_mean_over_pairs_of_draws():
    sacrebleu = pytest.importorskip("sacrebleu")
    drawn = [["a red dog runs fast", "one"], ["a red cat runs fast", "one"], ["a red dog runs fast", "one"]]
    bleu = sacrebleu.metrics.BLEU(lowercase=True, effective_order=True)
    first, second = drawn[0][0], drawn[1][0]
    both = (bleu.sentence_score(first, [second]).score + bleu.sentence_score(second, [first]).score) / 100
    found = disagreement(drawn)
    assert found[0] == pytest.approx(1 - (2 + 2 * both) / 6)
    assert found[1] == 0


def test_a_whole_small_run_resumes(tmp_path, capsys, monkeypatch):
    pytest.importorskip("sacrebleu")
    monkeypatch.delenv("BAYESRNN_DATA", raising=False)
    options = ["--results", str(tmp_path / "results"), "--checkpoints", str(tmp_path / "state"), "--synthetic"]
    small = ["--quick", "--epochs", "1", "--units", "8", "--schemes", "none", "gal"]
    assert main([*small, *options]) == 0
    table = (tmp_path / "results/table.md").read_text()
    assert "| Gal, 1 epochs, draws | 1 |" in table
    assert "| Gal, 1 epochs, draws | disagreement of the draws |" in table
    record = load("gal-1epochs-seed0", tmp_path / "results")
    assert set(record["scores"]) == {"one pass", "draws"}
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "results").glob("*.json")}
    assert main([*small, *options]) == 0
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "results").glob("*.json")} == before
    net = br.load(tmp_path / "state" / "gal-1epochs-seed0.model")
    tokens = br.translate(net, torch.tensor([[5, 6, END]]), torch.tensor([[7, END]]), draws=0)
    assert nll(tokens) == pytest.approx(float(-tokens.draw_log_probs.sum() / 2))
    note = tmp_path / "state/none-1epochs-seed0.vocabulary"
    note.write_text(note.read_text().replace("digest", "was").replace("size", "digest"))  # of another vocabulary
    (tmp_path / "results/none-1epochs-seed0.json").unlink()
    capsys.readouterr()
    assert main([*small, *options]) == 2
    said = capsys.readouterr().err
    assert "none-1epochs-seed0 was trained with another vocabulary" in said
    assert said.count("\n") == 1
    for wrong, message in (
        (["--schemes", "moon"], "--schemes must be of"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--seeds", "-1"], "--seeds must be at least 0"),
        (["report", "--results", str(tmp_path / "state")], "there are no results"),
    ):
        assert main([*options, *wrong]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1


def test_the_table_is_the_mean_over_seeds():
    def run(seed: int, bleu: float, spearman: float | None) -> dict:
        own = {"probability": {"spearman": spearman, "bleu_gain": bleu / 10, "area": 50.0}}
        scores = {"one pass": {"bleu": bleu, "chrf": 50.0, "nll": 2.0, "uncertainty": own}}
        return {"scheme": "none", "seed": seed, "validation": [2.0, 1.0], "cpu_hours": 0.5, "scores": scores}

    runs = [run(0, 30.0, 0.2), run(1, 34.0, None)]
    assert "| no masks, 2 epochs, one pass | 2 | 0.50 | 32.0 | 50.0 | 2.000 |" in report.scores(runs)
    assert "| no masks, 2 epochs, one pass | probability | 0.20 | +3.2 | 50.0 |" in report.uncertainties(runs)
    assert json.dumps(runs)
