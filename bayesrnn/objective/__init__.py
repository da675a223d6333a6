"""The objective of dropout training: KL of the dropout posterior, weight decay, precision."""

from bayesrnn.objective.conversions import Loss, parameter_groups, precision, prior_length_scale, weight_decay
from bayesrnn.objective.divergence import entropy, kl, model_kl, negative_elbo
from bayesrnn.objective.terms import WeightTerm, weight_terms

__all__ = [
    "Loss",
    "WeightTerm",
    "entropy",
    "kl",
    "model_kl",
    "negative_elbo",
    "parameter_groups",
    "precision",
    "prior_length_scale",
    "weight_decay",
    "weight_terms",
]
