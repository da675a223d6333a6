"""Every picture is produced, labelled, not blank, and leaves no trace; its numbers are the metrics' own."""

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scipy.stats import binomtest
from torch.distributions import Categorical, Normal

from bayesrnn import linearize, metrics, plots
from bayesrnn.inference import point
from bayesrnn.metrics.pairs import pair
from bayesrnn.nn import LSTM
from bayesrnn.plots.backtest import score_panels
from bayesrnn.plots.intervals import share_inside
from bayesrnn.predictive import Origin, Predictive, TokenPredictive
from bayesrnn.schemes import gal, naive
from tests.inference.test_control import TOKENS, Linear

ROWS, STEPS, DRAWS = 60, 8, 24


def forecast() -> tuple[Any, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    base = torch.sin(torch.arange(STEPS) + torch.arange(ROWS)[:, None] / 5.0)
    spread = 0.3 + 0.1 * torch.arange(STEPS)
    means = base + 0.2 * torch.randn(DRAWS, ROWS, STEPS, generator=g)
    target = base + spread * torch.randn(ROWS, STEPS, generator=g)
    return Predictive.from_draws(Normal(means, (0.7 * spread).expand_as(means))), target


def classes() -> tuple[Any, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    logits = torch.randn(DRAWS, 300, 4, generator=g) * 0.5 + 2 * torch.randn(300, 4, generator=g)
    torch.manual_seed(0)
    return Predictive.from_draws(Categorical(logits=logits)), Categorical(logits=0.6 * logits.mean(0)).sample()


def tokens() -> TokenPredictive:
    g = torch.Generator().manual_seed(2)
    shape = (10, 12)
    confidence = torch.rand(shape, generator=g)
    correct = torch.rand(shape, generator=g) < confidence
    parts = {name: torch.rand(shape, generator=g) for name in ("entropy", "aleatoric", "epistemic")}
    log_prob = torch.log(torch.rand(shape, generator=g))
    return TokenPredictive(log_prob, Origin(5), confidence=confidence, correct=correct, **parts)


def masks(per_step: bool) -> dict[str, torch.Tensor]:
    layer = LSTM(6, 6, 2, dropout=naive(0.3) if per_step else gal(0.3, gates="tied"))
    return layer.sample_masks(2, seed=1, steps=6)


P, Y = forecast()
C, K = classes()
T = tokens()
S = linearize(Linear(), TOKENS, likelihood=point)
LABELS = ["day" if i % 3 else "night" for i in range(ROWS)]

PICTURES: dict[str, Callable[..., Any]] = {
    "fan_chart": lambda ax: plots.fan_chart(P, Y, row=2, history=Y[2], units="MW", ax=ax),
    "fan_chart_rows": lambda ax: plots.fan_chart(Predictive.from_gaussian(torch.zeros(9), torch.ones(9)), ax=ax),
    "decomposition": lambda ax: plots.decomposition(P, row=1, units="km/h", ax=ax),
    "decomposition_tokens": lambda ax: plots.decomposition(T, row=1, ax=ax),
    "interval_reliability": lambda ax: plots.interval_reliability(P, Y, ax=ax),
    "coverage_width": lambda ax: plots.coverage_width({"a": P, "b": P[:]}, Y, units="MW", ax=ax),
    "coverage_by_horizon": lambda ax: plots.coverage_by_horizon(P, Y, ax=ax),
    "coverage_by_group": lambda ax: plots.coverage_by_group(P, Y, LABELS, ax=ax),
    "pit_histogram": lambda ax: plots.pit_histogram(P, Y, ax=ax),
    "pit_ecdf": lambda ax: plots.pit_ecdf(P, Y, ax=ax),
    "error_against_spread": lambda ax: plots.error_against_spread(P, Y, units="MW", ax=ax),
    "risk_coverage": lambda ax: plots.risk_coverage(P, Y, units="MW", ax=ax),
    "risk_coverage_classes": lambda ax: plots.risk_coverage({"mc": C, "same": C}, K, ax=ax),
    "reliability_diagram": lambda ax: plots.reliability_diagram(C, K, ax=ax),
    "reliability_diagram_tokens": lambda ax: plots.reliability_diagram(T, ax=ax),
    "confidence_histogram": lambda ax: plots.confidence_histogram(C, K, ax=ax),
    "confusion_matrix": lambda ax: plots.confusion_matrix(C, K, ax=ax),
    "learning_curves": lambda ax: plots.learning_curves({"a": [3, 2, 1], "b": [3, 2.5, 2.6]}, best="b", ax=ax),
    "convergence": lambda ax: plots.convergence([1, 10, 100], [3, 2, 1.9], [0.3, 0.1, 0.03], reference=2, ax=ax),
    "forest": lambda ax: plots.forest(["a", "b", "c"], [-1, 1, 0], [-2, 0.5, -1], [-0.5, 2, 1], ax=ax),
    "score_by_part": lambda ax: plots.score_by_part(
        ["x", "y"], [1.0, 2.0], [0.5, 1.5], [1.5, 2.5], ideal=1, off=[False, True],
        title="t", xlabel="p", ylabel="v", ax=ax,
    ),
    "uncertainty_sources": lambda ax: plots.uncertainty_sources(S, ax=ax),
    "token_strip": lambda ax: plots.token_strip(["the", "cat\n", "sat"], torch.tensor([0.1, 2.0, 3.0]), ax=ax),
    "mask_picture": lambda ax: plots.mask_picture(masks(False), steps=6, ax=ax),
    "mask_picture_steps": lambda ax: plots.mask_picture(masks(True), steps=6, per_step=True, ax=ax),
    "mask_diagram": lambda ax: plots.mask_diagram(masks(False), steps=4, ax=ax),
    "mask_diagram_steps": lambda ax: plots.mask_diagram(masks(True), steps=4, per_step=True, ax=ax),
}  # fmt: skip
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


def test_fan_chart_draws_the_predictive_intervals() -> None:
    ax = PICTURES["fan_chart"](None)
    bands = {c.get_label(): c for c in ax.collections}
    low, high = P[2].interval(0.8)
    vertices = bands["80 % interval"].get_paths()[0].vertices
    drawn = [sorted({v[1] for v in vertices if v[0] == step}) for step in range(STEPS)]
    assert np.allclose([d[0] for d in drawn], low[0])
    assert np.allclose([d[-1] for d in drawn], high[0])
    inside = int(((Y[2] >= P[2].interval(0.95)[0][0]) & (Y[2] <= P[2].interval(0.95)[1][0])).sum())
    assert f"95 % interval holds {inside} of {STEPS}" in ax.texts[0].get_text()


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


def test_a_title_is_written_as_it_is() -> None:
    ax = plots.fan_chart(P, row=2, title="cost $ of $x_{")
    ax.figure.canvas.draw()
    assert ax.get_title(loc="left") == "cost $ of $x_{"


def test_decomposition_adds_up_to_the_variance() -> None:
    ax = PICTURES["decomposition"](None)
    assert ax.get_ylabel() == "variance [(km/h)²]"
    top = ax.collections[1].get_paths()[0].vertices
    for step in range(STEPS):
        assert max(v[1] for v in top if v[0] == step) == pytest.approx(float(P[1].variance[0, step]), rel=1e-5)


def test_interval_reliability_is_the_metrics_curve() -> None:
    ax = PICTURES["interval_reliability"](None)
    line = next(line for line in ax.get_lines() if line.get_label() == "observed")
    expected = [s.value for s in metrics.interval_reliability(P, Y, list(line.get_xdata()))]
    assert np.allclose(line.get_ydata(), expected)
    score = metrics.coverage(P, Y, level=0.9, interval=0.95)
    assert f"hold {score.value:.1%}" in ax.texts[0].get_text()


def test_pit_pictures_are_the_metrics_transform() -> None:
    found = metrics.pit(P, Y)
    bars = [p.get_height() for p in PICTURES["pit_histogram"](None).patches if p.get_width() == pytest.approx(0.1)]
    assert np.allclose(bars, found.histogram(10) * 10)
    line = next(x for x in PICTURES["pit_ecdf"](None).get_lines() if x.get_label() == "observed")
    assert np.allclose(line.get_ydata() + line.get_xdata(), found.ecdf(line.get_xdata()))


def test_pit_of_counts_spreads_over_its_jump() -> None:
    counts = Predictive.from_draws(torch.distributions.Poisson(torch.full((1, 400), 1.5)), sampling="deterministic")
    target = torch.poisson(torch.full((400,), 1.5), generator=torch.Generator().manual_seed(0))
    bars = [p.get_height() for p in plots.pit_histogram(counts, target, bins=5).patches if p.get_width() < 0.5]
    assert np.allclose(bars, metrics.pit(counts, target).histogram(5) * 5)


def test_spread_and_risk_are_the_metrics_numbers() -> None:
    ax = PICTURES["error_against_spread"](None)
    bins = metrics.spread_bins(P, Y, bins=10)
    data = ax.containers[0].lines[0]
    assert np.allclose(data.get_xdata(), bins.predicted)
    assert np.allclose(data.get_ydata(), bins.observed)
    curve = metrics.risk_coverage(C, K)
    assert np.allclose(PICTURES["risk_coverage_classes"](None).get_lines()[0].get_ydata(), curve.risk)


def test_reliability_diagram_is_the_metrics_bins() -> None:
    ax = PICTURES["reliability_diagram"](None)
    expected = metrics.reliability(C, K, bins=15)
    drawn = sorted(
        (x, y) for c in ax.containers if hasattr(c, "lines") and c.lines for x, y in zip(*c.lines[0].get_data())
    )
    assert np.allclose(drawn, sorted(zip(expected.confidence, expected.accuracy)), atol=1e-6)


def test_coverage_pictures_are_the_metrics_coverage() -> None:
    line = next(x for x in PICTURES["coverage_by_horizon"](None).get_lines() if x.get_label() == "observed")
    low, high = P.interval(0.9)
    assert np.allclose(line.get_ydata(), ((low <= Y) & (high >= Y)).double().mean(0))
    points = [c.lines[0].get_xdata()[0] for c in PICTURES["coverage_by_group"](None).containers]
    night = torch.tensor([label == "night" for label in LABELS])
    expected = [float(metrics.coverage(P[night], Y[night])), float(metrics.coverage(P[~night], Y[~night]))]
    assert np.allclose(points, expected)


def test_groups_of_few_sequences_are_hollow_with_an_exact_interval() -> None:
    """Two sequences, half of whose targets are inside, are one hit in two: 1.3 % to 98.7 %."""
    target = torch.zeros(20)
    target[:2] = torch.tensor([0.0, 9.0])
    p = Predictive.from_gaussian(torch.zeros(20), torch.ones(20))
    ax = plots.coverage_by_group(p, target, ["few"] * 2 + ["many"] * 18)
    few, many = (ax.containers[k] for k in (1, 0))
    assert (few.lines[0].get_markerfacecolor(), few.lines[0].get_color()) == ("none", "0.5")
    assert many.lines[0].get_markerfacecolor() != "none"
    ends = few.lines[2][0].get_segments()[0][:, 0]
    assert np.allclose(ends, binomtest(1, 2).proportion_ci(0.95, "exact"))
    assert "fewer than 6 sequences" in ax.texts[-1].get_text()


def test_coverage_by_horizon_leaves_out_masked_steps() -> None:
    lengths = torch.full((ROWS,), 3)
    line = plots.coverage_by_horizon(P, Y, lengths=lengths).get_lines()[1]
    assert len(line.get_xdata()) == 3


def test_mask_pictures_come_from_the_masks() -> None:
    for per_step in (False, True):
        given = masks(per_step)
        ax = plots.mask_picture(given, steps=6, per_step=per_step)
        cells = ax.collections[0].get_array()
        filled = int((np.ma.filled(cells, 0) > 0).sum())
        kept = {k: (v[:, 0] if per_step else v[0].expand(6, -1)) for k, v in given.items()}
        assert filled == sum(int((v != 0).sum()) for v in kept.values())
        diagram = plots.mask_diagram(given, steps=6, per_step=per_step)
        colored = [t.arrow_patch.get_edgecolor() for t in diagram.texts if getattr(t, "arrow_patch", None)]
        patterns = {v[s].numpy().tobytes() for v in kept.values() for s in range(6) if bool((v[s] != 1).any())}
        assert len(set(colored) - {mpl.colors.to_rgba("0.5")}) == len(patterns)


def test_learning_curves_over_seeds_are_mean_and_range() -> None:
    seeds = np.array([[3.0, 2.0, np.nan, 4.0], [5.0, 1.0, np.nan, 3.0], [4.0, 0.0, np.nan, 2.0]])
    ax = plots.learning_curves({"validation": seeds, "never measured": [np.nan] * 4}, best="validation")
    line = next(x for x in ax.get_lines() if x.get_label() == "validation")
    assert np.allclose(line.get_xydata(), [[1, 4], [2, 1], [4, 3]])
    (path,) = ax.collections[0].get_paths()
    ends = [sorted({y for x, y in path.vertices if x == epoch}) for epoch in (1, 2, 4)]
    assert np.allclose([(e[0], e[-1]) for e in ends], [(3, 5), (0, 2), (2, 4)])
    assert ax.texts[0].get_text() == "best validation: 1 at epoch 2"


def test_confidence_histogram_stacks_wrong_on_right() -> None:
    confidence, right = C.probabilities.max(-1).values.numpy(), (C.probabilities.argmax(-1) == K).numpy()
    edges = np.linspace(0, 1, 16)
    bars = {c.get_label(): c.patches for c in PICTURES["confidence_histogram"](None).containers}
    for label, chosen in (("right", right), ("wrong", ~right)):
        assert [p.get_height() for p in bars[label]] == list(np.histogram(confidence[chosen], edges)[0])
    assert [p.get_y() for p in bars["wrong"]] == [p.get_height() for p in bars["right"]]
    certain = Predictive.from_probabilities(torch.tensor([[0.9, 0.1], [0.2, 0.8]]))
    always = plots.confidence_histogram(certain, torch.tensor([0, 1]))
    assert [c.get_label() for c in always.containers] == ["right"]


def test_forest_tells_better_from_worse() -> None:
    labels = [c.get_label() for c in PICTURES["forest"](None).containers]
    assert labels == ["better", "worse", "no difference"]


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
    (lambda: plots.score_by_part(["a"], []), "give one a part"),
    (lambda: plots.token_strip(["a"], torch.zeros(2)), "give one a token"),
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


def test_an_interval_holds_the_share_of_a_count_that_its_jump_has_inside() -> None:
    rate = torch.full((1, 40), 1.5)
    counts = Predictive.from_draws(torch.distributions.Poisson(rate), sampling="deterministic")
    target = torch.poisson(rate[0], generator=torch.Generator().manual_seed(0))
    levels = np.array([0.1, 0.5, 0.9])
    found = share_inside(pair(counts, target, {}), levels)
    transform = metrics.pit(counts, target)
    grid = (np.arange(4000) + 0.5) / 4000
    points = transform.lower[:, None] + grid * (transform.upper - transform.lower)[:, None]
    expected = (np.abs(2 * points - 1)[..., None] <= levels).mean(1)
    assert np.allclose(found, expected, atol=5e-4)


def test_a_fan_chart_counts_only_what_is_known() -> None:
    target = Y.clone()
    target[2, 3] = torch.nan
    low, high = P[2].interval(0.95)
    inside = int(((target[2] >= low[0]) & (target[2] <= high[0])).sum())
    ax = plots.fan_chart(P, target, row=2)
    assert f"95 % interval holds {inside} of {STEPS - 1}" in ax.texts[0].get_text()


def test_the_risk_of_a_number_is_drawn_in_its_units() -> None:
    curve = metrics.risk_coverage(P, Y)
    ax = PICTURES["risk_coverage"](None)
    assert np.allclose(ax.get_lines()[0].get_ydata(), np.sqrt(curve.risk))
    assert f"all {float(metrics.rmse(P, Y)):.3g}" in ax.texts[0].get_text()


def test_the_best_epoch_is_marked_where_it_is() -> None:
    lines = PICTURES["learning_curves"](None).get_lines()
    assert [2.0, 2.0] in [list(line.get_xdata()) for line in lines]  # of 3, 2.5, 2.6 the second


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
