"""Pictures: each draws on `ax`, or on a new Figure that pyplot does not know, and returns the Axes.

Save one with `ax.figure.savefig("picture.png")`. Colors are Okabe and Ito's; no style setting is changed, so a style
sheet in force is followed.
"""

from bayesrnn.plots.classes import confidence_histogram, reliability_diagram
from bayesrnn.plots.comparison import forest
from bayesrnn.plots.confusion import confusion_matrix
from bayesrnn.plots.curves import convergence, learning_curves
from bayesrnn.plots.forecast import decomposition, fan_chart
from bayesrnn.plots.groups import coverage_by_group, coverage_by_horizon, score_by_part
from bayesrnn.plots.intervals import coverage_width, interval_reliability
from bayesrnn.plots.masks import mask_diagram, mask_picture
from bayesrnn.plots.pit import pit_ecdf, pit_histogram
from bayesrnn.plots.selective import risk_coverage
from bayesrnn.plots.sources import uncertainty_sources
from bayesrnn.plots.spread import error_against_spread
from bayesrnn.plots.text import token_strip

__all__ = [
    "confidence_histogram",
    "confusion_matrix",
    "convergence",
    "coverage_by_group",
    "coverage_by_horizon",
    "coverage_width",
    "decomposition",
    "error_against_spread",
    "fan_chart",
    "forest",
    "interval_reliability",
    "learning_curves",
    "mask_diagram",
    "mask_picture",
    "pit_ecdf",
    "pit_histogram",
    "reliability_diagram",
    "risk_coverage",
    "score_by_part",
    "token_strip",
    "uncertainty_sources",
]
