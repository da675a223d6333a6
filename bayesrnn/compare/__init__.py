"""Monte Carlo dropout against the standard dropout approximation, and any predictives against one another."""

from .comparison import Comparison as Comparison
from .comparison import Cost as Cost
from .comparison import Curve as Curve
from .difference import Difference as Difference
from .predictives import compare_predictives as compare_predictives

__all__ = ["Comparison", "Cost", "Curve", "Difference", "compare_predictives"]
