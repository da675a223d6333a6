"""`python -m evaluation.mutations`: break the code on purpose and see the tests fail.

Each mutation changes one line in a copy of the sources and runs the tests that should notice. A mutation that no test
notices is an error, exit code 1.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Mutation:
    """A mistake: in which file, which text becomes which, and the tests that should fail."""

    name: str
    file: str
    right: str
    wrong: str
    tests: str


MUTATIONS = (
    Mutation(
        "two gates are swapped in the reference loop",
        "bayesrnn/nn/kernels/cells.py",
        "i, f, g, o = (x + h).chunk(4, -1)",
        "f, i, g, o = (x + h).chunk(4, -1)",
        "tests/nn/kernels/test_dispatch.py",
    ),
    Mutation(
        "two gates are swapped in the scan",
        "bayesrnn/nn/kernels/scan/pointwise.py",
        "i, f, g, o = gates.unbind(1)",
        "f, i, g, o = gates.unbind(1)",
        "tests/nn/kernels/test_dispatch.py",
    ),
    Mutation(
        "masks of training are not scaled by 1 / (1 - p)",
        "bayesrnn/masks/fresh.py",
        "_bernoulli_(mask, 1.0 - rate).div_(1.0 - rate)",
        "_bernoulli_(mask, 1.0 - rate)",
        "tests/nn/test_recurrent.py tests/nn/test_dropout.py tests/masks",
    ),
    Mutation(
        "masks of predictions are not scaled by 1 / (1 - p)",
        "bayesrnn/masks/sources.py",
        ".mul_(1.0 / self._kept(rate))",
        "",
        "tests/masks tests/inference/test_exact.py",
    ),
    Mutation(
        "the two directions of a layer share their masks",
        "bayesrnn/nn/mask_plan.py",
        'else site}_l{layer}{suffix}"',
        'else site}_l{layer}"',
        "tests/nn/test_recurrent.py tests/nn/kernels/test_dispatch.py",
    ),
    Mutation(
        "the last state is read after the padding",
        "bayesrnn/nn/kernels/scan/order.py",
        "return (self.lengths - 1).view(1, -1, 1).expand(1, -1, out.shape[2])",
        "return (self.lengths.clamp(min=out.shape[0]) - 1).view(1, -1, 1).expand(1, -1, out.shape[2])",
        "tests/nn/test_recurrent.py tests/nn/test_packing.py tests/nn/kernels/test_dispatch.py",
    ),
    Mutation(
        "the paired bootstrap of compare is not paired",
        "bayesrnn/metrics/paired.py",
        "np.asarray(turned(first.replicates) - turned(second.replicates))",
        "np.asarray(turned(first.replicates) - turned(np.roll(second.replicates, 1)))",
        "tests/test_comparison.py tests/metrics",
    ),
)


def main() -> int:
    """Try every mutation; return 1 if one goes unnoticed."""
    unnoticed = [m.name for m in MUTATIONS if not _noticed(m)]
    for name in unnoticed:
        print(f"unnoticed: {name}")
    return int(bool(unnoticed))


def _noticed(mutation: Mutation) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for part in ("bayesrnn", "tests", "evaluation", "docs"):
            shutil.copytree(ROOT / part, place / part, ignore=shutil.ignore_patterns("__pycache__", "results"))
        shutil.copy(ROOT / "pyproject.toml", place)
        file = place / mutation.file
        text = file.read_text(encoding="utf-8")
        if text.count(mutation.right) != 1:
            raise ValueError(f"{mutation.file} must hold this line once: {mutation.right}")
        file.write_text(text.replace(mutation.right, mutation.wrong), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutation.tests.split()]
        tests = subprocess.run(
            command, cwd=place, env=os.environ | {"PYTHONPATH": str(place)}, capture_output=True, text=True
        )
    failed = [line for line in tests.stdout.splitlines() if line.startswith("FAILED")]
    print(f"{'noticed' if failed else 'NOT NOTICED'}: {mutation.name}  {' '.join(failed)[:100]}", flush=True)
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
