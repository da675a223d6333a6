"""What is stochastic in a model at test time, and what only looks as if it were."""

import ast
import inspect
import textwrap
from dataclasses import dataclass
from typing import Any

from torch import nn

from bayesrnn.nn.concrete import learned_rates
from bayesrnn.nn.masked import MaskedModule, masked_modules

__all__ = ["Audit", "AuditWarning", "Inactive", "StochasticSite", "audit", "check_stochastic"]

_FUNCTIONAL = {"dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"}


class AuditWarning(UserWarning):
    """Something in the model looks stochastic but is not sampled."""


@dataclass(frozen=True)
class StochasticSite:
    """One place where masks act.

    Attributes:
        module: Qualified name of the layer, empty for the model itself.
        kind: Class of the layer.
        site: Key of the mask, such as `hidden_l0`.
        rate: Probability of dropping (of keeping the old value for zoneout).
        span: `sequence` or `step`.
        gates: `tied` or `untied`.
    """

    module: str
    kind: str
    site: str
    rate: float
    span: str
    gates: str


@dataclass(frozen=True)
class Inactive:
    """Something that looks stochastic, and why `predict` will not sample it.

    Attributes:
        module: Qualified name, empty for the model itself.
        kind: Class of the module.
        reason: What it is and what to do about it.
        serious: Whether `predict` warns; what `predict` itself puts right is only listed.
    """

    module: str
    kind: str
    reason: str
    serious: bool = True

    def __str__(self) -> str:
        return f"{_named(self.module, self.kind)}: {self.reason}"


@dataclass(frozen=True)
class Audit:
    """The answer of `audit`: printable, and a table with `to_frame()`."""

    sites: tuple[StochasticSite, ...]
    inactive: tuple[Inactive, ...]

    @property
    def active(self) -> bool:
        """Whether any site is stochastic."""
        return bool(self.sites)

    @property
    def warnings(self) -> tuple[Inactive, ...]:
        """What a prediction should warn about."""
        return tuple(item for item in self.inactive if item.serious)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a line a site or inactive module."""
        import pandas as pd

        rows = [
            {
                "module": s.module,
                "kind": s.kind,
                "stochastic": True,
                "site": s.site,
                "rate": s.rate,
                "span": s.span,
                "gates": s.gates,
                "reason": "",
            }
            for s in self.sites
        ]
        rows += [
            {"module": i.module, "kind": i.kind, "stochastic": False, "site": "", "span": "", "gates": ""}
            | {"rate": float("nan"), "reason": i.reason}
            for i in self.inactive
        ]
        columns = ["module", "kind", "stochastic", "site", "rate", "span", "gates", "reason"]
        return pd.DataFrame(rows, columns=columns)

    def __str__(self) -> str:
        lines = [f"stochastic sites: {len(self.sites) or 'none'}"]
        lines += [
            f"  {_named(s.module, s.kind)}: {s.site} at rate {s.rate:g}, one mask a {s.span}, gates {s.gates}"
            for s in self.sites
        ]
        if self.inactive:
            lines.append("looks stochastic, but is not sampled:")
            lines += [f"  {item}" for item in self.inactive]
        return "\n".join(lines)


def audit(module: nn.Module) -> Audit:
    """List every stochastic site of a model, and everything that looks stochastic but will not be sampled.

    Rates that a `ConcreteDropout` learns are those of this moment, at which `predict` would draw.

    Args:
        module: Any torch module.

    Returns:
        An `Audit`; print it, or take `audit(module).to_frame()`.

    Raises:
        TypeError: If it is no torch module.

    Example:
        >>> from bayesrnn.nn import LSTM
        >>> audit(LSTM(3, 8, dropout=0.5)).sites[0].site
        'input_l0'
        >>> audit(nn.LSTM(3, 8, 2, dropout=0.5)).active
        False
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"audit takes a torch module, but a {type(module).__name__} was given.")
    sites: list[StochasticSite] = []
    inactive: list[Inactive] = []
    learned = {key: rate.item() for key, rate in learned_rates(module).items()}
    for name, part in module.named_modules():
        kind = type(part).__name__
        if isinstance(part, MaskedModule):
            placements = part.placements()
            sites += [
                StochasticSite(name, kind, key, learned.get(f"{name}.{key}", place.rate), place.span, place.gates)
                for key, place in placements.items()
            ]
            if not placements and kind != "Embedding":
                inactive.append(Inactive(name, kind, "its rate is 0; give dropout= a rate or a scheme."))
        else:
            inactive += [Inactive(name, kind, reason) for reason in _dormant(part)]
        if part.training and _has_modes(part):
            inactive.append(Inactive(name, kind, "in train mode; a prediction evaluates it in eval mode.", False))
    return Audit(tuple(sites), tuple(inactive))


def _dormant(part: nn.Module) -> list[str]:
    """Why a module that is none of ours will not be sampled; empty if it is not about dropout."""
    if isinstance(part, nn.modules.dropout._DropoutNd):
        fix = "use bayesrnn.nn.Dropout or bayesrnn.convert" if isinstance(part, nn.Dropout) else "it stays off"
        return [f"torch's dropout at rate {part.p:g} is off in eval mode; {fix}."] if part.p > 0 else []
    rate = getattr(part, "dropout", 0.0)
    if isinstance(part, nn.RNNBase):
        what = "acts between layers only, anew each step, and is off in eval mode; use bayesrnn.convert"
        return [f"dropout={rate:g} of torch {what}."] if rate else []
    reasons = []
    if isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0:
        reasons.append(f"its attribute dropout={rate:g} is not one of the sites that are sampled.")
    return reasons + [
        f"its forward calls {call}, which no mask stream reaches; use bayesrnn.nn.Dropout." for call in _calls(part)
    ]


def _calls(part: nn.Module) -> list[str]:
    """Names of functional dropout called in the module's own forward, read from its source."""
    if type(part).__module__.startswith(("torch.", "bayesrnn.nn")):
        return []
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(type(part).forward)))
    except (OSError, TypeError, SyntaxError):
        return []
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        text = ast.unparse(node.func)
        if text.split(".")[-1] in _FUNCTIONAL and not text.startswith("self."):
            found.append(f"{text}()")
    return sorted(set(found))


def _has_modes(part: nn.Module) -> bool:
    """Whether the mode changes what the module itself computes."""
    return isinstance(part, MaskedModule | nn.modules.dropout._DropoutNd | nn.modules.batchnorm._BatchNorm | nn.RNNBase)


def _named(module: str, kind: str) -> str:
    return f"{module} ({kind})" if module else f"the model ({kind})"


def check_stochastic(models: list[nn.Module], multiplier: float = 1.0, *, drop_words: bool = True) -> None:
    """Refuse models whose draws would all be equal, and rates that the multiplier takes to 1.

    Raises:
        ValueError: That says which model of an ensemble draws nothing, why, and what to do.
    """
    placed = [[p for m in masked_modules(model).values() for p in m.placements().values()] for model in models]
    drawn = [[p for p in found if drop_words or p.site != "word"] for found in placed]
    quiet = [k for k, found in enumerate(drawn) if not found]
    if quiet:
        raise ValueError(_quiet_message(models, quiet, words_only=[k for k in quiet if placed[k]]))
    highest = max((p.rate for found in drawn for p in found), default=0.0) * multiplier
    if highest >= 1.0:
        raise ValueError(
            f"multiplier {multiplier:g} takes the highest rate to {highest:g}; rates must stay below 1. "
            f"Give a multiplier below {multiplier / highest:g}."
        )


def _quiet_message(models: list[nn.Module], quiet: list[int], words_only: list[int]) -> str:
    """Say which models draw nothing, why, and what to do."""
    many = len(models) > 1
    plain = [k for k in quiet if k not in words_only]
    numbers = ", ".join(map(str, plain or words_only))
    plural = "members" if len(plain or words_only) > 1 else "member"
    where = f"{plural} {numbers} of this ensemble (the first is 0)" if many else "this model"
    if not plain:
        return (
            f"nothing in {where} is stochastic with drop_words=False: the only masks there are those of word types, "
            "and drop_words=False leaves them off. Pass drop_words=True, or draws=0 for the deterministic pass."
        )
    looks = "; ".join(f"{i.module or 'the model'} ({i.kind}): {i.reason}" for i in audit(models[plain[0]]).warnings)
    fix = "leave it out or give it dropout" if many else "give the model dropout"
    return (
        f"nothing in {where} is stochastic at test time, so all its draws would be equal. Pass draws=0 for the "
        f"deterministic pass, or {fix}. {looks or 'It has no dropout of any kind.'}"
    )
