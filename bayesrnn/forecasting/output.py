"""A study written down: tables, pictures and one page, each file whole or not at all."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesrnn._files import atomic_write
from bayesrnn.forecasting._backtest import Backtest
from bayesrnn.forecasting._study import MC, Study
from bayesrnn.forecasting.page import study_page
from bayesrnn.forecasting.pictures import (
    calibration_picture,
    comparison_picture,
    forecast_picture,
    future_picture,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORECAST_COLUMNS", "forecast_frame", "future_frame", "write"]

FORECAST_COLUMNS = (
    "time", "observed", "mean", "std", "aleatoric", "epistemic",
    "lower_50", "upper_50", "lower_80", "upper_80", "lower_95", "upper_95",
)  # fmt: skip


def forecast_frame(test: Backtest) -> Any:
    """Return one line per held-out time, each by the last forecast of `Backtest.chained` that reaches it."""
    rows, steps = test.chained()
    frame = test[rows].to_frame()
    shown = frame["horizon"].to_numpy() <= steps.repeat_interleave(test.horizon).numpy()
    return frame.loc[shown, list(FORECAST_COLUMNS)].reset_index(drop=True)


def future_frame(found: Study) -> Any:
    """Return a line for each step after the end of the series; what will be observed is empty."""
    import pandas as pd

    distribution = found.future
    columns: dict[str, Any] = {"time": found.series.future(found.settings.horizon), "observed": float("nan")}
    for name in ("mean", "std", "aleatoric", "epistemic"):
        columns[name] = getattr(distribution, name)[0].numpy()
    for level in (0.5, 0.8, 0.95):
        low, high = distribution.interval(level)
        columns[f"lower_{100 * level:g}"], columns[f"upper_{100 * level:g}"] = low[0].numpy(), high[0].numpy()
    return pd.DataFrame(columns)[list(FORECAST_COLUMNS)]


def write(found: Study, folder: str | os.PathLike[str], *, future: bool = False) -> list[Path]:
    """Write everything to `folder` (made if missing) and return the paths.

    Everything is computed before the first file is written, and each file appears whole.

    Args:
        found: The study.
        folder: Where to.
        future: Whether forecast.csv and forecast.png are about the steps after the end; then held_out.csv and
            held_out.png are about the held-out span.
    """
    held_out = forecast_frame(found.recalibrated)
    frames = {"forecast.csv": future_frame(found), "held_out.csv": held_out} if future else {"forecast.csv": held_out}
    frames["backtest.csv"] = _both(found)
    frames["comparison.csv"] = found.table
    past = forecast_picture(found.recalibrated, 2 * found.settings.horizon, found.value(MC, "coverage_80"))
    pictures = (
        {"forecast.png": future_picture(found.series, found.future), "held_out.png": past}
        if future
        else {"forecast.png": past}
    )
    pictures |= {
        "calibration.png": calibration_picture(found.raw, found.recalibrated, found.blocks),
        "comparison.png": comparison_picture(found.table, found.series.units, {}),
    }
    images = {name: _png(figure) for name, figure in pictures.items()}
    contents: dict[str, str | bytes] = {
        name: frame.to_csv(index=False, float_format="%.8g") for name, frame in frames.items()
    }
    contents |= images
    contents["report.html"] = study_page(found, images, frames["forecast.csv"] if future else None).html()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        atomic_write(folder / name, content)
    return [folder / name for name in contents]


def _both(found: Study) -> Any:
    """Every forecast from every origin, raw and recalibrated, each column with the word that says which."""
    import pandas as pd

    shared = ["origin", "horizon", "time", "observed"]
    raw, after = found.raw.to_frame(), found.recalibrated.to_frame()
    own = [part.drop(columns=shared).add_suffix(word) for part, word in ((raw, "_raw"), (after, "_recalibrated"))]
    return pd.concat([raw[shared], *own], axis=1).assign(factor_80=found.factors[1].reshape(-1).numpy())


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": "bayesrnn"})
    return buffer.getvalue()
