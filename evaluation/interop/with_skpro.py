"""`MCDropoutRegressor` as a skpro regressor: predict_proba gives the whole distribution."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
from skpro.distributions import Normal
from skpro.regression.base import BaseProbaRegressor

import bayesrnn as br
from bayesrnn.estimators import MCDropoutRegressor
from evaluation.interop.data import HORIZON, Task, windows


class RecurrentRegressor(BaseProbaRegressor):
    """A recurrent network over the columns of a row, in their order.

    Args:
        epochs: Of training.
        draws: Sets of masks of a prediction.

    Examples:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from evaluation.interop.with_skpro import RecurrentRegressor
        >>> x = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 5)))
        >>> regressor = RecurrentRegressor(epochs=2, draws=16).fit(x, x.sum(axis=1).to_frame())
        >>> regressor.predict_proba(x[:3]).shape
        (3, 1)
    """

    _tags: ClassVar[dict[str, Any]] = {"capability:missing": False, "capability:multioutput": False}

    def __init__(self, epochs: int = 60, draws: int = 50) -> None:
        self.epochs, self.draws = epochs, draws
        super().__init__()

    def _fit(self, X: pd.DataFrame, y: pd.DataFrame) -> "RecurrentRegressor":
        self.columns_ = y.columns
        model = MCDropoutRegressor(epochs=self.epochs, draws=self.draws, learning_rate=0.01)
        self.model_ = model.fit(_sequences(X), y.to_numpy().ravel())
        return self

    def _predict_proba(self, X: pd.DataFrame) -> Normal:
        mean, std = self.model_.predict(_sequences(X), return_std=True)
        return Normal(mean[:, None], std[:, None], index=X.index, columns=self.columns_)

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Return small settings."""
        return [{"epochs": 1, "draws": 16}, {"epochs": 2, "draws": 20}]


def _sequences(X: pd.DataFrame) -> Any:
    return X.to_numpy(dtype=np.float32)[..., None]


def forecast(task: Task, epochs: int = 60) -> tuple[Any, Any]:
    """Return the quantiles of predict_proba for the twelve months held out."""
    x, y = windows(np.concatenate([task.past["s0"], task.future["s0"]]))
    table, target = pd.DataFrame(x[..., 0]), pd.DataFrame({"y": y})
    fitted = RecurrentRegressor(epochs).fit(table[:-HORIZON], target[:-HORIZON])
    quantiles = fitted.predict_proba(table[-HORIZON:]).quantile([0.05, 0.25, 0.5, 0.75, 0.95])
    return br.Predictive.from_frame(quantiles), y[-HORIZON:]
