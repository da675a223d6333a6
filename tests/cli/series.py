"""A panel of shops, options of small runs, and how a command is refused."""

import numpy as np
import pandas as pd
import pytest

from bayesrnn.cli import main

QUICK = ["--quick", "--threads", "1"]
SMALL_SEQUENCES = ["--hidden", "12", "--draws", "16", "--threads", "1"]
SMALL_LM = ["--hidden", "12", "--embedding", "12", "--layers", "1"]
SMALL_LM += ["--epochs", "2", "--batch-size", "4", "--window", "8"]


def panel(rows: int, ahead: int, skip: int = 0) -> pd.DataFrame:
    """Three shops with a holiday that acts; the last `ahead` days without sales."""
    parts = []
    for k, shop in enumerate(("north", "south", "west")):
        rng = np.random.default_rng(k)
        holiday = rng.random(400) < 0.15
        sold = 20 * (k + 1) + 4 * np.sin(2 * np.pi * np.arange(400) / 7) + 12 * holiday + rng.normal(size=400)
        days = pd.date_range("2024-01-01", periods=400)
        part = pd.DataFrame({"shop": shop, "day": days, "sold": sold, "holiday": np.where(holiday, "yes", "no")})
        part.loc[rows:, "sold"] = np.nan
        parts.append(part.iloc[skip : rows + ahead])
    return pd.concat(parts)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    complaint = capsys.readouterr().err
    assert complaint.count("\n") == 1
    return complaint
