"""Settings chosen by held-out scores: dropout rates, and how a language model reads a text."""

from bayesrnn.tuning.language import tune_perplexity as tune_perplexity
from bayesrnn.tuning.rates import rate_grid as rate_grid
from bayesrnn.tuning.rates import rate_search as rate_search
from bayesrnn.tuning.trials import RateSearch as RateSearch
from bayesrnn.tuning.trials import Trial as Trial

__all__ = ["RateSearch", "Trial", "rate_grid", "rate_search", "tune_perplexity"]
