"""Schemes are data: what each paper's row says, and the error of a wrong one."""

import pickle

import pytest

from bayesrnn import schemes
from bayesrnn.schemes import Placement, Scheme

ROWS = {
    "none": (schemes.none(), {}),
    "zaremba": (schemes.zaremba(0.3), {"input": "step", "output": "step"}),
    "naive": (schemes.naive(0.3), {"input": "step", "hidden": "step", "output": "step"}),
    "gal": (schemes.gal(0.3), dict.fromkeys(("word", "input", "hidden", "output"), "sequence")),
    "moon": (schemes.moon(0.3), {"cell": "sequence"}),
    "semeniuta": (schemes.semeniuta(0.3), {"candidate": "step"}),
    "weight_drop": (schemes.weight_drop(0.3), {"weight": "sequence"}),
    "melis": (
        schemes.melis(0.3),
        {"input": "step", "between": "step", "hidden": "sequence", "output": "step"},
    ),
    "zoneout": (schemes.zoneout(0.3, 0.3), {"keep_cell": "step", "keep_hidden": "step"}),
}


@pytest.mark.parametrize("name", ROWS)
def test_the_rows_of_the_table(name: str) -> None:
    scheme, spans = ROWS[name]
    assert {p.site: p.span for p in scheme.placements} == spans
    assert all(p.rate == 0.3 for p in scheme.placements)
    assert scheme.name == name
    assert scheme.active is bool(spans)
    assert scheme.sites == list(spans)
    assert Scheme.from_dict(scheme.to_dict()) == scheme
    assert pickle.loads(pickle.dumps(scheme)) == scheme  # noqa: S301


def test_gates() -> None:
    for gates in ("tied", "untied"):
        found = {p.site: p.gates for p in schemes.gal(0.3, gates=gates).placements}
        assert found == {"word": "tied", "input": gates, "hidden": gates, "output": "tied"}
        found = {p.site: p.gates for p in schemes.naive(0.3, gates=gates).placements}
        assert found == {"input": gates, "hidden": gates, "output": "tied"}


def test_rates_per_site() -> None:
    scheme = schemes.gal(word=0.3, hidden=0.2)
    assert [scheme.rate(s) for s in ("word", "input", "hidden", "output", "cell")] == [0.3, 0.0, 0.2, 0.0, 0.0]
    assert scheme.placement("input") is None
    assert scheme.with_rates(input=0.5).rate("input") == 0.5
    assert not schemes.gal(0.0).active
    assert str(schemes.zaremba(0.25)) == "zaremba(input=0.25, output=0.25)"


def test_a_number_is_gal() -> None:
    assert schemes.as_scheme(0.25) == schemes.gal(0.25)
    assert schemes.as_scheme(0) == schemes.none()
    assert schemes.as_scheme(schemes.moon(0.1)) == schemes.moon(0.1)


@pytest.mark.parametrize("rate", [1.0, -0.1, float("nan"), 25])
def test_a_rate_outside_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\).*keep probability"):
        schemes.gal(rate)


def test_errors() -> None:
    with pytest.raises(TypeError, match=r"Did you mean schemes.gal\(...\)"):
        schemes.as_scheme("gal")
    with pytest.raises(TypeError, match="must be a number"):
        schemes.moon("0.2")
    with pytest.raises(ValueError, match=r"schemes.gal needs a rate"):
        schemes.gal()
    with pytest.raises(ValueError, match="either one rate for all sites or a rate per site"):
        schemes.naive(0.2, hidden=0.1)
    with pytest.raises(ValueError, match=r"has no site \['hidden'\]"):
        schemes.zaremba(0.2).with_rates(hidden=0.1)
    with pytest.raises(ValueError, match="names a site twice"):
        Scheme("twice", (Placement("input", 0.1), Placement("input", 0.2)))
    with pytest.raises(ValueError, match="'cell' has no gates"):
        Placement("cell", 0.1, "sequence", "untied")
    with pytest.raises(ValueError, match="site must be one of 'word'"):
        Placement("carry", 0.1)
