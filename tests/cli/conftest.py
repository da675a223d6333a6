"""Runs of `bayesrnn forecast` that the tests share and leave as they are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesrnn.cli import main
from tests.cli.series import QUICK, panel


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a series of 160 days, of which the last ten are in `later.csv`."""
    folder = tmp_path_factory.mktemp("series")
    steps = np.arange(170)
    values = np.sin(2 * np.pi * steps / 7) + 0.05 * np.random.default_rng(0).normal(size=170).cumsum()
    table = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=170, freq="D"), "sales": values})
    table.head(160).to_csv(folder / "early.csv", index=False)
    table.tail(20).to_csv(folder / "later.csv", index=False)  # ten days are in both
    table.tail(7).to_csv(folder / "gap.csv", index=False)
    options = ["--time", "day", "--target", "sales", "--horizon", "5", *QUICK]
    assert main(["forecast", str(folder / "early.csv"), *options, "-o", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shops")
    panel(200, 6).to_csv(folder / "early.csv", index=False)
    panel(230, 6, skip=200).to_csv(folder / "later.csv", index=False)
    options = ["--time", "day", "--id", "shop", "--target", "sold", "--known", "holiday", "--horizon", "6", *QUICK]
    assert main(["forecast", str(folder / "early.csv"), *options, "-o", str(folder / "run"), "--epochs", "3"]) == 0
    return folder / "run"
