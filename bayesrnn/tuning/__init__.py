"""Settings chosen by held-out scores: dropout rates, and how a language model reads a text."""

from bayesrnn.tuning.language import tune_perplexity as tune_perplexity
from bayesrnn.tuning.rates import RateSearch as RateSearch
from bayesrnn.tuning.rates import Trial as Trial
from bayesrnn.tuning.rates import rate_grid as rate_grid
from bayesrnn.tuning.rates import rate_search as rate_search

__all__ = ["RateSearch", "Trial", "rate_grid", "rate_search", "tune_perplexity"]
