"""Random numbers that a module's own code draws, read from its source."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from torch import nn

_DROPOUT = {
    "dropout", "dropout_", "dropout1d", "dropout2d", "dropout3d", "feature_dropout", "feature_dropout_",
    "alpha_dropout", "alpha_dropout_", "feature_alpha_dropout", "feature_alpha_dropout_",
}  # fmt: skip
_DRAWS = {
    "bernoulli", "binomial", "multinomial", "normal", "rand", "rand_like", "randint", "randn", "randn_like", "rsample",
    "gumbel_softmax",
}  # fmt: skip
_DRAWS_IN_PLACE = {"bernoulli_", "uniform_", "normal_", "random_", "exponential_", "geometric_"}
_FOREIGN = ("torch", "bayesrnn", "numpy")


@dataclass(frozen=True)
class RandomCall:
    """One place in the code where random numbers are drawn.

    Attributes:
        text: The call, such as `F.dropout()`.
        dropout: Whether it is one of torch's dropout functions.
        in_eval: Whether the code draws in eval mode too.
    """

    text: str
    dropout: bool
    in_eval: bool


def random_calls(kind: type[nn.Module]) -> list[RandomCall]:
    """Return the random calls in `forward` of a module class, and in the methods and functions that it calls.

    Code of torch, numpy and this library is not read; code without source is skipped.

    Example:
        >>> class Noisy(nn.Module):
        ...     def forward(self, x):
        ...         return nn.functional.dropout(x, 0.5)
        >>> random_calls(nn.Linear)
        []
    """
    if _foreign(kind.forward):
        return []
    calls: dict[str, RandomCall] = {}
    waiting: list[Callable[..., Any]] = [kind.forward]
    read: set[Callable[..., Any]] = set()
    while waiting:
        function = inspect.unwrap(waiting.pop())
        if function in read or not isinstance(function, FunctionType):
            continue
        read.add(function)
        tree = _tree(function)
        if tree is None:
            continue
        watches_mode = any(isinstance(node, ast.Attribute) and node.attr == "training" for node in ast.walk(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                call = _random(node, watches_mode)
                if call is not None:
                    calls.setdefault(call.text, call)
                waiting.extend(_called(node, function, kind))
    return sorted(calls.values(), key=lambda call: call.text)


def _foreign(function: Any) -> bool:
    return (getattr(function, "__module__", "") or "").split(".")[0] in _FOREIGN


def _tree(function: FunctionType) -> ast.AST | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None


def _random(node: ast.Call, watches_mode: bool) -> RandomCall | None:
    text = ast.unparse(node.func)
    own, name = text.startswith("self."), text.split(".")[-1]
    if name in _DROPOUT and not own:
        return RandomCall(f"{text}()", True, _stays_on(node))
    drawn = name in _DRAWS_IN_PLACE or (name in _DRAWS and not own) or (name == "sample" and "Bernoulli" in text)
    if drawn or text.startswith(("np.random.", "numpy.random.", "random.")):
        return RandomCall(f"{text}()", False, not watches_mode)
    return None


def _stays_on(node: ast.Call) -> bool:
    """Whether a dropout function is called with training=True, which is its default."""
    argument = node.args[2] if len(node.args) > 2 else None
    for keyword in node.keywords:
        if keyword.arg in ("training", "train"):
            argument = keyword.value
    if argument is None:
        return not any(keyword.arg is None for keyword in node.keywords)
    return isinstance(argument, ast.Constant) and bool(argument.value)


def _called(node: ast.Call, function: FunctionType, kind: type[nn.Module]) -> Iterator[Callable[..., Any]]:
    """Yield the user's own function or method that a call runs, where the name tells it."""
    target = None
    if isinstance(node.func, ast.Name):
        target = function.__globals__.get(node.func.id)
    elif (
        isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id == "self"
    ):
        target = getattr(kind, node.func.attr, None)
    if target is not None and not _foreign(target):
        yield target
