"""What pictures show are the numbers of the metrics."""

import matplotlib as mpl
import matplotlib.style
import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from bayesrnn import metrics, plots
from bayesrnn.metrics.pairs import pair
from bayesrnn.plots.intervals import share_inside
from bayesrnn.predictive import Predictive
from tests.plots.examples import LABELS, PICTURES, ROWS, STEPS, C, K, P, Y, masks


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
