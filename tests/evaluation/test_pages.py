"""The tables of the pages are those of the results."""

from pathlib import Path

import pytest

from evaluation import pages


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda p: p.parent.name)
def test_tables_of_pages_are_generated(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<!-- table:" in text
    assert pages.filled(text) == text, "run: python -m evaluation.pages"


def test_a_number_changed_by_hand_is_seen() -> None:
    text = pages.PAGES[1].read_text(encoding="utf-8").replace("| 82.7 (82.7) |", "| 81.7 (82.7) |")
    assert pages.filled(text) != text


def test_lines_of_pages_are_short() -> None:
    for page in pages.PAGES:
        lines = page.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if len(line) > 120 and not line.startswith(("|", "!["))]
