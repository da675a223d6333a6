"""Write `docs/api.md`, the public names with one sentence each, from the docstrings: `python docs/api.py`."""

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin, is_typeddict

import bayesrnn as br
import bayesrnn.data
import bayesrnn.forecasting
import bayesrnn.inference
import bayesrnn.masks
import bayesrnn.training

PAGE = Path(__file__).with_name("api.md")
_HEAD = """# Public names

One sentence each, from the docstrings, which hold the equations, shapes, units, errors and an example:
`help(br.predict)`. This page is written by `python docs/api.py`; the tests hold it against the code.
"""
_GROUPS: tuple[tuple[str, ModuleType], ...] = (
    ("br", br),
    ("br.schemes", br.schemes),
    ("br.nn", br.nn),
    ("br.models", br.models),
    ("br.likelihoods", br.likelihoods),
    ("br.metrics", br.metrics),
    ("br.recalibration", br.recalibration),
    ("br.plots", br.plots),
    ("br.objective", br.objective),
    ("br.pyro", br.pyro),
    ("br.estimators", br.estimators),
    ("bayesrnn.data", bayesrnn.data),
    ("bayesrnn.forecasting", bayesrnn.forecasting),
    ("bayesrnn.training", bayesrnn.training),
    ("bayesrnn.inference", bayesrnn.inference),
    ("bayesrnn.masks", bayesrnn.masks),
)


def page() -> str:
    """Return the page."""
    return _HEAD + "".join(_section(title, module) for title, module in _GROUPS)


def _section(title: str, module: ModuleType) -> str:
    lines = [f"\n## {title}\n", _sentence(module) + "\n", "| name | what it is |", "|---|---|"]
    for name in sorted(module.__all__, key=str.lower):
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            lines.append(f"| [`{name}`](#{f'{title}.{name}'.replace('.', '')}) | {_sentence(value)} |")
        else:
            lines.append(f"| `{name}{_arguments(value)}` | {_sentence(value)} |")
    return "\n".join(lines) + "\n"


def _sentence(value: Any) -> str:
    """The first sentence of a docstring, fit for a cell; for a constant or an alias of a type, what it is."""
    if get_origin(value) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(value))
    if get_origin(value) is not None:
        return f"`{value}`".replace("|", "\\|")
    if not (inspect.ismodule(value) or callable(value)):
        return f"{value!r}"
    first = " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())
    return first.replace("|", "\\|")


def _arguments(value: Any) -> str:
    """The arguments that must be given, and an ellipsis where there are more."""
    if get_origin(value) is not None or not callable(value) or is_typeddict(value):
        return ""
    if inspect.isclass(value) and issubclass(value, Exception):
        return ""
    found = list(inspect.signature(value).parameters.values())
    shown = [_shown(p) for p in found if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    return f"({', '.join(shown + ['...'] * (len(shown) < len(found)))})"


def _shown(argument: inspect.Parameter) -> str:
    marks = {argument.VAR_POSITIONAL: "*{}", argument.KEYWORD_ONLY: "{}="}
    return marks.get(argument.kind, "{}").format(argument.name)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
