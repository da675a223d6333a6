"""One default per idea: levels, headline level and draws are the same wherever a reader meets them."""

import inspect
import pkgutil
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

import bayesrnn

DEFAULTS: dict[str, set[Any]] = {"levels": {(0.5, 0.8, 0.95)}, "level": {0.9}, "draws": {100}}
PACKAGES = ("inference", "predictive", "metrics", "report", "comparison", "tuning")
ELSEWHERE = {
    "draws_interval",  # the confidence of an error bar, not the level of a predictive interval
    "translate", "translate_draws",  # a draw is a whole search for a sentence
}  # fmt: skip


def _modules() -> list[ModuleType]:
    names = [name for _, name, _ in pkgutil.walk_packages(bayesrnn.__path__, "bayesrnn.")]
    return [import_module(name) for name in names if name.split(".")[1] in PACKAGES]


def _functions(module: ModuleType) -> dict[str, Any]:
    own = {n: f for n, f in vars(module).items() if getattr(f, "__module__", None) == module.__name__}
    methods = {n: f for c in own.values() if inspect.isclass(c) for n, f in vars(c).items() if inspect.isfunction(f)}
    return {n: f for n, f in {**own, **methods}.items() if inspect.isfunction(f) and n not in ELSEWHERE}


@pytest.mark.parametrize("argument", DEFAULTS)
def test_an_argument_has_one_default(argument: str) -> None:
    seen = {
        f"{module.__name__}.{name}": parameter.default
        for module in _modules()
        for name, function in _functions(module).items()
        if (parameter := inspect.signature(function).parameters.get(argument)) is not None
        and parameter.default not in (inspect.Parameter.empty, None)
    }
    assert seen
    assert set(seen.values()) == DEFAULTS[argument], seen
