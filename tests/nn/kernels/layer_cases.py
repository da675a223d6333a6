"""Layers of every cell and scheme, and what they should give."""

from typing import Any

import torch

from bayesrnn import nn as bnn
from bayesrnn import schemes

SCHEMES = {
    "none": schemes.none(),
    "zaremba": schemes.zaremba(0.4),
    "naive": schemes.naive(0.4),
    "naive untied": schemes.naive(0.4, gates="untied"),
    "tied": schemes.gal(0.4, gates="tied"),
    "untied": schemes.gal(0.4),
    "hidden only": schemes.gal(hidden=0.5),
    "moon": schemes.moon(0.4),
    "semeniuta": schemes.semeniuta(0.4),
    "semeniuta sequence": schemes.semeniuta(0.4, "sequence"),
    "weight_drop": schemes.weight_drop(0.4),
    "zoneout": schemes.zoneout(0.4, 0.3),
    "zoneout hidden": schemes.zoneout(hidden=0.3),
}


def build(kind: str, scheme: schemes.Scheme, inputs: int = 3, units: int = 4, **options: Any) -> Any:
    options = {"dtype": torch.float64} | options
    if kind == "RELU":
        return bnn.RNN(inputs, units, nonlinearity="relu", dropout=scheme, **options)
    return getattr(bnn, kind)(inputs, units, dropout=scheme, **options)
