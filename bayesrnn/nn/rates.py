"""The rates of a model's layers, read and set: by the name of the layer and the site."""

from collections.abc import Mapping

from torch import nn

from bayesrnn.nn.dropout import Dropout
from bayesrnn.nn.embedding import Embedding
from bayesrnn.nn.masked import masked_modules
from bayesrnn.nn.recurrent import Recurrent

__all__ = ["layer_rates", "set_layer_rates"]


def layer_rates(model: nn.Module) -> dict[str, dict[str, float]]:
    """Return the rate of every active site of every layer with masks.

    Example:
        >>> from bayesrnn.nn import GRU
        >>> layer_rates(nn.Sequential(GRU(2, 4, dropout=0.1)))
        {'0': {'input': 0.1, 'hidden': 0.1}}
    """
    return {
        name: {place.site: place.rate for place in module.placements().values()}
        for name, module in masked_modules(model).items()
    }


def set_layer_rates(model: nn.Module, rates: Mapping[str, Mapping[str, float]]) -> None:
    """Set the rates of layers that have masks at those sites.

    Raises:
        ValueError: If there is no such layer, or a rate is not in [0, 1).
    """
    layers = masked_modules(model)
    for name, sites in rates.items():
        layer = layers.get(name)
        if layer is None:
            raise ValueError(f"the model has no layer with masks named {name!r}, only {sorted(layers)}.")
        if isinstance(layer, Dropout) and sites:
            layer.p = float(sites["output"])
        elif isinstance(layer, Recurrent | Embedding):
            layer.scheme = layer.scheme.with_rates(**sites)
