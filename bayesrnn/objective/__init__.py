"""The objective of dropout training: KL of the dropout posterior, weight decay, precision, predictive moments."""

from .conversions import Loss as Loss
from .conversions import precision as precision
from .conversions import prior_length_scale as prior_length_scale
from .conversions import weight_decay as weight_decay
from .divergence import entropy as entropy
from .divergence import kl as kl
from .divergence import model_kl as model_kl
from .divergence import negative_elbo as negative_elbo
from .groups import parameter_groups as parameter_groups
from .moments import predictive_log_likelihood as predictive_log_likelihood
from .moments import predictive_variance as predictive_variance
from .terms import WeightTerm as WeightTerm
from .terms import weight_terms as weight_terms

__all__ = [
    "Loss",
    "WeightTerm",
    "entropy",
    "kl",
    "model_kl",
    "negative_elbo",
    "parameter_groups",
    "precision",
    "predictive_log_likelihood",
    "predictive_variance",
    "prior_length_scale",
    "weight_decay",
    "weight_terms",
]
