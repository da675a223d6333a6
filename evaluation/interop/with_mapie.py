"""Conformal intervals of MAPIE around `MCDropoutRegressor`: as wide as the network is unsure, by return_std."""

import warnings
from typing import Any

import numpy as np
from mapie.conformity_scores import ResidualNormalisedScore
from mapie.regression import SplitConformalRegressor
from sklearn.base import BaseEstimator, RegressorMixin

import bayesrnn as br
from bayesrnn.estimators import MCDropoutRegressor
from evaluation.interop.data import HORIZON, Task, windows


class Flat(RegressorMixin, BaseEstimator):
    """The regressor with windows as rows of a table, as MAPIE wants them; `part` chooses what it predicts."""

    def __init__(self, epochs: int = 60, part: str = "mean") -> None:
        self.epochs, self.part = epochs, part

    def fit(self, x: Any, y: Any) -> "Flat":
        """Train."""
        self.model_ = MCDropoutRegressor(epochs=self.epochs, draws=32, learning_rate=0.01).fit(_sequences(x), y)
        self.n_features_in_ = x.shape[1]
        return self

    def predict(self, x: Any) -> Any:
        """Return the mean, or the standard deviation."""
        mean, std = self.model_.predict(_sequences(x), return_std=True)
        return mean if self.part == "mean" else std


def _sequences(x: Any) -> Any:
    return np.asarray(x, dtype=np.float32)[..., None]


def forecast(task: Task, epochs: int = 60) -> tuple[Any, Any]:
    """Return the intervals of the twelve months held out, one step ahead each."""
    values = np.concatenate([task.past["s0"], task.future["s0"]])
    x, y = windows(values)
    x, half = x[..., 0], len(x) // 2
    fitted = Flat(epochs).fit(x[:half], y[:half])
    spread = Flat(epochs, "std")
    spread.model_, spread.n_features_in_ = fitted.model_, fitted.n_features_in_
    levels = [0.5, 0.8, 0.9]
    score = ResidualNormalisedScore(residual_estimator=spread, prefit=True, sym=True)
    model = SplitConformalRegressor(fitted, confidence_level=levels, conformity_score=score, prefit=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.conformalize(x[half:-HORIZON], y[half:-HORIZON])
        _, ends = model.predict_interval(x[-HORIZON:])
    return br.Predictive.from_intervals(levels, ends), y[-HORIZON:]
