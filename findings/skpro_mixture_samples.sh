#!/usr/bin/env bash
# skpro 2.16.0: `Mixture.sample(n)` draws all n samples from one component.
#
# The samples are documented as n independent samples. With the default of independent rows one component is chosen
# per call and row, and all n samples of the row come from it. Everything that skpro estimates by sampling follows:
# the two energies, and with them the CRPS, which changes from call to call by much more than sampling error.
# A mixture of the members' Gaussians is what an ensemble or the draws of Monte Carlo dropout give.
#
# Seen: sample means about 0.0 or 3.0 instead of 1.5, sample deviations 1.0 instead of 1.80, and E|X - 1| of 1.17 or
# 2.02 instead of 1.59. `mean`, `var` and `cdf` are right, and so is a mixture without rows (scalar parameters).
#
# Exits with 1 if the samples are mixed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet skpro==2.16.0 scikit-base==1.2.0 numpy==2.4.6 pandas==3.0.6 scipy==1.17.1
"$work/venv/bin/python" -W ignore - <<'E'
import sys

import numpy as np
import pandas as pd
from skpro.distributions import Mixture, Normal

np.random.seed(0)
members = [(f"member {mu:g}", Normal(mu=[[mu]], sigma=1.0)) for mu in (0.0, 3.0)]
mixture = Mixture(members)
one_component = 0
for call in range(8):
    sample = mixture.sample(2000).to_numpy()
    energy = mixture.energy(pd.DataFrame([[1.0]])).to_numpy().item()
    print(f"call {call}: mean {sample.mean():.2f}, deviation {sample.std():.2f}, E|X - 1| {energy:.2f}")
    one_component += sample.std() < 1.2
print(f"truth: mean {mixture.mean().to_numpy().item():.2f}, deviation {mixture.var().to_numpy().item() ** 0.5:.2f}, "
      f"E|X - 1| 1.59")
scalar = Mixture([("a", Normal(0.0, 1.0)), ("b", Normal(3.0, 1.0))])
deviation = np.std([scalar.sample() for _ in range(2000)])
print(f"scalar mixture, 2000 calls: deviation {deviation:.2f}")
sys.exit(0 if one_component == 8 else 1)
E
