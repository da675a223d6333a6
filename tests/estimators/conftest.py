"""Sequences and a trained regressor that the tests share."""

import numpy as np
import pytest

from bayesrnn.estimators import MCDropoutRegressor


@pytest.fixture(scope="module")
def sequences() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(60, 5, 2))
    return X, 40 + 10 * X.sum((1, 2)) + generator.normal(size=60)


@pytest.fixture(scope="module")
def regressor(sequences: tuple[np.ndarray, np.ndarray]) -> MCDropoutRegressor:
    return MCDropoutRegressor(16, dropout=0.05, epochs=60, learning_rate=0.03, draws=32).fit(*sequences)
