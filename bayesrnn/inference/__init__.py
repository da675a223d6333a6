"""The posterior engine: draws of any torch module with masks, accumulated into predictives."""

from bayesrnn.inference.audit import Audit as Audit
from bayesrnn.inference.audit import AuditWarning as AuditWarning
from bayesrnn.inference.audit import audit as audit
from bayesrnn.inference.laws import point as point
from bayesrnn.inference.predict import predict as predict

__all__ = ["Audit", "AuditWarning", "audit", "point", "predict"]
