"""`python -m evaluation.speed people|train|predict|memory|draws|control|stream|fit|versions|gpu|report`: times."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import torch

import bayesrnn as br
from evaluation.options import OneLineParser, run
from evaluation.speed import people

_HELP = (
    "networks of the sizes that people use; a training step; a prediction with many draws; its memory; what a "
    "stratified draw is worth, and control variates; a step of a stream; a forecaster's fit and the "
    "import; this version beside another checkout; predictions and small layers on a GPU; report: the tables of what "
    "was measured before"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark named on the command line, save it as JSON, and write and print its table."""
    parser = OneLineParser(prog="python -m evaluation.speed", description=__doc__)
    parser.add_argument(
        "what",
        choices=[
            "people",
            "train",
            "predict",
            "memory",
            "draws",
            "control",
            "stream",
            "fit",
            "versions",
            "gpu",
            "report",
        ],
        help=_HELP,
    )
    parser.add_argument("--quick", action="store_true", help="fewer repetitions and smaller sizes")
    only = (
        "some sizes: 2x650, 2x1500, 1x128 (train); draws x sequences: 100x1, 100x20, 1000x20 (predict), 10x20, "
        "100x20, 1000x20 (memory); networks (people, gpu) and models (draws, control) by name; parts "
        "(fit: fit, batch, import); parts of a workload's name (versions)"
    )
    parser.add_argument("--only", nargs="+", help=only)
    parser.add_argument("--other", type=Path, help="a checkout of another commit (versions)")
    parser.add_argument("--isa", choices=people.HELD, help="hold all libraries to this instruction set (people)")
    parser.add_argument("--plain", action="store_true", help="in torch's operations, without the compiled kernels")
    given = parser.parse_args(arguments)
    if given.isa is not None:
        if given.what != "people":
            parser.error("--isa is an option of people.")
        code = people.held_to(given.isa, "evaluation.speed", sys.argv[1:] if arguments is None else arguments)
        if code is not None:
            return code
    return run(parser, _work, arguments)


def _work(given: argparse.Namespace) -> None:
    br.nn.use_compiled(not given.plain)
    from evaluation.speed import tables, versions
    from evaluation.speed.gpu import ABSENT

    if given.what == "report":
        print("\n".join(f"written {name}.md" for name in tables.report()))
        return
    if given.what == "versions":
        if given.other is None or not (given.other / "bayesrnn").is_dir():
            raise ValueError("versions needs --other: the folder of another checkout of this repository.")
        print(tables.write(versions.run(quick=given.quick, only=given.only, other=given.other)))
        return
    if given.what == "gpu" and not torch.cuda.is_available() and not given.quick:
        print(ABSENT)
        return
    everything = ("predict", "memory", "draws") if given.what == "predict" and given.only is None else (given.what,)
    for what in everything:
        benchmark = import_module(f"evaluation.speed.{what}")
        print(tables.write(benchmark.run(quick=given.quick, only=given.only, plain=given.plain)))


if __name__ == "__main__":
    raise SystemExit(main())
