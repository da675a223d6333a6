"""The speech experiment: what is read and refused, noise whose power adds up, splits, scores, and a whole small run."""

import json
import os

import numpy as np
import pytest
import torch

import bayesrnn as br
from evaluation.records import load
from evaluation.speech import report
from evaluation.speech.__main__ import main
from evaluation.speech.networks import Settings, splits, trained
from evaluation.speech.noise import Spectrum, noisy
from evaluation.speech.recordings import Recordings, load_digits, load_vowels, synthetic
from evaluation.speech.scoring import ENSEMBLE, PAIRS, _pooled, study

DATA = os.environ.get("BAYESRNN_DATA")
TINY = Settings(units=4, epochs=1, draws=4, stack=2, steps=6)


@pytest.mark.skipif(not DATA, reason="BAYESRNN_DATA names no folder")
def test_the_corpora_have_the_published_sizes():
    digits, vowels = load_digits(), load_vowels()
    assert (len(digits), int(digits.test.sum()), int(digits.validation.sum())) == (3000, 300, 300)
    assert torch.equal(digits.label.bincount(), torch.full((10,), 300))
    assert torch.equal(digits.speaker.bincount(), torch.full((6,), 500))
    assert (len(vowels), int(vowels.test.sum())) == (640, 370)
    assert {frame.shape[1] for frame in vowels.frames} == {12}
    assert (min(map(len, vowels.frames)), max(map(len, vowels.frames))) == (7, 29)


def features(path, **changes):
    arrays = {
        "mfcc": np.zeros((7, 13), np.float32),
        "offsets": np.array([0, 3, 7]),
        "label": np.array([0, 1]),
        "speaker": np.array([0, 0]),
        "index": np.array([0, 5]),
        "is_test": np.array([True, False]),
    }
    np.savez(path, **{name: value for name, value in (arrays | changes).items() if value is not None})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offsets": np.array([0, 0, 7])}, r"utterance 0 has no frames .*shorter than a frame"),
        ({"sampling_rate": np.array(16000)}, "sound at 16000 Hz, but the networks read 8000 Hz.*Resample"),
        ({"mfcc": None}, "but mfcc are missing: no audio features"),
        ({"mfcc": np.full((7, 13), np.nan, np.float32)}, "utterance 0 holds NaN"),
        ({"sampling_rate": np.array([8000, 44100])}, "sound at 8000, 44100 Hz"),
        ({"mfcc": np.full((7, 13), "a")}, r"mfcc of bad.npz must hold numbers \(frames, cepstra\), but holds <U1"),
        ({"label": np.array([0.5, 1.0])}, "label of bad.npz must hold whole numbers, but holds float64"),
        ({"offsets": np.array([], np.int64)}, "is torn: 2 labels, -1 utterances that end at frame none"),
        ({"speaker": np.array([0])}, "2 utterances, but .*'speaker': 1"),
        ({"is_test": np.array([True, True])}, "the split recording has no utterances in its training"),
        ({"offsets": np.array([0, 3, 9])}, "is torn: 2 labels, 2 utterances that end at frame 9, and 7 frames"),
    ],
)
def test_bad_features_are_refused(tmp_path, changes, message, capsys):
    path = features(tmp_path / "bad.npz", **changes)
    with pytest.raises(ValueError, match=message):
        splits(load_digits(path), speakers_are_classes=False)["recording"].checked()
    assert main(["--data", str(path), "--results", str(tmp_path / "results")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_files_that_are_no_features_are_refused(tmp_path, capsys):
    (tmp_path / "sound.npz").write_bytes(b"RIFF....WAVE")
    with pytest.raises(ValueError, match=r"sound.npz is no .npz file of features .*Compute cepstra of sound files"):
        load_digits(tmp_path / "sound.npz")
    (tmp_path / "JapaneseVowels_TRAIN.ts").write_text("@data\n1,2:3,4:1\n1,2:3:1\n")
    with pytest.raises(ValueError, match=r"line 3 of JapaneseVowels_TRAIN.ts is no utterance"):
        load_vowels(tmp_path)
    other, empty = tmp_path / "other", tmp_path / "empty"
    for folder, train in ((other, "1,2:3,4:1\n1,2:1\n"), (empty, "@data\n")):
        folder.mkdir()
        for part, lines in (("TRAIN", train), ("TEST", "")):
            (folder / f"JapaneseVowels_{part}.ts").write_text(lines)
    with pytest.raises(ValueError, match="utterance 1 has 1 features per step, but the first has 2"):
        load_vowels(other)
    with pytest.raises(ValueError, match="there are no utterances"):
        splits(load_vowels(empty), speakers_are_classes=True)
    whole = features(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "torn.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.npz").write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    files = [("digits", tmp_path / name) for name in ("sound.npz", "none.npz", "torn.npz", "flipped.npz")]
    for corpus, place in (*files, *(("vowels", folder) for folder in (tmp_path, other, empty))):
        assert main(["--corpus", corpus, "--data", str(place), "--results", str(tmp_path / "results")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_frames_are_stacked_and_what_is_missing_repeats_the_last():
    one = Recordings([np.arange(10, dtype=np.float32).reshape(5, 2)], *(torch.zeros(1).long(),) * 4)
    x, lengths = one.tensors(stack=2, steps=9)
    assert x[0].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 8, 9]]
    assert lengths.tolist() == [3]
    assert one.tensors(stack=2, steps=2)[1].tolist() == [2]


@pytest.mark.parametrize("kind", ["white", "babble"])
def test_the_power_of_noise_adds_up(kind):
    corpus, spectrum = synthetic(), Spectrum(mel=True)
    whole = corpus.with_frames([np.pad(f, ((0, 0), (0, 13))) for f in corpus.frames])
    heard = noisy(whole, kind, 10, mel=True)  # all 26 cepstra kept: nothing is smoothed away
    for before, after in zip(whole.frames[:5], heard.frames[:5]):
        clean, noise = spectrum.power(before), spectrum.power(after) - spectrum.power(before)
        assert 10 * np.log10(clean.sum() / noise.sum()) == pytest.approx(10, abs=0.01)
        assert noise.min() > 0
    for mel in (True, False):
        calm = corpus.with_frames([0.1 * frame for frame in corpus.frames])
        silent = noisy(calm, kind, 100, mel)
        assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(calm.frames, silent.frames))
    with pytest.raises(ValueError, match="noise must be white or babble, but 'pink'"):
        noisy(corpus, "pink", 0, mel=True)


def test_the_cepstrum_of_a_linear_predictor_gives_its_spectrum():
    root = 0.6  # H(z) = 1 / (1 - root / z) has the cepstrum root^n / n
    cepstrum = np.array([[root**n / n for n in range(1, 25)]], np.float32)
    at = np.pi * (np.arange(26) + 0.5) / 26
    exact = 1 / np.abs(1 - root * np.exp(-1j * at)) ** 2
    assert np.allclose(Spectrum(mel=False).power(cepstrum)[0], exact, rtol=1e-4)


def test_splits_share_no_speaker_and_no_word():
    corpus = synthetic(speakers=3, words=4)
    found = splits(corpus, speakers_are_classes=False)
    assert list(found) == ["recording", "words", "speaker0", "speaker1", "speaker2"]
    for name in ("speaker0", "speaker1", "speaker2"):
        one = found[name]
        assert one.outside.speaker.unique().tolist() == [int(name[-1])]
        assert int(name[-1]) not in {*one.train.speaker.tolist(), *one.test.speaker.tolist()}
        assert one.judged is one.outside
    words = found["words"]
    assert (words.classes, sorted(words.outside.label.unique().tolist())) == (2, [2, 3])
    assert words.judged is words.test
    unheard = splits(corpus.with_labels(corpus.speaker), speakers_are_classes=True)["speaker1"]
    assert unheard.train.label.unique().tolist() == [0, 1]
    assert unheard.outside.label.unique().tolist() == [-1]
    assert unheard.judged is unheard.test
    frames = {id(f) for f in found["recording"].train.frames} & {id(f) for f in found["recording"].test.frames}
    assert not frames


def test_classes_are_numbered_alike_in_every_part():
    corpus = synthetic(speakers=2, words=4)
    corpus = corpus.take(~(corpus.test & (corpus.label == 1)))  # the test part lacks a word
    one = splits(corpus, speakers_are_classes=False)["speaker0"]
    assert (one.classes, one.test.label.unique().tolist()) == (4, [0, 2, 3])
    gap = corpus.take(corpus.label != 2)
    found = splits(gap, speakers_are_classes=False)
    assert (found["recording"].classes, found["recording"].train.label.unique().tolist()) == (3, [0, 1, 2])
    assert found["speaker1"].outside.label.unique().tolist() == [0, 1, 2]


def test_a_study_scores_every_network_and_pools_seeds(tmp_path):
    split = splits(synthetic(), speakers_are_classes=False)["recording"]
    found = study(split, "gru", [0, 1], TINY, tmp_path, mel=True)
    assert {name for pair in PAIRS for name in pair} <= set(found["scores"])
    assert set(found["shift"]["gal, draws"]["white, 20 dB"]) == {"entropy", "epistemic"}
    assert set(found["shift"]["gal, one pass"]["white, 20 dB"]) == {"entropy"}
    x, lengths = split.test.tensors(TINY.stack, TINY.steps)
    members = [trained(split, "gru", "none", seed, TINY, tmp_path)(x, lengths).probs.detach() for seed in range(5)]
    mean = torch.stack(members).mean(0)
    nll = -mean.gather(1, split.test.label[:, None]).log().mean()
    assert found["scores"][ENSEMBLE]["nll"] == pytest.approx(float(nll), rel=1e-5)
    each = [float((m.argmax(1) == split.test.label).float().mean()) for m in members[:2]]
    assert found["scores"]["none, one pass"]["accuracy"] == pytest.approx(np.mean(each))
    pair = found["differences"]["gal, draws - gal, one pass"]["nll"]
    expected = found["scores"]["gal, draws"]["nll"] - found["scores"]["gal, one pass"]["nll"]
    assert pair["value"] == pytest.approx(expected)
    assert pair["interval"][0] <= pair["value"] <= pair["interval"][1]


def test_pooling_puts_seeds_behind_each_other():
    p = torch.softmax(torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0)), -1)
    both = _pooled([br.Predictive.from_probabilities(one) for one in p], 2)
    assert torch.allclose(both.probabilities, p.mean(1).flatten(0, 1))


def test_a_whole_small_run_resumes(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("BAYESRNN_DATA", raising=False)
    options = ["--results", str(tmp_path / "results"), "--checkpoints", str(tmp_path / "state"), "--synthetic"]
    small = ["--quick", "--epochs", "1", "--cells", "gru", "--splits", "speaker0"]
    assert main([*small, *options]) == 0
    table = (tmp_path / "results/digits-speaker.md").read_text()
    assert "| GRU | Gal, draws minus ensemble of five, no masks |" in table
    assert "unseen speaker" in (tmp_path / "results/digits-detection.md").read_text()
    record = load("digits-gru-speaker0", tmp_path / "results")
    assert record["settings"]["epochs"] == 1
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "results").glob("*.json")}
    assert main([*small, *options]) == 0
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "results").glob("*.json")} == before
    capsys.readouterr()
    for wrong, message in (
        (["--splits", "speaker9"], "--splits must be of"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--seeds", "0", "-1"], "--seeds must be at least 0"),
        (["report", "--results", str(tmp_path / "state")], "there are no studies"),
    ):
        assert main([*options, *wrong]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1
    assert main(["--results", str(tmp_path)]) == 2
    assert "set BAYESRNN_DATA" in capsys.readouterr().err


def test_intervals_over_speakers_are_students():
    from scipy import stats

    values = [0.1, 0.3, 0.2, 0.5]
    value, low, high = report._interval([{"value": v} for v in values])
    exact = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert value == pytest.approx(np.mean(values))
    assert (low, high) == pytest.approx((exact.low, exact.high))
    assert json.loads(json.dumps({"value": value}))
