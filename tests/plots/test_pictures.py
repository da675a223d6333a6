"""Every picture is produced, labelled, not blank, and leaves no trace; its numbers are the metrics' own."""

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from bayesrnn import plots
from bayesrnn.plots.backtest import score_panels
from bayesrnn.predictive import Origin, Predictive, TokenPredictive
from tests.plots.examples import PICTURES, ROWS, P, Y, masks

UNLABELLED = ("token_strip", "mask_picture", "mask_diagram")


def pixels(figure: Any) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="raw", dpi=50)
    return np.frombuffer(buffer.getvalue(), dtype=np.uint8).reshape(-1, 4)


def test_every_public_picture_is_here() -> None:
    assert {name for name in plots.__all__ if not any(key.startswith(name) for key in PICTURES)} == set()


@pytest.mark.parametrize("classes", [3, 15, 16, 50])
def test_a_confusion_matrix_stays_readable(classes: int) -> None:
    names = [f"k_{k}$" for k in range(classes)]
    p = Predictive.from_probabilities(torch.eye(classes).roll(1, 0), class_names=names)
    ax = plots.confusion_matrix(p, names, title="$_t$")
    assert len([text for text in ax.texts if "right" not in text.get_text()]) == (classes**2 if classes <= 15 else 0)
    ticks = [t.get_text() for t in ax.get_yticklabels()]
    assert ticks == names[:: 2 if classes == 50 else 1]
    shares = np.asarray(ax.collections[0].get_array()).reshape(classes, classes)
    assert (shares == np.eye(classes)[np.roll(np.arange(classes), 1)]).all()
    assert not any(t.get_parse_math() for t in [*ax.get_xticklabels(), *ax.get_yticklabels()])


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_picture_is_drawn_labelled_and_leaves_no_trace(name: str, style: str) -> None:
    from matplotlib import _pylab_helpers

    with mpl.style.context(style):
        before = dict(mpl.rcParams)
        own = PICTURES[name](None)
        assert dict(mpl.rcParams) == before
        assert not _pylab_helpers.Gcf.figs  # pyplot knows no new figure
        assert len(np.unique(pixels(own.figure), axis=0)) > 20
        assert own.get_title(loc="left")
        if not name.startswith(UNLABELLED):
            assert own.get_xlabel()
            assert own.get_ylabel() or [t.get_text() for t in own.get_yticklabels() if t.get_text()]
        given = Figure().add_subplot()
        assert PICTURES[name](given) is given


def test_style_sheet_decides_the_ink() -> None:
    with mpl.style.context("dark_background"):
        dark = PICTURES["fan_chart"](None)
    history = next(line for line in dark.get_lines() if line.get_label() == "history")
    assert history.get_color() == "white"


def test_the_legend_of_a_fan_chart_shows_the_colors_that_are_drawn() -> None:
    ax = PICTURES["fan_chart"](None)
    bands = {c.get_label(): c.get_facecolor()[0] for c in ax.collections if "interval" in str(c.get_label())}
    assert all(color[3] == 1.0 for color in bands.values())  # opaque: what lies below does not show through
    legend = ax.get_legend()
    shown = {t.get_text(): h for t, h in zip(legend.get_texts(), legend.legend_handles, strict=True)}
    for name, color in bands.items():
        np.testing.assert_allclose(shown[name].get_facecolor(), color)
    assert len({tuple(c.round(3)) for c in bands.values()}) == len(bands) >= 2


@pytest.mark.parametrize("name", PICTURES)
def test_no_note_lies_on_what_is_drawn(name: str) -> None:
    ax = PICTURES[name](None)
    ax.figure.canvas.draw()
    for note in (text for text in ax.texts if getattr(text, "xycoords", "") == "axes fraction"):
        assert note.get_window_extent().y0 >= ax.get_window_extent().y1
        assert note.get_window_extent().y1 <= ax._left_title.get_window_extent().y0


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_labels_of_dates_are_short_in_any_zone(zone: str | None) -> None:
    times = pd.date_range("2024-04-15", periods=9, freq="6h", tz=zone).to_numpy()
    ax = plots.fan_chart(Predictive.from_gaussian(torch.zeros(9), torch.ones(9)), times=times)
    assert isinstance(ax.xaxis.get_major_formatter(), ConciseDateFormatter)


def test_a_title_is_written_as_it_is() -> None:
    ax = plots.fan_chart(P, row=2, title="cost $ of $x_{")
    ax.figure.canvas.draw()
    assert ax.get_title(loc="left") == "cost $ of $x_{"


ERRORS: list[tuple[Callable[[], Any], str]] = [
    (lambda: plots.fan_chart(P, row=ROWS), "row 60 does not exist"),
    (lambda: plots.fan_chart(P, levels=()), "levels is empty"),
    (lambda: plots.fan_chart(P, times=[1, 2]), "times has 2 entries for 8 steps"),
    (lambda: plots.fan_chart(P, times=list(range(8)), history=Y[0]), "give history_times too"),
    (lambda: plots.fan_chart(P, Y[0, :3]), "target has 3 steps"),
    (lambda: plots.decomposition(TokenPredictive(torch.zeros(2, 2), Origin(2))), "kept no entropies"),
    (
        lambda: plots.coverage_by_horizon(Predictive.from_gaussian(torch.zeros(3), torch.ones(3)), torch.zeros(3)),
        "steps",
    ),
    (lambda: plots.coverage_by_group(P, Y, ["a"]), "groups has 1 labels for 60 rows"),
    (lambda: plots.coverage_width({}, Y), "no predictive was given"),
    (lambda: plots.interval_reliability(P, Y[:5]), "does not fit"),
    (lambda: plots.interval_reliability(P, torch.where(Y > 1, torch.nan, Y)), "NaN"),
    (lambda: plots.learning_curves({}), "curves is empty"),
    (lambda: plots.learning_curves({"a": [1]}, best="b"), "names no curve"),
    (lambda: plots.convergence([1], [1, 2]), "give one each"),
    (lambda: plots.convergence([1], [1], [1, 2]), "standard errors"),
    (lambda: plots.forest(["a"], [1], [1], []), "as many differences"),
    (lambda: plots.score_by_part(["a"], []), "give one per part"),
    (lambda: plots.token_strip(["a"], torch.zeros(2)), "give one per token"),
    (lambda: plots.token_strip(["a"], torch.tensor([torch.nan])), "finite"),
    (lambda: plots.mask_picture({}), "masks is empty"),
    (lambda: plots.mask_picture(masks(True), per_step=True, steps=9), "lower steps="),
    (lambda: plots.mask_picture(masks(False), row=9), "row 9 does not exist"),
    (lambda: plots.mask_picture(masks(False), gate=3), "gate 3 does not exist"),
    (lambda: plots.mask_picture({"x": torch.ones(3)}), "has shape"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS)
def test_errors_say_what_is_wrong(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("wrong", [0, 1, 100, 200])
@pytest.mark.parametrize("names", [1, 3])
def test_risk_coverage_labels_no_share_above_one(wrong, names):
    """Ticks end at 100 %, lie inside the picture, and differ as they are written."""
    target = torch.zeros(200, dtype=torch.long)
    predicted = torch.where(torch.arange(200) < wrong, 1, 0)
    one = Predictive.from_probabilities(torch.nn.functional.one_hot(predicted, 2).expand(2, -1, -1) * 0.8 + 0.1)
    ax = plots.risk_coverage({str(k): one for k in range(names)}, target)
    ax.figure.canvas.draw()
    ticks, top = ax.get_yticks(), ax.get_ylim()[1]
    assert ticks.max() <= min(1.0, top)
    assert top <= 1.4
    assert max(np.max(line.get_ydata()) for line in ax.get_lines()) < top
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert len(set(labels)) == len(labels) >= 3


def test_a_strip_of_tokens_names_what_it_cannot_draw() -> None:
    plots.token_strip(["a", "b"], [0.5, 1.0])
    with pytest.raises(TypeError, match="tokens must be a list of texts, but \\[1, 2\\]"):
        plots.token_strip([1, 2], torch.ones(2))
    with pytest.raises(TypeError, match="tokens must be a list of texts"):
        plots.token_strip(torch.ones(2), torch.ones(2))
    with pytest.raises(TypeError, match="values must be numbers"):
        plots.token_strip(["a"], None)
    for largest in (-3, 0.0, "x", float("nan")):
        with pytest.raises(ValueError, match="largest is the value of the darkest shade"):
            plots.token_strip(["a"], torch.ones(1), largest=largest)


@pytest.mark.parametrize(("rows", "label"), [(1, "observed"), (6, "observed, 95 %")])
def test_a_reliability_diagram_promises_intervals_only_where_there_are_some(rows: int, label: str) -> None:
    probabilities = torch.softmax(torch.randn(rows, 80, 3, generator=torch.Generator().manual_seed(0)), -1)
    predictive = Predictive.from_probabilities(probabilities[None])
    target = torch.randint(3, (rows, 80), generator=torch.Generator().manual_seed(1))
    ax = plots.reliability_diagram(predictive, target)
    labels = [text.get_text() for text in (ax.get_legend() or ax.figure.legends[0]).get_texts()]
    assert label in labels


@pytest.mark.parametrize(("low", "high"), [(6.5, 9.5), (0.286, 1.56), (1333.0, 2328.0), (0.01, 30.0)])
def test_axes_of_scores_have_at_least_two_numbers(low: float, high: float) -> None:
    levels = {"50 %": (0.5, 0.4, 0.6), "80 %": (0.8, 0.7, 0.9)}
    scores = {name: {"CRPS": (v, v, v), **levels, "width": (v, v, v)} for name, v in (("a", low), ("b", high))}
    figure = score_panels(scores).figure
    figure.draw_without_rendering()
    scaled = [ax for ax in figure.axes if ax.get_xscale() == "log"]
    assert len(scaled) == 2
    for ax in scaled:
        first, last = ax.get_xlim()
        shown = [t for t in ax.xaxis.get_major_ticks() if first <= t.get_loc() <= last and t.label1.get_text()]
        assert len(shown) >= 2
