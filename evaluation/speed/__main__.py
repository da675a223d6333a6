"""`python -m evaluation.speed train|predict|memory|draws [--quick]`: what things take, against other ways."""

import argparse
from collections.abc import Sequence

import bayesrnn as br
from evaluation.options import OneLineParser, run

_HELP = "a training step; a prediction with many draws; its memory; what a stratified draw is worth"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark named on the command line, print its table and save it as JSON."""
    parser = OneLineParser(prog="python -m evaluation.speed", description=__doc__)
    parser.add_argument("what", choices=("train", "predict", "memory", "draws"), help=_HELP)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions and smaller sizes")
    only = (
        "some sizes: 2x650, 2x1500, 1x128 (train); draws x sequences: 100x1, 100x20, 1000x20 (predict), 10x20, "
        "100x20, 1000x20 (memory); models by name (draws)"
    )
    parser.add_argument("--only", nargs="+", help=only)
    parser.add_argument("--compiled", action="store_true", help="with the compiled pointwise part (a C++ compiler)")
    return run(parser, _work, arguments)


def _work(given: argparse.Namespace) -> None:
    if given.compiled:
        br.nn.use_compiled()
    if given.what == "train":
        from evaluation.speed import train as benchmark
    elif given.what == "predict":
        from evaluation.speed import predict as benchmark
    elif given.what == "memory":
        from evaluation.speed import memory as benchmark
    else:
        from evaluation.speed import draws as benchmark
    benchmark.run(quick=given.quick, only=given.only, compiled=given.compiled)


if __name__ == "__main__":
    raise SystemExit(main())
