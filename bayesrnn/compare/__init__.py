"""Monte Carlo dropout against the standard dropout approximation, and any predictives against one another."""

from .comparison import Comparison as Comparison
from .comparison import Cost as Cost
from .comparison import Curve as Curve
from .deterministic import deterministic as deterministic
from .deterministic import deterministic_tokens as deterministic_tokens
from .difference import Difference as Difference
from .model import compare as compare
from .predictives import compare_predictives as compare_predictives

__all__ = [
    "Comparison",
    "Cost",
    "Curve",
    "Difference",
    "compare",
    "compare_predictives",
    "deterministic",
    "deterministic_tokens",
]
