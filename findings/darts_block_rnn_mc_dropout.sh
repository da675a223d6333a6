#!/usr/bin/env bash
# darts 0.48.1: `predict(mc_dropout=True)` changes nothing for `BlockRNNModel` and `RNNModel`, whatever `dropout` is.
#
# Monte Carlo dropout is switched on in modules of darts' own class `MonteCarloDropout`. The recurrent models hold none:
# their `dropout` is the argument of torch's LSTM, which acts in training only. Nothing is said: the call returns the
# forecast of the deterministic network. With a likelihood and many samples all spread comes from the likelihood.
#
# Seen: with `dropout=.5` and two layers the forecasts with and without `mc_dropout` are equal to the bit, both without
# a likelihood and, for equal seeds, in samples of a Gaussian one. `TCNModel`, which has such modules, moves.
#
# Exits with 1 if a recurrent model's forecast moves.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet darts==0.48.1 torch==2.13.0 pytorch-lightning==2.6.6 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'E'
import logging
import sys

import numpy as np
from darts import TimeSeries
from darts.models import BlockRNNModel, RNNModel, TCNModel
from darts.utils.likelihood_models import GaussianLikelihood

for name in ("pytorch_lightning", "pytorch_lightning.utilities.rank_zero", "darts"):
    logging.getLogger(name).setLevel(logging.ERROR)
quietly = {"accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False, "logger": False}
shared = {"n_epochs": 2, "random_state": 0, "dropout": 0.5, "pl_trainer_kwargs": quietly}
series = TimeSeries.from_values(np.sin(np.arange(120) / 5).astype(np.float32))


def moves(model: object, samples: int) -> float:
    """Largest difference between the forecasts with and without Monte Carlo dropout, equal seeds."""
    options = {"num_samples": samples, "random_state": 1, "verbose": False}
    on, off = (model.predict(6, mc_dropout=chosen, **options) for chosen in (True, False))
    return float(np.abs(on.all_values() - off.all_values()).max())


moved = []
for samples, likelihood in ((1, None), (50, GaussianLikelihood())):
    block = BlockRNNModel(24, 6, model="LSTM", n_rnn_layers=2, likelihood=likelihood, **shared)
    recurrent = RNNModel(24, model="LSTM", n_rnn_layers=2, training_length=30, likelihood=likelihood, **shared)
    convolution = TCNModel(24, 6, likelihood=likelihood, **shared)
    for model in (block, recurrent, convolution):
        model.fit(series)
        change = moves(model, samples)
        name = type(model).__name__
        kind = "one value" if likelihood is None else f"{samples} samples of a Gaussian"
        print(f"{name}, {kind}: mc_dropout moves the forecast by {change:.4f}")
        moved.append((name == "TCNModel", change))
sys.exit(0 if all((change > 0) is expected for expected, change in moved) else 1)
E
