"""The posterior engine: draws of any torch module with masks, accumulated into predictives."""

from bayesrnn.inference.audit import Audit as Audit
from bayesrnn.inference.audit import AuditWarning as AuditWarning
from bayesrnn.inference.audit import audit as audit
from bayesrnn.inference.convergence import Jackknife as Jackknife
from bayesrnn.inference.convergence import convergence as convergence
from bayesrnn.inference.convergence import jackknife as jackknife
from bayesrnn.inference.laws import Point as Point
from bayesrnn.inference.laws import point as point
from bayesrnn.inference.predict import predict as predict
from bayesrnn.inference.ranks import alone as alone
from bayesrnn.inference.stream import Stream as Stream

__all__ = [
    "Audit",
    "AuditWarning",
    "Jackknife",
    "Point",
    "Stream",
    "alone",
    "audit",
    "convergence",
    "jackknife",
    "point",
    "predict",
]
