"""A small part of `python -m evaluation.faults`: nothing loads silently, nothing is lost, no raw error."""

import sys
from pathlib import Path
from typing import Any

import pytest

from evaluation.faults import __main__ as faults
from evaluation.faults import report
from evaluation.faults.flips import exchanged, flips
from evaluation.faults.fuzz import fuzz, readers
from evaluation.faults.kills import kills
from evaluation.faults.numbers import numbers
from evaluation.faults.signals import signals
from evaluation.faults.trials import FINE, RAW, REFUSED, SILENT, Trial, finite, outcome, tally

linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")


def sound(result: dict[str, Any]) -> bool:
    return result["trials"] > 0 and not set(result["outcomes"]) - {FINE, REFUSED}


def test_flips_and_exchanges_are_refused() -> None:
    assert flips(64, 0)["outcomes"].keys() == {REFUSED}
    assert exchanged(1, 0)["outcomes"] == {REFUSED: 1}


@linux
@pytest.mark.parametrize("kind", ["save", "folder"])
def test_nothing_is_lost_to_a_kill(kind: str) -> None:
    result = kills(kind, 3, 0)
    assert result == {"kills": 3, "lost": 0, "left over after the next save": 0}


@linux
@pytest.mark.slow
def test_a_signal_ends_a_training_at_once() -> None:
    result = signals("forecast", 2)
    assert result["right_exit_codes"] == 2
    assert result["largest_s"] < 10  # a second on a machine that does nothing else


@pytest.mark.parametrize("name", readers())
def test_mutated_inputs_are_read_or_refused(name: str) -> None:
    result = fuzz(name, 40, 1)
    assert sound(result), result


def test_extremes_are_finite_or_refused() -> None:
    result = numbers(0.01)
    assert sound(result), result


def _raise(error: BaseException) -> Any:
    raise error


def test_what_became_of_a_trial() -> None:
    for work, verdict in (
        (lambda: 1.0, FINE),
        (lambda: float("inf"), SILENT),
        (lambda: _raise(ValueError("this says what is wrong here")), REFUSED),
        (lambda: _raise(ValueError("short")), RAW),
        (lambda: _raise(IndexError("this is a raw error of Python")), RAW),
    ):
        assert outcome(Trial("x", work, finite))[0] == verdict
    assert tally([Trial("x", lambda: None)]) == {"trials": 1, "outcomes": {FINE: 1}, "worst": {}}


def test_the_table_is_made_of_the_results(tmp_path: Path) -> None:
    from evaluation import records

    units = [{"trials": 3, "outcomes": {REFUSED: 3}, "worst": {}, "slowest_s": 0.1, "largest_mb": 2.0}] * 2
    records.save("headers", faults.merge(units), folder=tmp_path)
    kills = {"kills": 6, "lost": 1, "left over after the end": 2, "trainings ended": 4, "ended with other bits": 1}
    records.save("kills", faults.merge([kills | {"unit": "fit 0"}]), folder=tmp_path)
    lines = report.table(tmp_path).splitlines()
    assert any(line.endswith("| 6 | 6 refused, at most 0.10 s and 2 MB above the files |") for line in lines)
    wanted = "| 6 | 1 lost; 4 trainings ended, 1 with other bits than one never killed; 2 files left over |"
    assert any(line.endswith(wanted) for line in lines)


def test_finished_units_are_not_done_again(tmp_path: Path) -> None:
    calls: list[int] = []
    for _ in range(2):
        faults._once(tmp_path, ("a unit", lambda: calls.append(1) or {"trials": 1}))
    assert calls == [1]
