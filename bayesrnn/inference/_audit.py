"""List what is stochastic in a model at test time, and what only looks so or stays out of control."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from bayesrnn.inference._source import random_calls
from bayesrnn.nn.masked import MaskedModule, masked_modules


class AuditWarning(UserWarning):
    """Something in the model looks stochastic but is not sampled, or draws outside the mask stream."""


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
    """Something that `predict` does not sample from the mask stream although it looks stochastic, and why.

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
    """Result of `audit`: printable, and a table with `to_frame()`."""

    sites: tuple[StochasticSite, ...]
    inactive: tuple[Inactive, ...]

    @property
    def active(self) -> bool:
        """Whether any site is stochastic."""
        return bool(self.sites)

    @property
    def warnings(self) -> tuple[Inactive, ...]:
        """The items that a prediction warns of."""
        return tuple(item for item in self.inactive if item.serious)

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row per site and per inactive module."""
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
            f"  {_named(s.module, s.kind)}: {s.site} at rate {s.rate:g}, one mask per {s.span}, gates {s.gates}"
            for s in self.sites
        ]
        if self.inactive:
            lines.append("not sampled from the mask stream:")
            lines += [f"  {item}" for item in self.inactive]
        return "\n".join(lines)


def audit(module: nn.Module) -> Audit:
    """List every stochastic site of a model, and everything random that the mask stream does not reach.

    The second list holds torch's dropout layers (off in eval mode), dropout functions and hand-written masks in the
    source of `forward` (off, or always on), and BatchNorm without running statistics, which mixes draws and rows.
    Rates that a `ConcreteDropout` learns are the current ones.

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
    for name, part in module.named_modules():
        kind = type(part).__name__
        if isinstance(part, MaskedModule):
            placements = part.placements()
            sites += [
                StochasticSite(name, kind, key, place.rate, place.span, place.gates)
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
    """Return what in a module that is none of ours draws outside the mask stream, or mixes rows."""
    reasons = _in_its_code(part)
    rate = getattr(part, "dropout", 0.0)
    if isinstance(part, nn.modules.dropout._DropoutNd):
        fix = "use bayesrnn.nn.Dropout or bayesrnn.convert" if isinstance(part, nn.Dropout) else "it stays off"
        return reasons or ([f"torch's dropout at rate {part.p:g} is off in eval mode; {fix}."] if part.p > 0 else [])
    if isinstance(part, nn.RNNBase):
        what = "acts between layers only, anew each step, and is off in eval mode; use bayesrnn.convert"
        return [f"dropout={rate:g} of torch {what}."] if rate else []
    if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
        return [
            "without running statistics it normalizes by the batch at hand, in which the draws of all rows are "
            "mixed. Build it with track_running_stats=True, or use LayerNorm or GroupNorm."
        ]
    if isinstance(rate, int | float) and not isinstance(rate, bool) and rate > 0:
        reasons.insert(0, f"its attribute dropout={rate:g} is not one of the sites that are sampled.")
    return reasons


def _in_its_code(part: nn.Module) -> list[str]:
    """Return a sentence per random call in the module's own code."""
    reasons = []
    for call in random_calls(type(part)):
        if call.in_eval:
            where = (
                "which is on in eval mode too: it draws from torch's random state, not from the mask stream, so its "
            )
            where += "masks do not hold for a sequence"
        else:
            where = "which is off in eval mode: no mask stream reaches it"
        fix = "use bayesrnn.nn.Dropout" if call.dropout else "for a mask over all steps use bayesrnn.nn.Dropout"
        reasons.append(f"its forward calls {call.text}, {where}; {fix}.")
    return reasons


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
    drawn = [[p for p in placements if drop_words or p.site != "word"] for placements in placed]
    quiet = [k for k, placements in enumerate(drawn) if not placements]
    if quiet:
        raise ValueError(_quiet_message(models, quiet, words_only=[k for k in quiet if placed[k]]))
    highest = max((p.rate for placements in drawn for p in placements), default=0.0) * multiplier
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
            f"nothing in {where} is stochastic with drop_words=False: the only masks there are on word types, "
            "and drop_words=False leaves them off. Pass drop_words=True, or draws=0 for the deterministic pass."
        )
    looks = "; ".join(f"{i.module or 'the model'} ({i.kind}): {i.reason}" for i in audit(models[plain[0]]).warnings)
    fix = "leave it out or give it dropout" if many else "give the model dropout"
    return (
        f"nothing in {where} is stochastic at test time, so all its draws would be equal. Pass draws=0 for the "
        f"deterministic pass, or {fix}. {looks or 'It has no dropout of any kind.'}"
    )
