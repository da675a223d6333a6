"""Recalibration: maps fitted on held-out predictives; `fit(predictive, target)`, `apply(predictive)`, JSON."""

from typing import Any

from .adaptive import AdaptiveConformal
from .conformal import SplitConformal
from .horizon import PerHorizon
from .isotonic import Isotonic
from .protocol import AbstractRecalibrator
from .quantile import QuantileRecalibration
from .quantiles import ConformalizedQuantiles
from .temperature import Temperature
from .variance_scaling import VarianceScaling
from .vector_scaling import VectorScaling

__all__ = [
    "AbstractRecalibrator",
    "AdaptiveConformal",
    "ConformalizedQuantiles",
    "Isotonic",
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
        ConformalizedQuantiles,
        Isotonic,
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
