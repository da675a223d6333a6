"""`python -m evaluation.speech`: train, score and report classifiers of spoken digits and vowels.

python -m evaluation.speech --quick                          # minutes: few epochs, one seed, a part of the splits
python -m evaluation.speech --corpus digits --seeds 0 1 2    # resumes where it was stopped
python -m evaluation.speech --corpus vowels --seeds 0 1 2
python -m evaluation.speech report                           # tables from the JSON files
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evaluation.options import OneLineParser, at_least, named, run
from evaluation.records import RESULTS, load, save
from evaluation.speech import report
from evaluation.speech.networks import Settings, splits
from evaluation.speech.recordings import Recordings, corpus_place, load_digits, load_vowels, synthetic
from evaluation.speech.scoring import study

SETTINGS = {
    "digits": Settings(),
    "vowels": Settings(units=64, epochs=30, batch=32, stack=1, steps=29),
}


def main(arguments: Sequence[str] | None = None) -> int:
    return run(_parser(), _work, arguments)


def _work(given: argparse.Namespace) -> None:
    base = Path("runs/speech-quick" if given.quick else "runs/speech")
    results = given.results or (base / "results" if given.quick else RESULTS / "speech")
    if given.job == "report":
        return report.write(results)
    at_least(0, seeds=min(given.seeds))
    at_least(1, epochs=given.epochs)
    corpus, settings = _corpus(given), SETTINGS[given.corpus]
    if given.quick:
        settings = replace(settings, epochs=3, units=32, draws=16)
    if given.epochs is not None:
        settings = replace(settings, epochs=given.epochs)
    chosen = splits(corpus, speakers_are_classes=given.corpus == "vowels")
    only = given.splits or (["recording", "speaker0"] if given.quick else None)
    data = [] if given.synthetic else [given.data or corpus_place(given.corpus)]
    folder = (given.checkpoints or base / "state") / given.corpus
    for split in [one.checked() for one in named(only, chosen, "--splits")]:
        for cell in given.cells:
            name = f"{given.corpus}-{cell}-{split.name}"
            asked = {"settings": settings.to_dict(), "seeds": given.seeds, "utterances": len(corpus)}
            if _finished(results, name, asked):
                continue
            result = {"corpus": given.corpus, "cell": cell, "split": split.name, **asked}
            result |= study(split, cell, given.seeds, settings, folder, given.corpus == "digits")
            save(name, result, folder=results, data=data)
            score = result["scores"]["gal, draws"]
            print(f"{name}: accuracy {score['accuracy']:.3f}, NLL {score['nll']:.3f} (gal, draws)", flush=True)
    report.write(results)
    return None


def _finished(results: Path, name: str, asked: dict[str, object]) -> bool:
    """Whether the results hold this study, of the same settings and seeds."""
    if not (results / f"{name}.json").is_file():
        return False
    known = load(name, results)
    return all(known.get(key) == value for key, value in asked.items())


def _corpus(given: argparse.Namespace) -> Recordings:
    if given.synthetic:
        return synthetic()
    return load_digits(given.data) if given.corpus == "digits" else load_vowels(given.data)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m evaluation.speech", description=__doc__.split("\n")[0])
    parser.add_argument("job", nargs="?", choices=("train", "report"), default="train")
    parser.add_argument("--quick", action="store_true", help="small networks, few epochs, two splits")
    parser.add_argument("--synthetic", action="store_true", help="invented utterances")
    parser.add_argument("--corpus", choices=tuple(SETTINGS), default="digits")
    parser.add_argument("--data", type=Path, help="the file of the digits or the folder of the vowels")
    parser.add_argument("--cells", nargs="+", choices=("lstm", "gru"), default=["lstm", "gru"])
    parser.add_argument("--splits", nargs="+", help="recording, words, speaker0, ...; all if not given")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--checkpoints", type=Path)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
