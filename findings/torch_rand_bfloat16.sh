#!/usr/bin/env bash
# torch 2.13.0: one of 512 numbers of torch.rand in bfloat16 is exactly 0 (CPU).
#
# Numbers of a float32 uniform are rounded to bfloat16, and those that would round up to 1, outside of [0, 1), come out
# as 0 instead. The largest values are thus moved to the other end: P(U < p) is p + 1/512, the mean .498, and log(U),
# logit(U) and -log(-log(U)) are infinite for one number in 512. Hand-made dropout in half precision, rand < p, drops
# three times as much as asked for at p = .001, and a relaxed (concrete) mask gets infinite logits. F.dropout, whose
# draws are made another way, keeps its rate. In float16 it is one number in 4,096.
#
# Seen: P(U == 0) = .00196, P(U < .001) = .00297, P(U < .1) = .10201, mean .4981; F.dropout at .001 drops .0010.
#
# Exits with 1 if zeros are as rare as in float32.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$work/venv/bin/python" - <<'E'
import sys

import torch

torch.manual_seed(0)
COUNT = 4_000_000


def share(found: torch.Tensor) -> float:
    return float(found.double().mean())


zeros = {}
for dtype in (torch.float32, torch.float16, torch.bfloat16):
    uniform = torch.rand(COUNT, dtype=dtype)
    zeros[dtype] = share(uniform == 0)
    print(f"{dtype}: P(U == 0) {zeros[dtype]:.5f}, mean {share(uniform):.4f}, infinite logs {share(uniform.log().isinf()):.5f}")
for rate in (0.001, 0.01, 0.1):
    by_hand = share(torch.rand(COUNT, dtype=torch.bfloat16) < rate)
    dropped = share(torch.nn.functional.dropout(torch.ones(COUNT, dtype=torch.bfloat16), rate) == 0)
    print(f"rate {rate}: rand < rate drops {by_hand:.5f}, F.dropout drops {dropped:.5f}")
sys.exit(0 if zeros[torch.bfloat16] > 0.0015 and zeros[torch.float32] < 1e-5 else 1)
E
