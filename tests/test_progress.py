"""Progress in a log: a line per minute, with the time left."""

import pytest

from bayesrnn import _progress
from bayesrnn._progress import duration, progress_bar


def test_a_log_gets_a_line_per_minute_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    with progress_bar(True, 100, "epoch 0/10") as advance:
        advance(20)  # done before: a training that goes on
        for step in range(40):
            now[0] += 3.0
            advance(1, f"epoch {step // 10}/10")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["epoch 1/10: 40% done, 3 minutes left", "epoch 3/10: 60% done, 2 minutes left"]


def test_nothing_is_said_where_nothing_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(False, 10) as advance:
        advance(10)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 second"), (8, "8 seconds"), (250, "4 minutes"), (7200, "2 hours")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
