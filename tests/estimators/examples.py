"""Sequences whose last values are the target, and how to learn them."""

from typing import Any

import numpy as np

LEARNING: dict[str, Any] = {"hidden_size": 8, "dropout": 0.02, "epochs": 30, "learning_rate": 0.03, "draws": 8}


def last_values(rows: int = 120, steps: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of unequal lengths, zeros behind their ends; the target is the row's last own value."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, 5, rows)
    X = generator.normal(size=(rows, steps, 1))
    X[np.arange(steps) >= lengths[:, None]] = 0.0
    return X, X[np.arange(rows), lengths - 1, 0], lengths
