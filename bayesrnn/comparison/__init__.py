"""Monte Carlo dropout against the standard dropout approximation, and any predictives against one another."""

from bayesrnn.comparison.curve import Curve as Curve
from bayesrnn.comparison.difference import Difference as Difference
from bayesrnn.comparison.model import compare as compare
from bayesrnn.comparison.predictives import compare_predictives as compare_predictives
from bayesrnn.comparison.result import Comparison as Comparison
from bayesrnn.comparison.result import Cost as Cost
from bayesrnn.metrics.registry import Verdict as Verdict

__all__ = ["Comparison", "Cost", "Curve", "Difference", "Verdict", "compare", "compare_predictives"]
