"""Several networks used as one model: an ensemble."""

from collections.abc import Iterable, Sequence

from torch import nn

from bayesrnn.predictive import ClassPredictive, Predictive


def as_models(model: nn.Module | Sequence[nn.Module], verb: str) -> list[nn.Module]:
    """Return the networks of an ensemble, or the one model, as a list.

    Raises:
        TypeError: If it is neither a torch module nor a list of them.
        ValueError: If the networks are on different devices.
    """
    single = isinstance(model, nn.Module) and type(model) is not nn.ModuleList
    if not single and (isinstance(model, str) or not isinstance(model, Iterable)):
        raise TypeError(_wrong(verb, f"{model!r:.60} ({type(model).__name__})"))
    models = [model] if single else list(model)  # type: ignore[arg-type]
    foreign = [type(m).__name__ for m in models if not isinstance(m, nn.Module)]
    if foreign or not models:
        given = f"a {type(model).__name__} of {', '.join(sorted(set(foreign)))}" if foreign else "an empty list"
        raise TypeError(_wrong(verb, given))
    devices = sorted({str(p.device) for m in models for p in m.parameters()})  # type: ignore[union-attr]
    if len(models) > 1 and len(devices) > 1:
        raise ValueError(f"the networks of an ensemble must be on one device, but they are on {', '.join(devices)}.")
    return models  # type: ignore[return-value]


def as_one(models: list[nn.Module]) -> nn.Module:
    """Return a module that holds all of them."""
    return nn.ModuleList(models) if len(models) > 1 else models[0]


def with_labels(predictive: Predictive, models: Sequence[nn.Module]) -> Predictive:
    """Return a class predictive with the `labels` of its networks, where they have one per class, as class names.

    Raises:
        ValueError: If the networks have different labels.
    """
    labels = [getattr(network, "labels", None) for network in models]
    if not isinstance(predictive, ClassPredictive) or not isinstance(labels[0], list | tuple):
        return predictive
    if any(list(other or ()) != list(labels[0]) for other in labels[1:]):
        raise ValueError(f"the networks of an ensemble must name their classes alike, but have labels {labels}.")
    names = tuple(map(str, labels[0]))
    fits = len(names) == predictive.classes == len(set(names))
    return predictive.with_class_names(names) if fits else predictive


def _wrong(verb: str, given: str) -> str:
    return (
        f"{verb} takes a torch module or a list of them, but {given} was given. The model comes first, then what it "
        "reads; a model from a file is bayesrnn.load(path)."
    )
