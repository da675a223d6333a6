"""The posterior engine: draws of any torch module with masks, accumulated into predictives."""

from bayesrnn.inference._audit import Audit as Audit
from bayesrnn.inference._audit import AuditWarning as AuditWarning
from bayesrnn.inference._audit import audit as audit
from bayesrnn.inference._convergence import Jackknife as Jackknife
from bayesrnn.inference._convergence import convergence as convergence
from bayesrnn.inference._convergence import jackknife as jackknife
from bayesrnn.inference._linearize import linearize as linearize
from bayesrnn.inference._predict import NoLikelihoodWarning as NoLikelihoodWarning
from bayesrnn.inference._predict import predict as predict
from bayesrnn.inference._predict_to import predict_to as predict_to
from bayesrnn.inference.distributed import alone as alone
from bayesrnn.inference.linear.result import LinearPredictive as LinearPredictive
from bayesrnn.inference.outputs import Point as Point
from bayesrnn.inference.outputs import point as point
from bayesrnn.inference.recording import recorded_passes as recorded_passes
from bayesrnn.inference.stream import Stream as Stream
from bayesrnn.inference.translation import Translation as Translation

__all__ = [
    "Audit",
    "AuditWarning",
    "Jackknife",
    "LinearPredictive",
    "NoLikelihoodWarning",
    "Point",
    "Stream",
    "Translation",
    "alone",
    "audit",
    "convergence",
    "jackknife",
    "linearize",
    "point",
    "predict",
    "predict_to",
    "recorded_passes",
]
