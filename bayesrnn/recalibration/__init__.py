"""Recalibration: maps fitted on held-out predictives; `fit(predictive, target)`, `apply(predictive)`, JSON."""

from typing import Any

from bayesrnn.recalibration.adaptive import AdaptiveConformal
from bayesrnn.recalibration.class_sets import ClassSets, ConformalSets
from bayesrnn.recalibration.conformal import SplitConformal
from bayesrnn.recalibration.horizon import PerHorizon
from bayesrnn.recalibration.isotonic import Isotonic
from bayesrnn.recalibration.part_scaling import PartScaling
from bayesrnn.recalibration.protocol import AbstractRecalibrator
from bayesrnn.recalibration.quantile import QuantileRecalibration
from bayesrnn.recalibration.quantiles import ConformalizedQuantiles
from bayesrnn.recalibration.temperature import Temperature
from bayesrnn.recalibration.variance_scaling import VarianceScaling
from bayesrnn.recalibration.vector_scaling import VectorScaling

__all__ = [
    "AbstractRecalibrator",
    "AdaptiveConformal",
    "ClassSets",
    "ConformalSets",
    "ConformalizedQuantiles",
    "Isotonic",
    "PartScaling",
    "PerHorizon",
    "QuantileRecalibration",
    "SplitConformal",
    "Temperature",
    "VarianceScaling",
    "VectorScaling",
    "from_dict",
]

_KINDS = {
    kind.name: kind
    for kind in (
        AdaptiveConformal,
        ConformalSets,
        ConformalizedQuantiles,
        Isotonic,
        PartScaling,
        PerHorizon,
        QuantileRecalibration,
        SplitConformal,
        Temperature,
        VarianceScaling,
        VectorScaling,
    )
}


def from_dict(values: dict[str, Any]) -> Any:
    """Make the recalibrator that its `to_dict` described, whichever it is.

    Raises:
        ValueError: If the name is none of ours.
    """
    name = values.get("name") if isinstance(values, dict) else None
    if name not in _KINDS:
        raise ValueError(f"no recalibrator is called {name!r}; legal names are {sorted(_KINDS)}.")
    return _KINDS[name].from_dict(values)
