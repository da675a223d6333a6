"""The dropout schemes of the papers, with their rates."""

from bayesrnn._checks import check_rate
from bayesrnn.schemes.placements import Gates, Placement, Scheme, Span


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
    """New masks per step on input, between layers and output; one mask for all steps on the hidden state.

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
