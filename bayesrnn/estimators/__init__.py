"""Recurrent networks with Monte Carlo dropout as estimators: scikit-learn's contract, and forecasts of a table."""

from bayesrnn.estimators.classifier import MCDropoutClassifier as MCDropoutClassifier
from bayesrnn.estimators.forecaster import BayesianRNNForecaster as BayesianRNNForecaster
from bayesrnn.estimators.regressor import MCDropoutRegressor as MCDropoutRegressor

__all__ = ["BayesianRNNForecaster", "MCDropoutClassifier", "MCDropoutRegressor"]
