"""Recurrent networks with Monte Carlo dropout as scikit-learn estimators."""

from bayesrnn.estimators.classifier import MCDropoutClassifier as MCDropoutClassifier
from bayesrnn.estimators.regressor import MCDropoutRegressor as MCDropoutRegressor

__all__ = ["MCDropoutClassifier", "MCDropoutRegressor"]
