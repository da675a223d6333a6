"""Predictives for xarray and ArviZ, neither of which this package needs otherwise."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesrnn.predictive.base import Predictive
from bayesrnn.predictive.classes import ClassPredictive
from bayesrnn.predictive.columns import numbers
from bayesrnn.predictive.continuous import ContinuousPredictive
from bayesrnn.predictive.distributions.mixture import MixtureDistribution


def to_xarray(predictive: Predictive) -> Any:
    """Return a Dataset with the columns of `to_frame()` over row and step, and the draws where they were kept."""
    xarray = _xarray()
    table = predictive.to_frame()
    dims = [name for name in table.columns if name in ("row", "step") or name.startswith("axis_")]
    columns = [c for c in table.columns if not c.startswith("probability_") and c != "sequence_id"]
    data = table[columns].set_index(dims).to_xarray()
    if predictive.sequence_ids is not None:
        data = data.assign_coords(sequence_id=("row", predictive.sequence_ids.cpu().numpy()))
    if isinstance(predictive, ClassPredictive):
        data = data.assign_coords({"class": list(predictive.names)})
        data["probabilities"] = ([*dims, "class"], numbers(predictive.probabilities))
        dims = [*dims, "class"]
    draws = _draws(predictive)
    if draws is not None:
        data["draws"] = (["network", "draw", *dims], _by_network(draws, predictive.networks))
    return data.assign_attrs(_facts(predictive), **{"created by": f"bayesrnn, xarray {xarray.__version__}"})


def to_arviz(predictive: ContinuousPredictive | ClassPredictive, target: Any, seed: int) -> Any:
    """Return a DataTree with the groups of ArviZ: a chain per network, and its draws."""
    xarray = _xarray()
    draws = _draws(predictive)
    if draws is None:
        raise ValueError(
            "ArviZ wants draws, and this predictive has none: predict with keep_draws=True. Samples of another model "
            "are draws too: Predictive.from_samples."
        )
    shape, networks = tuple(predictive.shape), predictive.networks
    dims = ["row", "step", *(f"axis_{k}" for k in range(2, len(shape)))][: len(shape)]
    coords = {name: np.arange(size) for name, size in zip(dims, shape)}
    more = ["class"] if isinstance(predictive, ClassPredictive) else []
    inside = {"class": list(predictive.names)} if isinstance(predictive, ClassPredictive) else {}

    def group(values: dict[str, tuple[list[str], Any]], coords: dict[str, Any]) -> Any:
        return xarray.Dataset(values, coords, _facts(predictive))

    chains = {"chain": np.arange(networks), "draw": np.arange(len(draws) // networks)}
    name = "probabilities" if more else "mean"
    of_draws = {name: (["chain", "draw", *dims, *more], _by_network(draws, networks))}
    sampled = {"y": (["chain", "draw", *dims], _by_network(_one_of_each_draw(predictive, len(draws), seed), networks))}
    groups = {
        "posterior": group(of_draws, {**chains, **coords, **inside}),
        "posterior_predictive": group(sampled, {**chains, **coords}),
    }
    if target is not None:
        observed = torch.as_tensor(np.asarray(target))
        if tuple(observed.shape) != shape:
            raise ValueError(f"target of shape {tuple(observed.shape)} does not fit the predictive of shape {shape}.")
        groups["observed_data"] = group({"y": (dims, observed.numpy())}, coords)
    return xarray.DataTree.from_dict(groups)


def _one_of_each_draw(predictive: Any, count: int, seed: int) -> Tensor:
    """Return a sample of the target from each draw, (S, B, ...)."""
    if isinstance(predictive, ClassPredictive):
        p = predictive.draws.double().cpu().flatten(0, -2)
        generator = torch.Generator().manual_seed(seed)
        return torch.multinomial(p, 1, generator=generator).reshape(count, *predictive.shape)
    distribution = predictive.distribution
    if isinstance(distribution, MixtureDistribution) and distribution.size == count:
        return distribution.sample_of_each(torch.Generator().manual_seed(seed))
    return predictive.paths(count, seed)


def _draws(predictive: Any) -> Tensor | None:
    try:
        return predictive.draws
    except (AttributeError, ValueError):  # not kept, or there are none
        return None


def _by_network(draws: Tensor, networks: int) -> Any:
    """Return draws (S * M, ...) as (M, S, ...)."""
    return numbers(draws.unflatten(0, (-1, networks)).transpose(0, 1))


def _facts(predictive: Predictive) -> dict[str, Any]:
    seed = predictive.seed
    return {"draws": predictive.draws_used, "sampling": predictive.sampling} | ({} if seed is None else {"seed": seed})


def _xarray() -> Any:
    try:
        import xarray
    except ImportError:
        raise ImportError("this needs xarray, which is not installed: pip install xarray (ArviZ brings it).") from None
    if not hasattr(xarray, "DataTree"):
        raise ImportError(f"this needs xarray 2024.10 or later, but {xarray.__version__} is installed.")
    return xarray
