"""`python -m evaluation.translation`: train, score and report translators from German to English.

python -m evaluation.translation --quick                          # minutes: small networks, a part of the data
python -m evaluation.translation --schemes gal --seeds 0 1        # resumes where it was stopped
python -m evaluation.translation report                           # tables from the JSON files
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import bayesrnn as br
from bayesrnn._files import atomic_write
from evaluation.options import OneLineParser, at_least, named, run
from evaluation.records import RESULTS, load, save
from evaluation.translation import report
from evaluation.translation.scoring import score
from evaluation.translation.sentences import (
    PARTS,
    Pairs,
    Subwords,
    TokenPairs,
    Vocabulary,
    Words,
    load_pairs,
    needed,
    part_files,
    synthetic,
)
from evaluation.translation.training import Settings, run_name, schemes, trained

QUICK = {
    "units": 64, "embedding": 64, "vocabulary": 1000, "epochs": 10, "draws": 4, "beam": 2, "scored": 60,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    return run(_parser(), _work, arguments)


def _work(given: argparse.Namespace) -> None:
    base = Path("runs/translation-quick" if given.quick else "runs/translation")
    results = given.results or (base / "results" if given.quick else RESULTS / "translation")
    if given.job == "report":
        return report.write(results)
    at_least(0, seeds=min(given.seeds))
    at_least(1, epochs=given.epochs, units=given.units, vocabulary=given.vocabulary)
    at_least(2, draws=given.draws)  # whose disagreement is judged
    chosen = named(given.schemes, {name: name for name in schemes()}, "--schemes")
    needed("sacrebleu")
    settings = replace(Settings(), **(QUICK if given.quick else {}))
    asked = {"epochs": given.epochs, "units": given.units, "embedding": given.units, "draws": given.draws,
             "vocabulary": given.vocabulary}  # fmt: skip
    settings = replace(settings, **{name: value for name, value in asked.items() if value is not None})
    folder = given.checkpoints or base / "state"
    pairs = _pairs(given, settings)
    vocabulary = _vocabulary(given, pairs["train"], settings, folder)
    parts = {name: TokenPairs(part, vocabulary) for name, part in pairs.items()}
    data = [] if given.synthetic else [file for part in PARTS for file in part_files(part, given.data)]
    for seed in given.seeds:
        for scheme in chosen:
            _one(scheme, seed, settings, pairs["test"], parts, vocabulary, folder, results, data)
    report.write(results)
    return None


def _one(
    scheme: str, seed: int, settings: Settings, test: Pairs, parts: dict[str, TokenPairs], vocabulary: Vocabulary,
    folder: Path, results: Path, data: list[Path],
) -> None:  # fmt: skip
    name, said = run_name(scheme, seed, settings), {"settings": settings.to_dict(), "vocabulary": vocabulary.digest}
    if (results / f"{name}.json").is_file() and said.items() <= load(name, results).items():
        return
    begun = time.process_time()
    net, history = trained(scheme, seed, settings, parts, vocabulary, folder)
    hours = _hours(folder / f"{name}.hours", time.process_time() - begun)
    br.save(net, folder / f"{name}.model")
    print(f"{name}: validation {min(history.validation):.3f} nats per token after {history.epochs} epochs", flush=True)
    scores = score(net, test, parts["test"], vocabulary, settings)
    weights = sum(p.numel() for p in net.parameters())
    record = {"scheme": scheme, "seed": seed, **said, "weights": weights, "cpu_hours": hours}
    record |= {"train": list(history.train), "validation": list(history.validation), "scores": scores}
    save(name, record, seed=seed, folder=results, data=data)
    print(f"{name}: " + ", ".join(f"BLEU {s['bleu']:.1f} ({judged})" for judged, s in scores.items()), flush=True)


def _hours(path: Path, seconds: float) -> float:
    """Add the seconds of processor time of this call to those before; return hours."""
    total = seconds / 3600 + (float(path.read_text()) if path.is_file() else 0.0)
    atomic_write(path, repr(total))
    return total


def _pairs(given: argparse.Namespace, settings: Settings) -> dict[str, Pairs]:
    if given.synthetic:
        return {name: synthetic(count, k) for k, (name, count) in enumerate((("train", 200), ("validation", 40),
                                                                             ("test", 40)))}  # fmt: skip
    pairs = {name: load_pairs(name, given.data) for name in PARTS}
    pairs["test"] = pairs["test"].first(settings.scored)
    return {name: part.first(2000) for name, part in pairs.items()} if given.quick else pairs


def _vocabulary(given: argparse.Namespace, train: Pairs, settings: Settings, folder: Path) -> Vocabulary:
    sentences = [*train.source, *train.target]
    if given.synthetic:
        return Words(sentences)
    return Subwords(folder / f"subwords-{settings.vocabulary}.model", sentences, settings.vocabulary)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m evaluation.translation", description=__doc__.split("\n")[0])
    parser.add_argument("job", nargs="?", choices=("train", "report"), default="train")
    parser.add_argument("--quick", action="store_true", help="small networks, a part of the data")
    parser.add_argument("--synthetic", action="store_true", help="invented sentences")
    parser.add_argument("--data", type=Path, help="the folder of Multi30k")
    parser.add_argument("--schemes", nargs="+", help="none, zaremba, gal; all if not given")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, help="30 if not given")
    parser.add_argument("--units", type=int, help="of the states and of the token vectors")
    parser.add_argument("--vocabulary", type=int, help="subwords of both languages")
    parser.add_argument("--draws", type=int)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--checkpoints", type=Path)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
