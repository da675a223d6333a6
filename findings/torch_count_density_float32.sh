#!/usr/bin/env bash
# torch 2.13.0: log_prob of NegativeBinomial and StudentT is wrong in float32 where they are nearly Poisson and Normal.
#
# Both subtract two log-gamma values of nearly the same size. In float32 the difference loses all digits once the
# first parameter is 1e6 or more: the probabilities of a count distribution then sum to .57, 4e4 or 7e22 instead of 1,
# and the density of a StudentT at 0 is 1.00 instead of 0.40. Nothing is raised, no value is NaN. A network that learns
# the dispersion of counts or the degrees of freedom goes there by itself where the data have no excess, and is
# rewarded for it: its likelihood grows without bound. In float64 the same calls are right to 1e-7.
#
# Seen: sums 0.9762, 0.5686, 3.786e+04 and 7.019e+22 for total_count 1e5, 1e6, 1e7 and 1e8 and mean 10.
#
# Exits with 1 if the sums are within 1 % of 1.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6
"$work/venv/bin/python" - <<'E'
import sys

import torch
from torch.distributions import NegativeBinomial, StudentT

counts, mean = torch.arange(60.0), 10.0


def total(size: float, dtype: torch.dtype) -> float:
    """Sum of the probabilities of 0 to 59, which hold all but 1e-20 of the mass."""
    size, odds = (torch.tensor(v, dtype=dtype) for v in (size, mean / size))
    return float(NegativeBinomial(size, logits=odds.log(), validate_args=True).log_prob(counts.to(dtype)).exp().sum())


def density(freedom: float, dtype: torch.dtype) -> float:
    """At 0, where every nearly normal StudentT has 0.3989."""
    return float(StudentT(torch.tensor(freedom, dtype=dtype)).log_prob(torch.zeros((), dtype=dtype)).exp())


wrong = []
for size in (1e3, 1e5, 1e6, 1e7, 1e8):
    single, double = (total(size, dtype) for dtype in (torch.float32, torch.float64))
    print(f"total_count {size:g}: probabilities sum to {single:.4g} in float32, {double:.7f} in float64")
    wrong += [abs(single - 1) > 0.01] if size >= 1e6 else []
for freedom in (1e3, 1e5, 1e6, 1e7):
    single, double = (density(freedom, dtype) for dtype in (torch.float32, torch.float64))
    print(f"df {freedom:g}: density at 0 is {single:.4f} in float32, {double:.4f} in float64")
wrong.append(density(1e7, torch.float32) > 0.9)
sys.exit(0 if all(wrong) else 1)
E
