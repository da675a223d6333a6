"""A dropout scheme as data: where masks act, at what rates, how long they live, and whether gates share them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from bayesrnn._checks import check_choice, check_rate

Site = Literal[
    "word", "input", "between", "hidden", "output", "cell", "candidate", "weight", "keep_cell", "keep_hidden"
]  # fmt: skip
Span = Literal["sequence", "step"]
Gates = Literal["tied", "untied"]


@dataclass(frozen=True, slots=True)
class Placement:
    """One site of a scheme: where a mask acts, at what rate, how long it lives, whether gates share it.

    Args:
        site: Where the mask acts (see the table of `bayesrnn.schemes`).
        rate: Probability of dropping a unit, in [0, 1). For `keep_cell` and `keep_hidden`: of keeping the old value.
        span: `sequence` for one mask along all steps, `step` for a new one each step.
        gates: `tied` if the gates of a layer share one mask, `untied` if each has its own.

    Raises:
        ValueError: If the rate is outside [0, 1) or a name is unknown.
    """

    site: Site
    rate: float
    span: Span = "sequence"
    gates: Gates = "tied"

    def __post_init__(self) -> None:
        check_choice(self.site, "site", get_args(Site))
        check_choice(self.span, "span", get_args(Span))
        check_choice(self.gates, "gates", get_args(Gates))
        object.__setattr__(self, "rate", check_rate(self.rate, f"the rate of site {self.site!r}"))
        if self.gates == "untied" and self.site not in ("input", "between", "hidden"):
            raise ValueError(
                f"gates='untied' is for the sites 'input', 'between' and 'hidden'; {self.site!r} has no gates."
            )

    @property
    def keeps_old(self) -> bool:
        """Whether a mask of 1 keeps the old value (zoneout)."""
        return self.site in ("keep_cell", "keep_hidden")


@dataclass(frozen=True, slots=True)
class Scheme:
    """A named set of placements; each site at most once.

    Example:
        >>> from bayesrnn.schemes import gal
        >>> gal(0.25).rate("hidden")
        0.25
        >>> gal(input=0.5, hidden=0.3).rate("word")
        0.0
    """

    name: str
    placements: tuple[Placement, ...] = ()

    def __post_init__(self) -> None:
        sites = [p.site for p in self.placements]
        if len(set(sites)) != len(sites):
            raise ValueError(f"scheme {self.name!r} names a site twice: {sites}. Give each site one placement.")

    def placement(self, site: Site) -> Placement | None:
        """Return the placement at `site`, or None where the scheme has none or its rate is 0."""
        return next((p for p in self.placements if p.site == site and p.rate > 0.0), None)

    def rate(self, site: Site) -> float:
        """Return the rate at `site`, 0 where the scheme has no such site."""
        return next((p.rate for p in self.placements if p.site == site), 0.0)

    @property
    def active(self) -> bool:
        """Whether any site has a rate above 0."""
        return any(p.rate > 0.0 for p in self.placements)

    def with_rates(self, **rates: float) -> "Scheme":
        """Return a copy with other rates at the named sites, which the scheme must have."""
        unknown = set(rates) - {p.site for p in self.placements}
        if unknown:
            raise ValueError(f"scheme {self.name!r} has no site {sorted(unknown)}; it has {self.sites}.")
        return replace(self, placements=tuple(replace(p, rate=rates.get(p.site, p.rate)) for p in self.placements))

    @property
    def sites(self) -> list[str]:
        """The sites of the scheme, in its own order."""
        return [p.site for p in self.placements]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data from which `from_dict` makes an equal scheme."""
        return {"name": self.name, "placements": [asdict(p) for p in self.placements]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Scheme":
        """Make the scheme that `to_dict` described."""
        return cls(str(data["name"]), tuple(Placement(**p) for p in data["placements"]))

    def __str__(self) -> str:
        rates = ", ".join(f"{p.site}={p.rate:g}" for p in self.placements)
        return f"{self.name}({rates})"
