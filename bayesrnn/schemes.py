"""Dropout schemes: which masks each paper uses, where, and at which rates.

A scheme says at which sites masks act, how long a mask lives, whether the gates share it, and at what rate:

========================  ================================  =====================  ====================
scheme                    sites                             span                   source
========================  ================================  =====================  ====================
`none()`                  --                                --                     --
`zaremba(p)`              input, output                     step                   arXiv:1409.2329
`naive(p)`                input, hidden, output             step                   arXiv:1512.05287
`gal(p, gates="untied")`  word, input, hidden, output       sequence               arXiv:1512.05287
`moon(p)`                 cell                              sequence               RNNDrop, ASRU 2015
`semeniuta(p)`            candidate                         step or sequence       arXiv:1603.05118
`weight_drop(p)`          recurrent weight, elementwise     sequence               arXiv:1708.02182
`zoneout(cell, hidden)`   previous state kept               step                   arXiv:1606.01305
`melis(p)`                input, between, output; hidden    step; hidden sequence  arXiv:1805.09208
========================  ================================  =====================  ====================

Rates may be given per site: ``gal(word=.3, input=.5, hidden=.3, output=.5)``; a site that is not named then has rate 0.
The site `input` is what each layer of a stack reads, or, in a scheme with the site `between`, what the first one reads.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from bayesrnn._checks import check_choice, check_rate

__all__ = [
    "Gates",
    "Placement",
    "Scheme",
    "Site",
    "Span",
    "as_scheme",
    "gal",
    "melis",
    "moon",
    "naive",
    "none",
    "semeniuta",
    "weight_drop",
    "zaremba",
    "zoneout",
]

Site = Literal[
    "word", "input", "between", "hidden", "output", "cell", "candidate", "weight", "keep_cell", "keep_hidden"
]  # fmt: skip
Span = Literal["sequence", "step"]
Gates = Literal["tied", "untied"]


@dataclass(frozen=True, slots=True)
class Placement:
    """One site of a scheme: where a mask acts, at what rate, how long it lives, whether gates share it.

    Args:
        site: Where the mask acts (see the table of the module).
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


def none() -> Scheme:
    """No dropout anywhere."""
    return Scheme("none")


def zaremba(p: float | None = None, *, input: float | None = None, output: float | None = None) -> Scheme:
    """Dropout on the non-recurrent connections only, new each step (Zaremba et al. 2014, arXiv:1409.2329)."""
    rates = _per_site("zaremba", p, {"input": input, "output": output})
    return Scheme("zaremba", (Placement("input", rates["input"], "step"), Placement("output", rates["output"], "step")))


def naive(
    p: float | None = None,
    *,
    gates: Gates = "tied",
    input: float | None = None,
    hidden: float | None = None,
    output: float | None = None,
) -> Scheme:
    """The sites of `gal` without words, but a new mask each step: the baseline that breaks memory.

    Gates share a mask unless `gates="untied"`, which is what the published sentiment code has. Source: the per-step
    variant of the sentiment experiment of Gal & Ghahramani (2016), arXiv:1512.05287, section 5.
    """
    rates = _per_site("naive", p, {"input": input, "hidden": hidden, "output": output})
    return Scheme(
        "naive",
        (
            Placement("input", rates["input"], "step", gates),
            Placement("hidden", rates["hidden"], "step", gates),
            Placement("output", rates["output"], "step"),
        ),
    )


def gal(
    p: float | None = None,
    *,
    gates: Gates = "untied",
    word: float | None = None,
    input: float | None = None,
    hidden: float | None = None,
    output: float | None = None,
) -> Scheme:
    r"""One mask for all steps of a sequence on words, inputs, hidden states and outputs.

    With untied gates, gate $k$ sees $W_k (x_t \circ z_x^k) + U_k (h_{t-1} \circ z_h^k)$; with tied gates all gates
    share $z_x$ and $z_h$. Source: Gal & Ghahramani (2016), arXiv:1512.05287, section 4.
    """
    rates = _per_site("gal", p, {"word": word, "input": input, "hidden": hidden, "output": output})
    return Scheme(
        "gal",
        (
            Placement("word", rates["word"]),
            Placement("input", rates["input"], "sequence", gates),
            Placement("hidden", rates["hidden"], "sequence", gates),
            Placement("output", rates["output"]),
        ),
    )


def moon(p: float) -> Scheme:
    r"""One mask for all steps on the memory cell of an LSTM (RNNDrop; Moon et al., ASRU 2015).

    $h_t = o_t \circ \tanh(m \circ c_t)$: the cell is masked where it is read. A unit that is dropped says nothing, as
    if its cell were 0 at every step; of one that is kept the $1/(1-p)$ acts once, where in the carried cell it would
    be multiplied in at every step, $(1-p)^{-t}$.
    """
    return Scheme("moon", (Placement("cell", p),))


def semeniuta(p: float, span: Span = "step") -> Scheme:
    r"""A mask on the candidate only, $c_t = f_t \circ c_{t-1} + i_t \circ (m \circ g_t)$ (arXiv:1603.05118)."""
    return Scheme("semeniuta", (Placement("candidate", p, span),))


def weight_drop(p: float) -> Scheme:
    """Elements of the recurrent weight, one mask per pass for all rows (AWD-LSTM; arXiv:1708.02182, section 2)."""
    return Scheme("weight_drop", (Placement("weight", p),))


def zoneout(cell: float = 0.0, hidden: float = 0.0) -> Scheme:
    r"""Keep the previous value of some units, $h_t = z \circ h_{t-1} + (1 - z) \circ \tilde h_t$ (arXiv:1606.01305).

    Here a rate is the probability of keeping the OLD value; the deterministic pass uses its expectation.
    """
    placements = (Placement("keep_cell", cell, "step"), Placement("keep_hidden", hidden, "step"))
    return Scheme("zoneout", placements)


def melis(
    p: float | None = None,
    *,
    input: float | None = None,
    between: float | None = None,
    hidden: float | None = None,
    output: float | None = None,
) -> Scheme:
    """A new mask at each step on the input, between layers and on the output; one for all steps on the hidden state.

    Source: the LSTM of Melis et al. (2018), arXiv:1805.09208, whose rates are about ``melis(input=.6, between=.3,
    hidden=.4, output=.7)`` at 24 million weights.
    """
    rates = _per_site("melis", p, {"input": input, "between": between, "hidden": hidden, "output": output})
    return Scheme(
        "melis",
        (
            Placement("input", rates["input"], "step"),
            Placement("between", rates["between"], "step"),
            Placement("hidden", rates["hidden"]),
            Placement("output", rates["output"], "step"),
        ),
    )


def as_scheme(dropout: "float | Scheme") -> Scheme:
    """Return a scheme as it is; turn a rate p into ``gal(p)``, and 0 into ``none()``."""
    if isinstance(dropout, Scheme):
        return dropout
    if isinstance(dropout, str):
        raise TypeError(
            f"dropout must be a rate in [0, 1) or a scheme such as schemes.gal(0.25), but the text {dropout!r} was "
            f"given. Did you mean schemes.{dropout}(...)?"
        )
    rate = check_rate(dropout, "dropout")
    return gal(rate) if rate > 0.0 else none()


def _per_site(name: str, p: float | None, given: dict[str, float | None]) -> dict[str, float]:
    named = {site: rate for site, rate in given.items() if rate is not None}
    if p is None and not named:
        raise ValueError(
            f"schemes.{name} needs a rate: one for all sites, {name}(0.25), or one per site, of {list(given)}."
        )
    if p is not None and named:
        raise ValueError(
            f"schemes.{name} takes either one rate for all sites or a rate per site, but both {p!r} and {named} were "
            "given. Name every site that you want, and leave out the common rate."
        )
    return {site: (p if p is not None else named.get(site, 0.0)) for site in given}
