"""`BayesianRNNForecaster`."""

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from bayesrnn._checks import check_choice, check_seed, check_whole
from bayesrnn.forecasting import storage
from bayesrnn.forecasting._backtest import Backtest
from bayesrnn.forecasting.fitted import last_windows
from bayesrnn.forecasting.learn import learn
from bayesrnn.forecasting.options import Options
from bayesrnn.forecasting.panel import covariates_ahead, read_panel
from bayesrnn.forecasting.public_holidays import check_holidays
from bayesrnn.forecasting.record import Columns, Record, column_names, describe
from bayesrnn.forecasting.rolling import judged
from bayesrnn.forecasting.state import State, share_of
from bayesrnn.models.encoder import scheme_of
from bayesrnn.predictive import ContinuousPredictive
from bayesrnn.schemes import Scheme, gal

_SCHEMES = tuple(gal(input=p, hidden=q, output=q, gates="tied") for p, q in ((0.05, 0.1), (0.2, 0.5)))


class BayesianRNNForecaster:
    r"""Forecasts of one or many series with intervals, from a table of rows.

    Ridge regressions on lags, past seasons and the calendar, chosen on the validation span, give a mean $b_h$; a
    recurrent network with masks learns what it leaves, $y_{o+h} \sim p(b_h + c\,s_h \mu_h, c\,s_h \sigma_h)$. Both are
    then fitted again to everything. One set of masks serves a whole roll-out.

    Args:
        horizon: Steps ahead.
        seasons: Steps of each season, such as (24, 168); by default day, week and year as far as the time step and the
            length allow.
        known: Columns of covariates known in advance (a holiday, a price).
        past: Columns of covariates known up to the origin of a forecast.
        static: Columns of covariates that do not change over time.
        draws: Mask sets per forecast.
        seed: Seed of weights and masks.
        hidden_size: Units of each recurrent layer.
        num_layers: Recurrent layers.
        dropout: A rate (= ``schemes.gal(p)``) or a scheme; by default .05 on inputs and .1 on states, or .2 and .5
            where it is better in the validation span.
        likelihood: "gaussian", "student_t", "mixture" (of two Gaussians), or "auto": first or last, by validation.
        epochs: Passes over the windows; by default as many as 600 steps make.
        context: Steps before an origin that the network reads; by default two seasons, 24 to 96.
        learning_rate: Highest step size of AdamW.
        progress: Whether to show bars on a terminal.
        holidays: A country or a part of one, such as "US" or "DE-BY", whose public holidays, the days before and the
            days after are features, for steps of a day or shorter. Needs ``pip install holidays``.

    Example:
        >>> import numpy as np, pandas as pd
        >>> times = pd.date_range("2020-01-01", periods=120, freq="D")
        >>> frame = pd.DataFrame({"ds": times, "y": np.sin(np.arange(120) / 3) + np.arange(120) % 7})
        >>> forecaster = BayesianRNNForecaster(horizon=5, draws=16, epochs=2, likelihood="gaussian").fit(frame)
        >>> list(forecaster.predict(levels=(80,)).columns)
        ['ds', 'mean', 'median', 'std', 'lo-80', 'hi-80']
    """

    def __init__(
        self,
        horizon: int,
        seasons: Sequence[int] | None = None,
        known: Sequence[str] = (),
        past: Sequence[str] = (),
        static: Sequence[str] = (),
        draws: int = 200,
        seed: int = 0,
        *,
        hidden_size: int = 32,
        num_layers: int = 1,
        dropout: float | Scheme | None = None,
        likelihood: str = "auto",
        epochs: int | None = None,
        context: int | None = None,
        learning_rate: float = 2e-3,
        progress: bool = False,
        holidays: str | None = None,
    ) -> None:
        self.horizon = check_whole(horizon, "horizon")
        self.seasons = None if seasons is None else tuple(sorted({check_whole(m, "seasons") for m in seasons}))
        self.known, self.past, self.static = (
            column_names(known, "known"),
            column_names(past, "past"),
            column_names(static, "static"),
        )
        self.draws = check_whole(draws, "draws", 2)
        self.seed = check_seed(seed)
        self.hidden_size = check_whole(hidden_size, "hidden_size")
        self.num_layers = check_whole(num_layers, "num_layers")
        self.dropout = None if dropout is None else scheme_of(dropout)
        if self.dropout is not None and not self.dropout.active:
            raise ValueError("dropout must be above 0: without masks there is no epistemic uncertainty.")
        self.likelihood = check_choice(likelihood, "likelihood", ("auto", "gaussian", "student_t", "mixture"))
        self.epochs = None if epochs is None else check_whole(epochs, "epochs")
        self.context = None if context is None else check_whole(context, "context")
        self.learning_rate = learning_rate
        self.progress = progress
        self.holidays = check_holidays(holidays)
        self.state_: State | None = None

    def fit(
        self,
        frame: Any,
        id: str = "unique_id",
        time: str = "ds",
        target: str = "y",
        validation: Any = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> "BayesianRNNForecaster":
        """Choose on the validation span, learn from everything, and keep the ends of the series.

        Args:
            frame: A table with one row per series and time; empty targets and missing rows count as not observed.
            id: Column that names the series; a table without a column "unique_id" holds one series.
            time: Column of the times: dates or numbers at equal steps.
            target: Column of the values.
            validation: What is chosen on: a share of each series, or the time at which it begins; by default the last
                fifth.
            checkpoint: Folder for the state of the trainings: a fit that was stopped goes on from there.

        Raises:
            TypeError: If `frame` is no DataFrame.
            ValueError: If a column lacks, the target is no numbers, times repeat, or no series is long enough.
        """
        single = id == "unique_id" and hasattr(frame, "columns") and id not in frame.columns
        columns = Columns(None if single else id, time, target, self.known, self.past, self.static)
        records, encoding = read_panel(frame, columns)
        schemes = _SCHEMES if self.dropout is None else (self.dropout,)
        likelihoods = ("mixture", "gaussian") if self.likelihood == "auto" else (self.likelihood,)
        options = Options(
            self.horizon, self.seasons, self.hidden_size, self.num_layers, schemes, likelihoods, self.epochs,
            self.learning_rate, self.seed, self.progress,
            None if checkpoint is None else Path(checkpoint), self.context, self.holidays,
        )  # fmt: skip
        outcome = learn(records, options, validation)
        self.history_ = outcome.trained.history
        self.state_ = State.after(outcome, records, columns, encoding, draws=self.draws, seed=self.seed)
        return self

    def predict(self, frame: Any = None, known: Any = None, levels: Sequence[float] = (50, 80, 95)) -> Any:
        """Return the forecasts of the next `horizon` steps, one line per series and step.

        Args:
            frame: Histories to forecast from, of known or new series; by default what was fitted and updated.
            known: Covariates known in advance for the steps ahead, with ids and times.
            levels: Of the intervals, in percent: 80 gives the columns `lo-80` and `hi-80`.

        Returns:
            A table: id, time, mean, median, std, and the ends of each interval.

        Raises:
            ValueError: If the forecaster was not fitted, covariates are missing in the horizon, or a category is new.
        """
        state, shares = self._fitted(), [share_of(level) for level in levels]
        return state.frame(*self._ahead(frame, known), shares)

    def predict_distribution(self, frame: Any = None, known: Any = None) -> ContinuousPredictive:
        """Return the predictive of the next steps, (series, horizon), in the order of the ids. See `predict`."""
        return self._ahead(frame, known)[0]

    def paths(self, n: int, frame: Any = None, known: Any = None, seed: int | None = None) -> Tensor:
        """Return n paths of the next steps of every series, (n, series, horizon), for totals, maxima and crossings.

        A path comes from one set of masks, and its noise moves along the steps as errors did in the validation span.
        """
        return self._ahead(frame, known)[0].paths(n, self.seed if seed is None else seed)

    def update(self, frame: Any) -> "BayesianRNNForecaster":
        """Take new rows in: histories and recalibration move on, weights stay; in pieces the numbers are the same.

        Raises:
            ValueError: If rows do not start right after those known, or a series is new.
        """
        self.state_ = self._fitted().updated(frame)
        return self

    def backtest(
        self,
        frame: Any = None,
        *,
        start: Any = None,
        every: int = 1,
        draws: int | None = None,
        recalibrate: bool = True,
        forecast: Callable[..., Any] | None = None,
    ) -> Backtest:
        """Forecast from origins that roll through a table, knowing at each only what came before it.

        The parameters are those that were fitted, on everything if `frame` is None; for an honest judgement fit on
        earlier rows and pass later ones.

        Args:
            frame: Histories; by default what was fitted and updated.
            start: Time of the first target; by default as early as the context allows.
            every: Steps between origins.
            draws: Mask sets per forecast; 0 for the deterministic pass (the standard dropout approximation).
            recalibrate: Whether intervals follow the errors that each origin already knows.
            forecast: Another forecaster to judge on the same origins, ``forecast(history, horizon)``: from a table of
                rows up to the origin to samples (n, horizon) or a `Predictive`.
        """
        return judged(
            self._fitted(),
            frame,
            start=start,
            every=check_whole(every, "every"),
            draws=None if draws is None else check_whole(draws, "draws", 0),
            recalibrate=recalibrate,
            forecast=forecast,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the forecaster to a folder: safetensors and JSON, from which loading runs no code."""
        storage.save_state(self._fitted(), self.get_params(), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "BayesianRNNForecaster":
        """Return the forecaster that `save` wrote.

        Raises:
            ValueError: If there is none, or it is damaged or of another version.
        """
        state, params = storage.load_state(path)
        forecaster = cls(**params)
        forecaster.state_ = state
        return forecaster

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    @property
    def summary_(self) -> dict[str, Any]:
        """What was fitted: series, rows, span, step, seasons, choices and validation scores, as JSON values."""
        state = self._fitted()
        return {**describe(state.records, state.columns), **state.summary}

    def _ahead(self, frame: Any, known: Any) -> tuple[ContinuousPredictive, list[Record]]:
        state = self._fitted()
        records = state.records if frame is None else read_panel(frame, state.columns, state.encoding)[0]
        later = covariates_ahead(known, records, state.columns, state.encoding, self.horizon)
        windows = last_windows(state.fitted, records, later)
        return state.forecast(windows, records), list(records)

    def _fitted(self) -> State:
        if self.state_ is None:
            raise ValueError("this BayesianRNNForecaster was not fitted: call fit(frame), or load one.")
        return self.state_
