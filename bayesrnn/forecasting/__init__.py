"""Forecast from end to end: train, backtest, recalibrate, compare, write a report."""

from bayesrnn.forecasting._backtest import Backtest as Backtest
from bayesrnn.forecasting._backtest import backtest as backtest
from bayesrnn.forecasting._backtest import forecast as forecast
from bayesrnn.forecasting._study import study as study
from bayesrnn.forecasting._train import train as train
from bayesrnn.forecasting.baselines import exponential_smoothing as exponential_smoothing
from bayesrnn.forecasting.baselines import seasonal_naive as seasonal_naive
from bayesrnn.forecasting.hedged import HedgedIntervals as HedgedIntervals
from bayesrnn.forecasting.intervals import compare_forecasts as compare_forecasts
from bayesrnn.forecasting.recalibrate import RollingIntervals as RollingIntervals
from bayesrnn.forecasting.result import Study as Study
from bayesrnn.forecasting.settings import Settings as Settings
from bayesrnn.forecasting.settings import quick as quick
from bayesrnn.forecasting.settings import settings_for as settings_for
from bayesrnn.forecasting.splits import Split as Split
from bayesrnn.forecasting.splits import split_in_time as split_in_time
from bayesrnn.predictive.distributions.stretched import RadialDistribution as RadialDistribution

__all__ = [
    "Backtest",
    "HedgedIntervals",
    "RadialDistribution",
    "RollingIntervals",
    "Settings",
    "Split",
    "Study",
    "backtest",
    "compare_forecasts",
    "exponential_smoothing",
    "forecast",
    "quick",
    "seasonal_naive",
    "settings_for",
    "split_in_time",
    "study",
    "train",
]
