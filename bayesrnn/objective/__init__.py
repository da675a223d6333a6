"""The objective of dropout training: KL of the dropout posterior, weight decay, precision."""

from bayesrnn.objective.conversions import Loss as Loss
from bayesrnn.objective.conversions import parameter_groups as parameter_groups
from bayesrnn.objective.conversions import precision as precision
from bayesrnn.objective.conversions import prior_length_scale as prior_length_scale
from bayesrnn.objective.conversions import weight_decay as weight_decay
from bayesrnn.objective.divergence import entropy as entropy
from bayesrnn.objective.divergence import kl as kl
from bayesrnn.objective.divergence import model_kl as model_kl
from bayesrnn.objective.divergence import negative_elbo as negative_elbo
from bayesrnn.objective.terms import WeightTerm as WeightTerm
from bayesrnn.objective.terms import weight_terms as weight_terms

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
