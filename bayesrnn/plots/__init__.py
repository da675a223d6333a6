"""Pictures: each takes `ax=None`, draws on it (or on a new Figure that pyplot does not know) and returns the Axes.

Save one with `ax.figure.savefig("picture.png")`. Colors are Okabe and Ito's; no style setting is changed, so a style
sheet in force is followed.
"""

from .bands import score_by_part
from .classes import confidence_histogram, reliability_diagram
from .comparison import forest
from .curves import convergence, learning_curves
from .forecast import decomposition, fan_chart
from .groups import coverage_by_group, coverage_by_horizon
from .intervals import coverage_width, interval_reliability
from .masks import mask_diagram, mask_picture
from .pit import pit_ecdf, pit_histogram
from .selective import risk_coverage
from .spread import error_against_spread
from .text import token_strip

__all__ = [
    "confidence_histogram",
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
]
