"""The outputs of a graph: the tensors of a model's output, by name."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.distributions import Distribution, Independent


def named_tensors(output: Any, name: str = "") -> dict[str, Tensor]:
    """Return the tensors of an output by name; of a distribution, its parameters."""
    if isinstance(output, Tensor):
        return {name or "output": output}
    if isinstance(output, Independent):
        return named_tensors(output.base_dist, name)
    if isinstance(output, Distribution):
        parameters = [key for key in output.arg_constraints if key != "probs" or "logits" not in output.arg_constraints]
        values: dict[str, Any] = {key: getattr(output, key, None) for key in parameters}
        if values and all(isinstance(value, Tensor) for value in values.values()):
            return {f"{name}_{key}" if name else key: value for key, value in values.items()}
        raise ValueError(
            f"the model returns a {type(output).__name__}, whose parameters are no tensors. Return the tensors that it "
            "is made from."
        )
    parts = dict(enumerate(output)) if isinstance(output, tuple | list) else output
    if not isinstance(parts, Mapping):
        raise ValueError(f"the model returns a {type(output).__name__}; a graph returns tensors or distributions.")
    tensors: dict[str, Tensor] = {}
    for key, part in parts.items():
        tensors |= named_tensors(part, f"{name or 'output'}_{key}")
    return tensors
