"""What is chosen before the held-out span is looked at."""

from dataclasses import dataclass, replace

from bayesrnn import schemes
from bayesrnn._checks import check_number, check_rate, check_seed, check_whole
from bayesrnn.data.series import Series
from bayesrnn.forecasting.origins import spacing

LEVELS = (0.5, 0.8, 0.95)
"""Levels of the intervals that are recalibrated, judged and written down."""

_BATCH = 32
_MANY = 1000


@dataclass(frozen=True)
class Settings:
    """What is chosen before the held-out span is looked at.

    Args:
        horizon: Steps ahead.
        context: Values that the network reads; five seasons by default.
        hidden_size: Units of each of the two layers.
        input_rate: Dropout rate on what enters a layer.
        hidden_rate: Dropout rate on hidden states and on the output.
        epochs: Passes over the training windows.
        learning_rate: Highest step size.
        draws: Mask sets per forecast.
        every: Steps between origins.
        seed: Of weights and masks.
    """

    horizon: int
    context: int
    hidden_size: int = 16
    input_rate: float = 0.2
    hidden_rate: float = 0.5
    epochs: int = 30
    learning_rate: float = 2e-3
    draws: int = 200
    every: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name in ("horizon", "context", "hidden_size", "epochs", "every"):
            check_whole(getattr(self, name), name)
        check_whole(self.draws, "draws", 2)
        for name in ("input_rate", "hidden_rate"):
            check_rate(getattr(self, name), name)
        check_number(self.learning_rate, "learning_rate", "positive and finite", 0.0, above=True)

    def scheme(self) -> schemes.Scheme:
        """Return one mask for all steps, shared by the gates."""
        return schemes.gal(input=self.input_rate, hidden=self.hidden_rate, output=self.hidden_rate, gates="tied")

    def naive_scheme(self) -> schemes.Scheme:
        """Return a new mask each step at the same rates."""
        return schemes.naive(input=self.input_rate, hidden=self.hidden_rate, output=self.hidden_rate)


def settings_for(
    series: Series,
    horizon: int,
    *,
    context: int | None = None,
    epochs: int | None = None,
    draws: int = 200,
    seed: int = 0,
) -> Settings:
    """Return settings for any series: a context of five seasons where it is long enough, at most 600 training steps.

    Args:
        series: The series.
        horizon: Steps ahead.
        context: Values that the network reads.
        epochs: Passes over the training windows.
        draws: Mask sets per forecast.
        seed: Seed.
    """
    season = series.period
    seasons = max(2, min(5, len(series) // (8 * season)))
    context = max(seasons * season, min(3 * horizon, len(series) // 8), 2) if context is None else context
    windows = max(round(0.6 * len(series)) - context - horizon, 1)
    epochs = min(30, max(3, round(600 * _BATCH / windows))) if epochs is None else epochs
    origins = max(round(0.2 * len(series)) - horizon, 1)
    hidden = 16 if windows < _MANY else 32
    every = spacing(max(origins // 120, 1), season)
    return Settings(horizon, context, hidden, epochs=epochs, draws=draws, seed=seed, every=every)


def quick(settings: Settings, *, epochs: int | None = None, draws: int | None = None) -> Settings:
    """Return settings that run in seconds, for a first look: never more work than `settings`, unless asked for."""
    return replace(
        settings,
        hidden_size=min(settings.hidden_size, 8),
        epochs=min(settings.epochs, 2) if epochs is None else epochs,
        draws=min(settings.draws, 16) if draws is None else draws,
        every=max(settings.every, settings.horizon // 4),
    )
