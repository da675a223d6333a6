"""The clock of stages, and the tables of what a fit costs."""

import itertools
import json
from pkgutil import resolve_name

import pytest
import torch

from evaluation.speed import fit, stages


def test_a_stage_has_the_time_that_the_stages_inside_it_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count()
    monkeypatch.setattr(stages.time, "process_time", lambda: float(next(seconds)))  # each look at the clock: a second
    clock = stages.Stages({"torch.nn.Linear.forward": "inner", "torch.nn.Sequential.forward": "outer"})
    network = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    with clock.watching():
        network(torch.zeros(1))
    assert clock.seconds == {"rest": 2.0, "outer": 3.0, "inner": 2.0}


def test_what_is_watched_is_there() -> None:
    for place in fit._WATCHED:
        assert callable(resolve_name(place)), place


def test_tables_say_the_ratios_that_are_to_be_reached() -> None:
    imports = {"import torch": {"seconds": 1.0, "ratio": 1.0}, "import bayesrnn": {"seconds": 0.03, "ratio": 0.03}}
    assert "| import bayesrnn | 0.03 | 0.03 |" in fit.markdown(json.loads(json.dumps({"imports": imports})))
    parts = {
        "steps": 10_000, "horizon": 48, "stages": {"forward": 6.0, "backward": 9.0}, "seconds": 15.0, "plain": 10.0,
        "epochs": 20, "origin_ms": 30.0, "origin_cpu_ms": 40.0, "backtest_cpu_ms": 9.0, "origins": 20,
    }  # fmt: skip
    table = fit.markdown({"fit": parts})
    assert "| **ratio** (reach: 2) | 1.50 |" in table
    assert "| an origin with 200 draws (reach: 50 ms) | 30.0 | 40.0 |" in table
