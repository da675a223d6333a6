"""`python -m evaluation.penn_treebank`: train, judge and tabulate the rows of the papers' tables.

python -m evaluation.penn_treebank --table gal --size small                       # ten minutes a row on two cores
python -m evaluation.penn_treebank --table gal --size medium --row gal-untied     # hours; run again to go on
python -m evaluation.penn_treebank --table zaremba --size small --members 5       # an ensemble
python -m evaluation.penn_treebank --table beyond --size medium                   # shared embeddings, averaged weights
python -m evaluation.penn_treebank --table gal --size small --judge-only          # judge the weights that were kept
python -m evaluation.penn_treebank --table gal --size small --multipliers         # the same at factors of the rates
python -m evaluation.penn_treebank --table gal --size small --report              # table and plot from the JSON files
python -m evaluation.penn_treebank --smoke                                        # seconds, without the data
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bayesrnn.data import Corpus, Vocabulary, read_corpus
from bayesrnn.nn.precision import multiplies_bfloat16
from evaluation.options import OneLineParser, add_device, at_least, device_of, named, run
from evaluation.penn_treebank import report
from evaluation.penn_treebank.rows import DRAWS, FRACTIONS, rows
from evaluation.penn_treebank.run import Plan, judge_multipliers, run_row
from evaluation.records import RESULTS


def main(arguments: Sequence[str] | None = None) -> int:
    return run(_parser(), _work, arguments)


def _work(given: argparse.Namespace) -> None:
    _check(given)
    results = given.results or RESULTS
    if given.smoke:
        _smoke(given)
    elif given.report:
        for path in report.write(given.table, given.size, results):
            print(path)
    else:
        _train(given, results)


def _check(given: argparse.Namespace) -> None:
    """Refuse numbers that make no sense, before anything is trained."""
    at_least(1, draws=given.draws, members=given.members, epochs=given.epochs, **{"part-size": given.part_size})
    at_least(0, seed=given.seed)
    if given.fraction is not None and not 0.0 < given.fraction <= 1.0:
        raise ValueError(
            f"--fraction is the share of the training text and must lie in (0, 1], but {given.fraction:g} was given."
        )


def _train(given: argparse.Namespace, results: Path) -> None:
    device = device_of(given)
    known = rows(given.table, given.size, epochs=given.epochs, precision=_precision(given.float32, device))
    chosen = named(given.row, {row.name: row for row in known}, "--row")
    data = given.data or os.environ.get("BAYESRNN_DATA")
    if not data:
        raise ValueError("the data are not here: set BAYESRNN_DATA to the folder that holds ptb/, or give --data")
    corpus = read_corpus(Path(data) / "ptb")
    for part in ("train", "validation", "test"):
        corpus[part]  # an error now rather than after the training
    plan = Plan(
        given.table,
        given.size,
        corpus,
        given.work,
        results,
        seed=given.seed,
        members=given.members,
        draws=DRAWS[given.size] if given.draws is None else given.draws,
        fraction=FRACTIONS[given.size] if given.fraction is None else given.fraction,
        resume=given.resume,
        device=device,
        data=(Path(data) / "ptb",),
        judge_only=given.judge_only,
        part_bytes=None if given.part_size is None else given.part_size * 10**6,
    )
    for row in chosen:
        if given.multipliers:
            print(judge_multipliers(plan, row))
        else:
            run_row(plan, row)
            report.write(given.table, given.size, results)


def _smoke(given: argparse.Namespace) -> None:
    """Rows for two epochs on a text made here, far below the papers' sizes; results go to a temporary folder."""
    device = device_of(given)
    known = {table: rows(table, "small", epochs=2, precision=None) for table in ("gal", "beyond")}
    chosen = named(given.row, {row.name: row for some in known.values() for row in some}, "--row")
    with tempfile.TemporaryDirectory() as folder:
        where, corpus, work = given.results or Path(folder) / "results", _tiny_corpus(), Path(folder) / "runs"
        for table, members in (("gal", 1), ("beyond", 2)):
            plan = Plan(
                table, "small", corpus, work, where, draws=32, units=8, members=members, progress=False, device=device
            )
            some = [row for row in known[table] if row in chosen]
            for row in some:
                shape = {key: 8 if key.endswith("size") else value for key, value in row.model.items()}
                run_row(plan, replace(row, model=shape, recipe=replace(row.recipe, window=10, batch_size=4)))
            if some:
                print(*(path.name for path in report.write(table, "small", where)), sep="\n")
                print((where / f"penn_treebank_{table}_small.md").read_text(encoding="utf-8"))


def _precision(float32: bool, device: torch.device) -> str | None:
    """bfloat16 products where the device has units for them and float32 was not asked for."""
    return "bf16" if multiplies_bfloat16(device) and not float32 else None


def _tiny_corpus() -> Corpus:
    """A stream in which each token follows from the one before, most of the time."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 20, (1200,), generator=generator)
    stay = torch.rand(1200, generator=generator) < 0.8
    tokens = [0]
    for t in range(1, 1200):
        tokens.append((3 * tokens[-1] + 1) % 20 if bool(stay[t]) else int(noise[t]))
    stream = torch.tensor(tokens)
    parts = {"train": stream[:900], "validation": stream[900:1050], "test": stream[1050:]}
    return Corpus(Vocabulary([f"w{i}" for i in range(20)]), "word", parts)


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="python -m evaluation.penn_treebank", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--table", choices=("gal", "zaremba", "beyond"), default="gal")
    parser.add_argument("--size", choices=("small", "medium", "large"), default="small")
    parser.add_argument("--row", action="append", help="only this row; may be given several times")
    parser.add_argument("--resume", action=argparse.BooleanOptionalAction, default=True, help="go on from checkpoints")
    parser.add_argument("--epochs", type=int, help="squeeze the recipe into so many epochs")
    parser.add_argument("--fraction", type=float, help="share of the training text (small: 1/3, else 1)")
    parser.add_argument("--draws", type=int, help="draws on the test text (small: 64, else 100)")
    parser.add_argument("--members", type=int, default=1, help="models of a row, judged together as an ensemble")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--float32",
        action="store_true",
        help="no bfloat16 in matrix products, even where the processor has units for it",
    )
    add_device(parser)
    parser.add_argument("--data", type=Path, help="folder with ptb/ (else BAYESRNN_DATA)")
    parser.add_argument("--work", type=Path, default=Path("runs/penn_treebank"), help="folder of the checkpoints")
    parser.add_argument("--judge-only", action="store_true", help="judge the weights kept in --work, without training")
    parser.add_argument("--multipliers", action="store_true", help="judge kept weights at several factors of the rates")
    parser.add_argument("--part-size", type=int, help="keep weights in files of at most so many MB")
    parser.add_argument("--results", type=Path, help="folder of the JSON files, tables and plots")
    parser.add_argument("--report", action="store_true", help="only write table and plot")
    parser.add_argument("--smoke", action="store_true", help="a few seconds without the data")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
