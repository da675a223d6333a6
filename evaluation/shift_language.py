"""Does a language model know when the text is not its own? Reversed text, other sources, and AUROC by sentence.

python -m evaluation.shift_language --model runs/penn_treebank/gal/medium/gal-untied-0 --name medium_gal_untied
python -m evaluation.shift_language --holmes                  # trains on Sherlock Holmes, asks about Moby Dick
python -m evaluation.shift_language --smoke                   # seconds, without the data

Reversed text: the gap of the entropy per word, reversed test text minus the test text, nats (Fortunato et al. 2017,
arXiv:1704.02798: dropout LSTM deterministic < .62, Monte Carlo dropout < .58, Bayes by Backprop .67); by total and by
epistemic part. Other sources: mean uncertainties, and the AUROC for telling sentences apart by them, beside what the
share of <unk> and the length alone would tell.
"""

import argparse
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayesrnn import perplexity, schemes
from bayesrnn.data import Corpus, Vocabulary, read_corpus, read_text, tokenize
from bayesrnn.data.vocabulary import EOS, UNK
from bayesrnn.models import LanguageModel
from bayesrnn.nn.precision import multiplies_bfloat16
from bayesrnn.predictive import TokenPredictive
from bayesrnn.training import gal, train_language_model
from bayesrnn.training.checkpoint import Checkpoint
from evaluation import records
from evaluation.options import OneLineParser, add_device, at_least, device_of, run
from evaluation.penn_treebank.run import epoch_records

PARTS = ("entropy", "aleatoric", "epistemic")
PUBLISHED_GAPS = {"dropout, deterministic": 0.62, "Monte Carlo dropout": 0.58, "Bayes by Backprop": 0.67}
_WIKITEXT, _SHAKESPEARE = "wikitext-2/test.txt", "tinyshakespeare/input.txt"
_HOLMES = ("sherlock_adventures_1661.txt", "sherlock_memoirs_834.txt", "sherlock_return_108.txt")
_HOUND = "sherlock_hound_2852.txt"
_OTHERS = {
    "moby dick": "moby_dick_2701.txt",
    "pride and prejudice": "pride_prejudice_1342.txt",
    "alice": "alice_11.txt",
}


def main(arguments: Sequence[str] | None = None) -> int:
    return run(_parser(), _work, arguments)


def _work(given: argparse.Namespace) -> None:
    at_least(1, draws=given.draws, epochs=given.epochs)
    at_least(2, tokens=given.tokens)
    results, device = given.results or records.RESULTS, device_of(given)
    if given.smoke:
        _smoke(given.results)
        return
    data = given.data or os.environ.get("BAYESRNN_DATA")
    if not data:
        raise ValueError("the data are not here: set BAYESRNN_DATA to the folder that holds ptb/, or give --data")
    if given.holmes:
        result = holmes(Path(data), given.work, given.draws, given.epochs, given.tokens, device)
        name = "shift_language_holmes"
        files = [Path(data) / "gutenberg" / file for file in (*_HOLMES, _HOUND, *_OTHERS.values())]
    else:
        model, vocabulary = opened(given.model, Path(data) / "ptb")
        result = penn_treebank(model.to(device), vocabulary, Path(data), given.draws, given.tokens)
        result["model"] = given.model.name
        name = f"shift_language_{given.name or given.model.name}"
        files = [Path(data) / place for place in ("ptb", _WIKITEXT, _SHAKESPEARE)]
    path = records.save(name, result, seed=0, folder=results, data=files)
    print(path, *(f"{key}: {value}" for key, value in result.items()), sep="\n")


def penn_treebank(
    model: LanguageModel, vocabulary: Vocabulary, data: Path, draws: int, most: int | None
) -> dict[str, Any]:
    """Return the reversed-text gaps, and the shift to WikiText-2 and Shakespeare."""
    own = read_corpus(data / "ptb", vocabulary=vocabulary)["test"][:most]
    others = {
        "wikitext-2": treebank_style(read_text(data / _WIKITEXT).replace(" . ", "\n")),
        "shakespeare": treebank_style(read_text(data / _SHAKESPEARE)),
    }
    foreign = {name: vocabulary.encode(tokenize(text))[: len(own)] for name, text in others.items()}
    return shifts(model, vocabulary, own, foreign, draws)


def shifts(
    model: LanguageModel, vocabulary: Vocabulary, own: Tensor, foreign: dict[str, Tensor], draws: int
) -> dict[str, Any]:
    """Return the entropy gaps of the reversed text and, for each foreign text, what tells it from the model's own.

    All passes are made in one precision, which the result names: the gaps are differences between them.
    """
    precision = _precision(next(model.parameters()).device)
    known, plain = both(model, own, draws, precision)
    reversed_known, reversed_plain = both(model, own.flip(0), draws, precision)
    gaps = {part: _mean(reversed_known, part) - _mean(known, part) for part in PARTS}
    gaps["deterministic entropy"] = _mean(reversed_plain, "entropy") - _mean(plain, "entropy")
    inside = by_sentence(vocabulary, own, known, plain)
    shift = {}
    for name, tokens in foreign.items():
        strange, strange_plain = both(model, tokens, draws, precision)
        outside = by_sentence(vocabulary, tokens, strange, strange_plain)
        areas = {score: auroc(inside[score], outside[score]) for score in inside}
        shift[name] = _summary(strange, strange_plain) | {"sentences": len(outside["length"]), "auroc": areas}
    return {
        "draws": draws,
        "precision": precision or "float32",
        "reversed_gap_nats": gaps,
        "published_gaps": PUBLISHED_GAPS,
        "own": _summary(known, plain),
        "reversed": _summary(reversed_known, reversed_plain),
        "shift": shift,
    }


def both(
    model: LanguageModel, tokens: Tensor, draws: int, precision: str | None
) -> tuple[TokenPredictive, TokenPredictive]:
    """Monte Carlo over one stream, words kept as in Gal's test, and the pass without masks, in one precision."""
    drawn = perplexity(model, tokens, draws=draws, drop_words=False, batch_size=1, precision=precision)
    return drawn.to("cpu"), perplexity(model, tokens, draws=0, precision=precision).to("cpu")


def _precision(device: torch.device) -> str | None:
    """bfloat16 products where the processor has units for them."""
    return "bf16" if multiplies_bfloat16(device) else None


def by_sentence(
    vocabulary: Vocabulary, tokens: Tensor, drawn: TokenPredictive, plain: TokenPredictive
) -> dict[str, Tensor]:
    """Return mean uncertainties of each sentence, and its share of <unk> and its length, which need no model."""
    targets = tokens[1:]
    (end,) = vocabulary.encode([EOS])
    sentence = torch.cat([torch.zeros(1, dtype=torch.long), (targets == end).long().cumsum(0)[:-1]])
    count = torch.bincount(sentence).double()

    def mean(values: Tensor) -> Tensor:
        return torch.bincount(sentence, values.double().flatten()) / count

    scores = {part: mean(getattr(drawn, part)[drawn.mask]) for part in PARTS}
    scores["nll"] = mean(-drawn.log_prob[drawn.mask])
    scores["deterministic entropy"] = mean(plain.entropy[plain.mask])  # type: ignore[index]
    scores["deterministic nll"] = mean(-plain.log_prob[plain.mask])
    if UNK in vocabulary:
        scores["share of <unk>"] = mean(targets == int(vocabulary.encode([UNK])[0]))
    scores["length"] = count
    long_enough = count >= 3
    return {name: values[long_enough] for name, values in scores.items()}


def auroc(inside: Tensor, outside: Tensor) -> float:
    """Return the probability that a strange sentence scores above one of the model's own."""
    from sklearn.metrics import roc_auc_score

    truth = torch.cat([torch.zeros(len(inside)), torch.ones(len(outside))])
    return float(roc_auc_score(truth.numpy(), torch.cat([inside, outside]).numpy()))


def treebank_style(text: str) -> str:
    """Write text as the treebank's preprocessing does: lower case, numbers N, no punctuation, clitics apart."""
    text = text.replace("’", "'").replace("‘", "'").replace("“", '"').replace("”", '"').lower()
    text = text.replace("<unk>", "\0").replace(" @-@ ", "-").replace(" @,@ ", ",").replace(" @.@ ", ".")
    text = re.sub(r"(?<=\w)('s|'re|'ve|'ll|'d|'m|n't)\b", r" \1", text)
    text = re.sub(r"\b\d[\d,.]*\b", "N", text)
    text = re.sub(r"[^\w\s'\-.\0]|(?<!\w)['\-]+(?!\w)|\.(?!\w)|_", " ", text)
    lines = [" ".join(line.split()) for line in text.replace("\0", "<unk>").split("\n")]
    return "\n".join(line for line in lines if line)


def holmes(data: Path, work: Path, draws: int, epochs: int, most: int | None, device: torch.device) -> dict[str, Any]:
    """Train on three collections of Sherlock Holmes; ask about an unseen Holmes novel and about Moby Dick."""
    folder = data / "gutenberg"
    text = "\n".join(sentences(read_text(folder / name)) for name in _HOLMES)
    unseen = sentences(read_text(folder / _HOUND))
    others = {name: sentences(read_text(folder / file)) for name, file in _OTHERS.items()}
    stream = tokenize(text)
    vocabulary = Vocabulary.build(stream, max_size=10_000)
    tokens = vocabulary.encode(stream)
    cut = round(0.95 * len(tokens))
    torch.manual_seed(0)
    scheme = schemes.gal(word=0.15, input=0.3, hidden=0.2, output=0.3)
    model = LanguageModel(len(vocabulary), 200, 200, dropout=scheme, init_range=0.1).to(device)
    recipe = replace(gal("medium").shortened(epochs), precision=_precision(device), keep="best")
    history = train_language_model(
        model, tokens[:cut], recipe, tokens[cut:], vocabulary=vocabulary, checkpoint=work / "holmes"
    )
    hound = vocabulary.encode(tokenize(unseen))[:most]
    foreign = {name: vocabulary.encode(tokenize(strange))[: len(hound)] for name, strange in others.items()}
    return {"epochs": epoch_records(history)} | shifts(model, vocabulary, hound, foreign, draws)


def sentences(text: str) -> str:
    """Cut prose into a sentence a line, in the treebank's style."""
    joined = re.sub(r"\s+", " ", text.replace("_", " "))
    return treebank_style(re.sub(r"(?<=[.!?])[\"”'’]?\s+(?=[\"“A-Z])", "\n", joined))


def opened(folder: Path, text: Path) -> tuple[LanguageModel, Vocabulary]:
    """Return the model of a training folder (its weights as they are in the checkpoint) and its vocabulary."""
    checkpoint = Checkpoint.load(folder)
    if checkpoint is None:
        raise ValueError(f"{folder} holds no checkpoint. Train first: python -m evaluation.penn_treebank")
    vocabulary = read_corpus(text).vocabulary
    if checkpoint.settings["vocabulary"] != vocabulary.fingerprint():
        raise ValueError(f"{folder} was trained with another vocabulary than that of {text}.")
    config = dict(checkpoint.settings["model"])
    model = LanguageModel(**config | {"dropout": schemes.Scheme.from_dict(config["dropout"])})
    weights = checkpoint.tensors["weights"] | checkpoint.tensors.get("average", {}) | checkpoint.tensors.get("best", {})
    model.load_state_dict(weights)
    return model.eval(), vocabulary


def _summary(drawn: TokenPredictive, plain: TokenPredictive) -> dict[str, float]:
    return {part: _mean(drawn, part) for part in PARTS} | {
        "perplexity": drawn.perplexity,
        "deterministic perplexity": plain.perplexity,
        "deterministic entropy": _mean(plain, "entropy"),
        "tokens": float(drawn.mask.sum()),
    }


def _mean(result: TokenPredictive, part: str) -> float:
    return float(getattr(result, part)[result.mask].double().mean())


def _smoke(results: Path | None) -> None:
    """A stream with rules, its reverse, and a stream with other rules."""
    generator = torch.Generator().manual_seed(0)

    def stream(factor: int, count: int) -> Tensor:
        tokens = [0]
        for noise in torch.rand(count - 1, generator=generator).tolist():
            tokens.append((factor * tokens[-1] + 1) % 20 if noise < 0.9 else int(noise * 2000) % 20)
        return torch.tensor(tokens)

    vocabulary = Vocabulary([EOS, *(f"w{i}" for i in range(19))])
    torch.manual_seed(0)
    model = LanguageModel(20, 16, 16, 1, dropout=schemes.gal(0.1), init_range=0.3)
    recipe = replace(gal("medium").shortened(4), window=10, batch_size=4)
    corpus = Corpus(vocabulary, "word", {"train": stream(3, 3000), "test": stream(3, 300)})
    train_language_model(model, corpus["train"], recipe, progress=False)
    result = shifts(model, vocabulary, corpus["test"], {"other rules": stream(7, 300)}, draws=16)
    with tempfile.TemporaryDirectory() as folder:
        path = records.save("shift_language_smoke", result, seed=0, folder=results or Path(folder))
        print(path.name, result["reversed_gap_nats"], result["shift"]["other rules"]["auroc"], sep="\n")


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m evaluation.shift_language", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=Path("runs/penn_treebank/gal/small/gal-untied-0"))
    parser.add_argument("--name", help="name of the result (else that of the model's folder)")
    parser.add_argument("--holmes", action="store_true", help="train on Sherlock Holmes, ask about Moby Dick")
    parser.add_argument("--epochs", type=int, default=12, help="epochs of the Holmes model")
    parser.add_argument("--draws", type=int, default=32)
    parser.add_argument("--tokens", type=int, help="so many tokens of each text (all of the test text if not given)")
    add_device(parser)
    parser.add_argument("--data", type=Path, help="folder of the data (else BAYESRNN_DATA)")
    parser.add_argument("--work", type=Path, default=Path("runs/shift_language"))
    parser.add_argument("--results", type=Path)
    parser.add_argument("--smoke", action="store_true", help="seconds, without the data")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
