"""The kernels of small layers compiled for devices that are not here: what an interpreter does not check."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="the kernels need Triton")

PROGRAM = """
import re, subprocess, sys, tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bayesrnn.nn.kernels.scan.persistent_backward_kernel import all_backward
from bayesrnn.nn.kernels.scan.persistent_forward_kernel import all_forward

def build(kernel, low, device, **flags):
    kinds = {name: "*fp32" for name in kernel.arg_names}
    kinds |= {name: "i32" for name in kinds if name in ("start", "steps", "rows", "units")}
    kinds |= {name: "i32" for name in kinds if name.rpartition("_")[2] in ("step", "row", "gate")}
    kinds |= {"lengths": "*i32", "hh": "*" + low} | {n: "*" + low for n in kinds if n in ("low", "scratch", "pre")}
    constants = {name: value for name, value in flags.items() if name in kinds}
    source = ASTSource(kernel, kinds | {name: "constexpr" for name in constants}, constants)
    made = triton.compile(source, target=GPUTarget("cuda", device, 32), options={"num_warps": 8})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(made.asm["cubin"])
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        use = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True).stdout
    return int(re.search(r"STACK:(\\d+)", use)[1])

full = dict(LENGTHS=True, MASK=2, READ=True, CAPPED=True, KEEP=True, ARRIVING=True, ROWS=16, TILE=32)
plain = dict(LENGTHS=False, MASK=1, READ=False, CAPPED=False, KEEP=False, ARRIVING=True, ROWS=16, TILE=32)
for device in (80, 90):
    for gates in (3, 4):
        for kernel in (all_forward, all_backward):
            build(kernel, "bf16", device, GATES=gates, LOW=True, HELD=True, UNITS=32, PRECISION="tf32", **full)
            build(kernel, "fp32", device, GATES=gates, LOW=False, HELD=False, UNITS=32, PRECISION="tf32x3", **full)
for kernel in (all_forward, all_backward):
    for low, held, units, precision in (("fp32", True, 32, "tf32x3"), ("fp32", False, 128, "tf32x3"),
                                        ("bf16", True, 64, "tf32"), ("bf16", False, 128, "tf32")):
        stack = build(kernel, low, 90, GATES=4, LOW=low == "bf16", HELD=held, UNITS=units, PRECISION=precision, **plain)
        print(kernel.__name__, low, units, stack)
"""


@pytest.mark.slow
def test_kernels_compile_and_keep_their_numbers_in_registers() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-2000:]
    stacks = {tuple(line.split()[:3]): int(line.split()[3]) for line in run.stdout.splitlines()}
    assert len(stacks) == 8
    assert max(stacks.values()) <= 256, stacks  # bytes of a thread that do not fit into its registers
