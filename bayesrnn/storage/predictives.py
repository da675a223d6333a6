"""A predictive in one safetensors file: tensors, and JSON that says what they are; reading it can run no code."""

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from torch import distributions as D

from bayesrnn._checks import check_path
from bayesrnn.likelihoods import counts, families
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive, Origin, Predictive, TokenPredictive
from bayesrnn.predictive.distributions.abstract import AbstractDistribution
from bayesrnn.predictive.distributions.empirical import EmpiricalDistribution, PointDistribution
from bayesrnn.predictive.distributions.joined import JoinedDistribution
from bayesrnn.predictive.distributions.mixture import MixtureDistribution
from bayesrnn.predictive.distributions.moments import MomentsDistribution
from bayesrnn.predictive.distributions.quantiles import QuantileDistribution
from bayesrnn.storage.weights import Packed, read_tensors

_FORMAT = "bayesrnn.predictive/1"
_KINDS: dict[str, Any] = {k.__name__: k for k in (ContinuousPredictive, ClassPredictive, TokenPredictive)}
_FAMILIES: dict[str, Any] = {
    f"{kind.__module__.split('.')[0]}.{kind.__name__}": kind
    for kind in (
        D.Normal, D.Laplace, D.StudentT, D.LogNormal, D.Gamma, D.Exponential, D.Beta, D.Poisson, D.NegativeBinomial,
        D.Geometric, D.Categorical, counts.StudentT, counts.NegativeBinomial, counts.Poisson,
    )
}  # fmt: skip


def save_predictive(predictive: Predictive, path: str | os.PathLike[str]) -> None:
    """Write a predictive to a file, in one step; `load_predictive` gives the same numbers, bit for bit.

    Raises:
        TypeError: If it is a recalibrated one (keep the predictive before, and the recalibration with
            `br.save(..., recalibration=)`), of a torch distribution that is not known here, or no predictive.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/forecast.safetensors"
        >>> save_predictive(Predictive.from_gaussian(torch.zeros(3), torch.ones(3)), path)
        >>> load_predictive(path).std
        tensor([1., 1., 1.])
    """
    if type(predictive) not in _KINDS.values():
        raise TypeError(f"save_predictive takes a predictive, but a {type(predictive).__name__} was given.")
    box = _Box({})
    content = {field.name: box.put(getattr(predictive, field.name)) for field in fields(predictive)}  # type: ignore[arg-type]
    facts = {"format": _FORMAT, "kind": type(predictive).__name__, "content": json.dumps(content)}
    Packed(box.tensors, facts).write(check_path(path))


def load_predictive(path: str | os.PathLike[str]) -> Any:
    """Return the predictive in a file, on the CPU.

    Raises:
        ValueError: If the file is missing, damaged, or no predictive.
    """
    packed = read_tensors(check_path(path))
    if packed.facts.get("format") != _FORMAT or packed.facts.get("kind") not in _KINDS:
        raise ValueError(f"{path} holds no predictive that this version knows. Was it written by save_predictive?")
    box = _Box(packed.tensors)
    content = {name: box.take(value) for name, value in json.loads(packed.facts["content"]).items()}
    return _KINDS[packed.facts["kind"]](**content)


class _Box:
    """Tensors by number, and values as JSON that names them."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    def put(self, value: Any) -> Any:
        """Return a value as JSON takes it."""
        if isinstance(value, Tensor):
            name = str(len(self.tensors))
            self.tensors[name] = value.detach().cpu().contiguous().clone()
            return {"tensor": name}
        if isinstance(value, torch.dtype):
            return {"dtype": str(value).removeprefix("torch.")}
        if isinstance(value, Origin):
            return {"origin": {name: self.put(item) for name, item in vars(value).items()}}
        if isinstance(value, AbstractDistribution):
            return {"distribution": self._distribution(value)}
        if isinstance(value, dict):
            return {"dict": {name: self.put(item) for name, item in value.items()}}
        return {"tuple": list(value)} if isinstance(value, tuple) else value

    def take(self, value: Any) -> Any:
        """Return what `put` was given."""
        if not isinstance(value, Mapping):
            return value
        (kind, inside), *_ = value.items()
        if kind == "tensor":
            return self.tensors[inside]
        if kind == "dtype":
            return getattr(torch, inside)
        if kind == "origin":
            return Origin(**{name: self.take(item) for name, item in inside.items()})
        if kind == "dict":
            return {name: self.take(item) for name, item in inside.items()}
        return tuple(inside) if kind == "tuple" else self._made(inside)

    def _distribution(self, value: AbstractDistribution) -> list[Any]:
        """Return [kind, parts, ...]."""
        kind = type(value)
        if kind is MixtureDistribution:
            return ["mixture", self._family(value.components), value.networks]  # type: ignore[attr-defined]
        if kind is PointDistribution:
            return ["points", self.put(value.samples), value.networks]  # type: ignore[attr-defined]
        if kind is EmpiricalDistribution:
            return ["samples", self.put(value.samples)]  # type: ignore[attr-defined]
        if kind is QuantileDistribution:
            return ["quantiles", self.put(value.levels), self.put(value.values)]  # type: ignore[attr-defined]
        if kind is MomentsDistribution:
            parts = (value.mean(), value.aleatoric(), value.epistemic(), value.between_networks())
            return ["moments", *(self.put(part.to(value.dtype)) for part in parts)]
        if kind is JoinedDistribution:
            parts, index = value.parts, value.index  # type: ignore[attr-defined]
            return ["joined", [self._distribution(p) for p in parts], [self.put(i) for i in index], value.dim]  # type: ignore[attr-defined]
        raise TypeError(
            f"a {kind.__name__} cannot be saved: a recalibrated predictive is the one before with a map on top. Save "
            "that one, and the recalibration with br.save(model, path, recalibration=...)."
        )

    def _made(self, value: list[Any]) -> AbstractDistribution:
        kind, *parts = value
        if kind == "mixture":
            return MixtureDistribution(self._made_family(parts[0]), parts[1])
        if kind == "joined":
            return JoinedDistribution([self._made(p) for p in parts[0]], [self.take(i) for i in parts[1]], parts[2])
        makes: dict[str, Any] = {"points": PointDistribution, "samples": EmpiricalDistribution}
        makes |= {"quantiles": QuantileDistribution, "moments": MomentsDistribution}
        return makes[kind](*map(self.take, parts))

    def _family(self, value: D.Distribution) -> list[Any]:
        """Return [name, parameters]."""
        value = families.peel(value)
        if isinstance(value, D.MixtureSameFamily):
            inner = (value.mixture_distribution, value.component_distribution)
            return ["mixture", [self._family(part) for part in inner]]
        name = f"{type(value).__module__.split('.')[0]}.{type(value).__name__}"
        if _FAMILIES.get(name) is not type(value):
            raise TypeError(f"{name} is not one of the distributions that can be saved: {', '.join(_FAMILIES)}.")
        return [name, {k: self.put(v) for k, v in families.parameters_of(value).items()}]

    def _made_family(self, value: list[Any]) -> D.Distribution:
        name, inside = value
        if name == "mixture":
            mixture, components = map(self._made_family, inside)
            return D.MixtureSameFamily(mixture, components, validate_args=False)  # type: ignore[arg-type]
        return _FAMILIES[name](**{k: self.take(v) for k, v in inside.items()}, validate_args=False)
