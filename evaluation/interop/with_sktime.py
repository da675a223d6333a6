"""A `br.models.Forecaster` as an sktime forecaster with quantiles and variances; it passes `check_estimator`."""

from contextlib import suppress
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from sktime.forecasting.base import BaseForecaster

import bayesrnn as br
from evaluation.interop.data import HORIZON, SEASON, Task


class RecurrentForecaster(BaseForecaster):
    """A recurrent network with masks, trained on the windows of one series.

    Args:
        context: Values that are read.
        hidden_size: Units of each layer.
        rate: Of dropping a unit.
        epochs: Of training.
        draws: Sets of masks of a prediction.
        seed: Of weights, training and masks.

    Examples:
        >>> import numpy as np
        >>> import pandas as pd
        >>> from evaluation.interop.with_sktime import RecurrentForecaster
        >>> y = pd.Series(np.sin(np.arange(40.0)) + np.random.default_rng(0).normal(size=40))
        >>> forecaster = RecurrentForecaster(context=6, epochs=2).fit(y, fh=[1, 2])
        >>> forecaster.predict_interval(coverage=0.9).shape
        (2, 2)
    """

    _tags: ClassVar[dict[str, Any]] = {
        "authors": ["bayesrnn"],
        "scitype:y": "univariate",
        "y_inner_mtype": "pd.Series",
        "X_inner_mtype": "pd.DataFrame",
        "capability:exogenous": False,
        "requires-fh-in-fit": True,
        "capability:pred_int": True,
        "capability:pred_int:insample": False,
        "capability:insample": False,
        "capability:missing_values": False,
        "capability:random_state": False,
        "python_dependencies": ["torch"],
    }

    def __init__(
        self,
        context: int = 24,
        hidden_size: int = 16,
        rate: float = 0.1,
        epochs: int = 40,
        draws: int = 50,
        seed: int = 0,
    ) -> None:
        self.context, self.hidden_size, self.rate = context, hidden_size, rate
        self.epochs, self.draws, self.seed = epochs, draws, seed
        super().__init__()

    def _fit(self, y: pd.Series, X: Any = None, fh: Any = None) -> "RecurrentForecaster":
        steps = int(max(fh.to_relative(self.cutoff)))
        if steps < 1:
            raise NotImplementedError("only steps ahead are forecast.")
        values = torch.tensor(y.to_numpy(dtype=float))
        context = max(min(self.context, len(values) - steps - 1), 2)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            model = br.models.Forecaster(context, steps, hidden_size=self.hidden_size, num_layers=1, dropout=self.rate)
        with suppress(ValueError):  # a series that is too short, or repeats exactly, has nothing to learn from
            inputs, target = (part.float() for part in model.windows(values))
            model.standardize(inputs, target)
            br.fit(model, (inputs, target), epochs=self.epochs, learning_rate=0.01, seed=self.seed, progress=False)
        self.model_, self.values_, self.name_ = model, values, y.name
        return self

    def _update(self, y: pd.Series, X: Any = None, update_params: bool = True) -> "RecurrentForecaster":
        self.values_ = torch.cat([self.values_, torch.tensor(y.to_numpy(dtype=float))])
        return self

    def _predictive(self) -> Any:
        context = self.values_[-self.model_.context :].float()[None]
        return br.predict(self.model_, context, draws=self.draws, seed=self.seed)

    def _places(self, fh: Any) -> Any:
        return fh.to_relative(self.cutoff).to_numpy() - 1

    def _predict(self, fh: Any, X: Any = None) -> pd.Series:
        mean = self._predictive().mean[0].double().numpy()[self._places(fh)]
        return pd.Series(mean, index=fh.to_absolute_index(self.cutoff), name=self.name_)

    def _predict_quantiles(self, fh: Any, X: Any = None, alpha: Any = None) -> pd.DataFrame:
        predictive, name = self._predictive(), self._get_varnames()[0]
        values = predictive.quantile(list(alpha))[:, 0].double().numpy()[:, self._places(fh)]
        columns = pd.MultiIndex.from_product([[name], alpha])
        return pd.DataFrame(values.T, index=fh.to_absolute_index(self.cutoff), columns=columns)

    def _predict_var(self, fh: Any = None, X: Any = None, cov: bool = False) -> pd.DataFrame:
        variance = self._predictive().variance[0].double().numpy()[self._places(fh)]
        return pd.DataFrame(variance, index=fh.to_absolute_index(self.cutoff), columns=self._get_varnames())

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Return small settings."""
        return [{"context": 4, "epochs": 1, "draws": 16, "hidden_size": 4}, {"context": 3, "epochs": 2, "draws": 20}]


def forecast(task: Task, epochs: int = 40) -> tuple[Any, Any]:
    """Return its quantiles for the first series."""
    y = task.past["s0"].to_period("M")
    fitted = RecurrentForecaster(2 * SEASON, epochs=epochs).fit(y, fh=np.arange(1, HORIZON + 1))
    return br.Predictive.from_frame(fitted.predict_quantiles(alpha=[0.05, 0.25, 0.5, 0.75, 0.95])), task.target[:1]
