"""The sentiment experiment: the corpus's published statistics, resuming, scores, and a whole small run."""

import json
import os

import numpy as np
import pytest
import torch

import bayesrnn as br
from evaluation.sentiment import training, vader
from evaluation.sentiment.corpus import (
    RARE,
    START,
    load_split,
    paper_split,
    segments,
    sound_split,
    synthetic_split,
    word_numbers,
    words,
)
from evaluation.sentiment.reviews import RatedSnippets, Reviews
from evaluation.sentiment.training import Run, Settings, best_epoch, deterministic, train, weights
from evaluation.sentiment.variants import (
    RatingDistribution,
    SentimentNet,
    Variant,
    grid_variants,
    groups,
    main_variants,
)
from tests.evaluation.tiny_sentiment import SPLITS, TINY, tiny

DATA = os.environ.get("BAYESRNN_DATA")


@pytest.mark.skipif(not DATA, reason="BAYESRNN_DATA names no folder")
def test_the_corpus_has_the_published_statistics():
    split = load_split("paper")
    assert len(split.train) + len(split.test) == 13_275
    assert (len(split.train), len(split.test)) == (10_620, 2_655)
    assert split.center == pytest.approx(0.5892, abs=5e-5)
    assert split.scale == pytest.approx(0.1839, abs=5e-5)
    assert split.constant_error() == pytest.approx(0.1915, abs=5e-5)
    tokens = torch.cat([split.train.tokens, split.test.tokens])
    assert float((tokens != 0).all(1).double().mean()) == pytest.approx(0.62, abs=0.005)
    assert float((tokens == RARE).sum() / (tokens != 0).sum()) == pytest.approx(0.024, abs=5e-4)
    straddling = set(split.train.reviews.tolist()) & set(split.test.reviews.tolist())
    assert len(straddling) == 1


@pytest.mark.skipif(not DATA, reason="BAYESRNN_DATA names no folder")
def test_the_vocabulary_has_the_published_size():
    from pathlib import Path

    from evaluation.sentiment.reviews import read_scale_reviews

    texts = read_scale_reviews(Path(DATA or "") / "cornell_scale").texts
    assert len(word_numbers(texts)) == 55_450
    assert sum(len(words(text)) for text in texts) == pytest.approx(2.153e6, rel=1e-4)


def test_segments_of_a_small_corpus_by_hand():
    reviews = Reviews(("a b a c \n", "a d \n"), torch.tensor([0.1, 0.9], dtype=torch.float64), ("x", "x"))
    numbers = word_numbers(reviews.texts)
    assert numbers == {"a": 1, "\n": 2, "b": 3, "c": 4, "d": 5}
    found = segments(reviews, steps=4)
    order = np.arange(2)
    np.random.RandomState(0).shuffle(order)
    assert found.reviews.unique_consecutive().tolist() == order.tolist()
    first = found.take(found.reviews == 0)
    assert first.tokens.tolist() == [[START, 4, 6, 4], [0, 0, 7, 5]]
    assert first.ratings.tolist() == [0.1, 0.1]


def test_the_sound_split_tears_no_review_apart():
    split = SPLITS["sound"]
    sides = [set(part.reviews.tolist()) for part in (split.train, split.validation, split.test)]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert not sides[a] & sides[b]
    assert sum(map(len, sides)) == 60
    assert sound_split(synthetic_split("paper", 60, 20).train, 3).validation is not None
    whole = segments(Reviews(("a",) * 10, torch.rand(10, dtype=torch.float64), ("x",) * 10), 4)
    assert len(paper_split(whole).train) == 8


def test_unknown_names_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"split must be one of \['paper', 'sound'\], but 'random'"):
        load_split("random")
    with pytest.raises(ValueError, match=r"cell must be one of \['gru', 'lstm'\], but 'rnn'"):
        SentimentNet("rnn", Variant("none"), 10)
    with pytest.raises(ValueError, match="needs the precision"):
        RatingDistribution(0.5, 0.2)(torch.zeros(3, 1))
    monkeypatch.delenv("BAYESRNN_DATA", raising=False)
    with pytest.raises(ValueError, match="set BAYESRNN_DATA"):
        load_split("paper")
    with pytest.raises(ValueError, match="set BAYESRNN_DATA"):
        vader.run(None)


@pytest.mark.parametrize("variant", [*main_variants().values(), *list(grid_variants().values())[:2]])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_every_variant_drops_where_it_says(cell, variant):
    net = SentimentNet(cell, variant, 30, 6)
    placed = {site.site.split("_")[0]: (site.rate, site.span) for site in br.audit(net).sites}
    expected = {
        name: (getattr(variant, name), "step" if variant.per_step and name in ("input", "hidden") else "sequence")
        for name in ("word", "input", "hidden", "output")
        if getattr(variant, name)
    }
    assert placed == expected
    inside = [site.gates for site in br.audit(net).sites if site.module == "recurrent"]
    assert set(inside) <= {"untied"}  # the span is all that tells the naive variant from the tied one
    assert net(torch.zeros(3, 5, dtype=torch.long)).shape == (3, variant.outputs)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_training_goes_the_way_of_the_published_parametrization(cell):
    """Stored weights M under masks of 0 or 1, penalized by lambda |M|^2, and W = keep M under masks of 0 or 1/keep."""
    variant = Variant("some", word=0.3, input=0.5, hidden=0.4, output=0.2)
    tokens, target = torch.randint(0, 30, (16, 5)), torch.randn(16)
    torch.manual_seed(0)
    net = SentimentNet(cell, variant, 30, 6)
    keep = {name: 1.0 - variant.entering().get(name, 0.0) for name, _ in net.named_parameters()}
    stored = {name: (p.detach() / keep[name]).requires_grad_() for name, p in net.named_parameters()}
    ours = torch.optim.Adam(groups(net, variant, 1e-2, 3e-3), eps=1e-12)
    published = torch.optim.Adam(stored.values(), lr=3e-3, weight_decay=2e-2, eps=1e-12)
    for step in range(5):
        torch.manual_seed(step)
        ours.zero_grad()
        (net(tokens)[:, 0] - target).square().mean().backward()
        ours.step()
        torch.manual_seed(step)
        published.zero_grad()
        effective = {name: keep[name] * m for name, m in stored.items()}  # a mask of 0 or 1 times M
        (torch.func.functional_call(net, effective, (tokens,))[:, 0] - target).square().mean().backward()
        published.step()
    for name, parameter in net.named_parameters():
        assert torch.allclose(parameter, keep[name] * stored[name], atol=2e-6), name


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_weights_start_at_keep_times_the_published_start(cell):
    net = SentimentNet(cell, Variant("some", word=0.3, hidden=0.5), 30, 6)
    assert 0.9 * 0.05 * 0.7 < float(net.words.weight.detach().abs().max()) <= 0.05 * 0.7 + 1e-7
    gate = net.recurrent.weight_hh_l0.detach().chunk(4 if cell == "lstm" else 3)[0]
    assert torch.allclose(gate @ gate.T, 0.25 * torch.eye(6), atol=1e-6)


def test_a_killed_run_ends_where_an_uninterrupted_one_does(tmp_path):
    variant = main_variants(0.25)["gal"]
    whole = tiny(tmp_path / "whole", variant)
    train(whole, report=lambda line: None)
    short = tiny(tmp_path / "cut", variant, Settings(**(TINY.to_dict() | {"epochs": 1})))
    train(short, report=lambda line: None)
    cut = tiny(tmp_path / "cut", variant)
    record = train(cut, report=lambda line: None)
    assert [e["epoch"] for e in record["epochs"]] == [1, 2]
    for (name, a), b in zip(weights(whole, "last").state_dict().items(), weights(cut, "last").state_dict().values()):
        assert torch.equal(a, b), name
    saved = json.loads((tmp_path / "cut/results" / f"{cut.name}.json").read_text())
    assert saved["epochs"][1]["test"] == record["epochs"][1]["test"]
    assert saved["provenance"]["seed"] == 0
    assert saved["settings"]["epochs"] == TINY.epochs
    with pytest.raises(ValueError, match=r"variant .*0\.25.*--results"):
        train(tiny(tmp_path / "cut", main_variants(0.5)["gal"]), report=lambda line: None)


@pytest.mark.parametrize("stage", range(5))
def test_a_kill_between_any_two_files_changes_nothing(tmp_path, monkeypatch, stage):
    """Two epochs write five files (the second is no better): whichever is the first to be missing, nothing changes."""
    variant, calls = main_variants(0.25)["gal"], []
    whole, cut = (tiny(tmp_path / name, variant) for name in ("whole", "cut"))
    train(whole, report=lambda line: None)

    def killed(name):
        real = getattr(training, name)

        def write(*arguments, **options):
            calls.append(name)
            if len(calls) == stage + 1:
                raise KeyboardInterrupt
            return real(*arguments, **options)

        return write

    with monkeypatch.context() as patch:
        for name in ("save", "_write"):
            patch.setattr(training, name, killed(name))
        with pytest.raises(KeyboardInterrupt):
            train(cut, report=lambda line: None)
    record = train(cut, report=lambda line: None)
    assert [e["epoch"] for e in record["epochs"]] == [1, 2]
    for which in ("last", "best"):
        pairs = zip(weights(whole, which).state_dict().items(), weights(cut, which).state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for (_, a), b in pairs), which


def test_early_stopping_keeps_the_best_weights(tmp_path):
    run = tiny(tmp_path, main_variants()["none"], Settings(**(TINY.to_dict() | {"epochs": 4, "learning_rate": 0.05})))
    epochs = train(run, report=lambda line: None)["epochs"]
    assert best_epoch(run, epochs) == 1 + int(np.argmin([e["validation"] for e in epochs]))
    net = weights(run, "best")
    mean = run.distribution(deterministic(net, run.split.validation)).mean
    error = float((mean.double() - run.split.validation.ratings).square().mean().sqrt())
    assert error == pytest.approx(min(e["validation"] for e in epochs), rel=1e-5)
    paper = tiny(tmp_path, main_variants()["none"], split="paper")
    assert best_epoch(paper, [{"test": 0.2}, {"test": 0.1}, {"test": 0.3}]) == 2


def test_raters_variance_is_compared_by_rank_and_bin():
    measured = torch.rand(200, dtype=torch.float64)
    found = vader.compare(measured**2, measured, torch.linspace(-4, 4, 200), bins=4)
    assert found["spearman"] == pytest.approx(1.0)
    assert [b["measured"] for b in found["bins"]] == sorted(b["measured"] for b in found["bins"])


@pytest.mark.parametrize("which", ["one", "all"])
def test_the_raters_study_runs(which):
    generator = torch.Generator().manual_seed(0)
    ratings = tuple(torch.randint(-4, 5, (15,), generator=generator).double() for _ in range(60))
    texts = tuple(f"word{k % 7} film{k % 5}" for k in range(60))
    snippets = RatedSnippets(tuple(map(str, range(60))), texts, ratings)
    found = vader.study(snippets, which, 1, 60, seed=0)
    assert -1 <= found["spearman"] <= 1
    assert found["predicted_mean"] > 0


def test_a_run_on_other_data_is_no_continuation(tmp_path):
    variant = main_variants()["none"]
    train(tiny(tmp_path, variant), report=lambda line: None)
    other = Run("gru", variant, synthetic_split("sound", 50, 20), 0, TINY, tmp_path / "results", tmp_path / "state")
    with pytest.raises(ValueError, match=r"trained with rows .*constant_error .*--results"):
        train(other, report=lambda line: None)


def test_no_penalty_is_none():
    net = SentimentNet("gru", Variant("some", hidden=0.5), 30, 6)
    assert {group["weight_decay"] for group in groups(net, Variant("some", hidden=0.5), 0.0, 1e-3)} == {0.0}
