"""Read and set the rates of a model's layers, by layer name and mask key."""

from collections.abc import Mapping

from torch import nn

from bayesrnn.nn.masked import masked_modules


def layer_rates(model: nn.Module) -> dict[str, dict[str, float]]:
    """Return the rate of every mask of every layer.

    Example:
        >>> from bayesrnn.nn import GRU
        >>> layer_rates(nn.Sequential(GRU(2, 4, dropout=0.1)))
        {'0': {'input_l0': 0.1, 'hidden_l0': 0.1}}
    """
    return {
        name: {key: place.rate for key, place in module.placements().items()}
        for name, module in masked_modules(model).items()
    }


def set_layer_rates(model: nn.Module, rates: Mapping[str, Mapping[str, float]]) -> None:
    """Set the rates of layers that have these masks.

    Raises:
        ValueError: If there is no such layer or mask, or a rate is not in [0, 1).
    """
    layers = masked_modules(model)
    for name, by_key in rates.items():
        if name not in layers:
            raise ValueError(f"the model has no layer with masks named {name!r}, only {sorted(layers)}.")
        layers[name].set_rates(by_key)
