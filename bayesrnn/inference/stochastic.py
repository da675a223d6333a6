"""Is there anything to draw in the models that are to read a text?"""

from torch import nn

from bayesrnn.inference.audit import audit
from bayesrnn.nn.masked import masked_modules

__all__ = ["check_stochastic"]


def check_stochastic(models: list[nn.Module], multiplier: float = 1.0, *, words: bool = True) -> None:
    """Refuse models whose draws would all be equal, and rates that the multiplier takes to 1.

    Raises:
        ValueError: That says which model of an ensemble draws nothing, why, and what to do.
    """
    placed = [[p for m in masked_modules(model).values() for p in m.placements().values()] for model in models]
    drawn = [[p for p in found if words or p.site != "word"] for found in placed]
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
            f"nothing in {where} is stochastic with words=False: the only masks there are those of word types, and "
            "words=False leaves them off. Pass words=True, or draws=0 for the deterministic pass."
        )
    looks = "; ".join(f"{i.module or 'the model'} ({i.kind}): {i.reason}" for i in audit(models[plain[0]]).warnings)
    fix = "leave it out or give it dropout" if many else "give the model dropout"
    return (
        f"nothing in {where} is stochastic at test time, so all its draws would be equal. Pass draws=0 for the "
        f"deterministic pass, or {fix}. {looks or 'It has no dropout of any kind.'}"
    )
