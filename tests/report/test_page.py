"""The page stands alone: no script, no network, every picture has words, text is escaped."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import torch

from bayesrnn import plots
from bayesrnn.predictive import Predictive
from bayesrnn.report import Page, calibration_report

CHROMIUM = shutil.which("chromium")


class Reader(HTMLParser):
    """Collects what could reach outside, and what a reader without eyes gets."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.outside, self.images, self.tags = 0, [], [], []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.scripts += tag in ("script", "iframe", "object", "embed", "link", "base", "form")
        for name, value in attrs:
            if name.startswith("on"):
                self.scripts += 1
            if name in ("src", "href", "srcset", "action", "data", "poster") and not (value or "").startswith("data:"):
                self.outside.append(value)
        if tag == "img":
            self.images.append(dict(attrs))


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


def assert_stands_alone(text: str) -> Reader:
    found = read(text)
    assert found.scripts == 0
    assert found.outside == []
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert all((image.get("alt") or "").strip() for image in found.images)
    return found


def predictive() -> tuple[Predictive, torch.Tensor]:
    y = torch.randn(120, generator=torch.Generator().manual_seed(0))
    return Predictive.from_gaussian(torch.zeros(120), torch.ones(120)), y


def test_page_is_whole_and_escapes_text() -> None:
    p, y = predictive()
    page = (
        Page('A < B & "C"', "<script>alert(1)</script>")
        .section("Numbers", "text")
        .table([{"name": "a<b", "value": 0.123456}, {"name": "c", "value": None}], "what it is")
        .picture(plots.pit_histogram(p, y), 'flat "histogram"', "below")
        .picture(plots.pit_ecdf(p, y), "curve")
        .say("bad news", "bad")
        .table(pd.DataFrame({"x": [1.5, -2.25]}), folded="more")
        .facts("12 draws")
    )
    text = page.html()
    found = assert_stands_alone(text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "a&lt;b" in text
    assert "0.1235" in text
    assert "−2.25" in text
    assert text.count('<div class="gallery">') == 1  # both pictures side by side
    assert [image["alt"] for image in found.images] == ['flat "histogram"', "curve"]
    assert text.index("</div>", text.index("gallery")) < text.index("bad news")
    assert 'data-label="value"' in text  # tables become cards on a phone
    assert "prefers-color-scheme:dark" in text
    assert "width=device-width" in text
    assert {"details", "summary", "caption", "main"} <= set(found.tags)


def test_picture_needs_words() -> None:
    with pytest.raises(ValueError, match="alternative is empty"):
        Page("x").picture(b"png", " ")


def test_save_is_atomic(tmp_path: Path) -> None:
    path = Page("x", "first").save(tmp_path / "page.html")
    assert path.read_text(encoding="utf-8") == Page("x", "first").html()
    Page("x", "second").save(path)
    assert "second" in path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(ValueError, match="does not exist"):
        Page("x").save(tmp_path / "missing" / "page.html")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed, so the page cannot be opened in a browser")
@pytest.mark.slow
def test_browser_opens_the_page_without_network_or_complaint(tmp_path: Path) -> None:
    p, y = predictive()
    page = calibration_report(p, y, resamples=50).save(tmp_path)
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "Calibration report" in done.stdout
    assert "CONSOLE" not in done.stderr
    assert "Refused to load" not in done.stderr
