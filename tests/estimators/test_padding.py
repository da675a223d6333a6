"""Rows of unequal lengths, and numbers that float32 would merge."""

from typing import Any

import numpy as np
import pytest
import sklearn
import torch
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score

from bayesrnn.estimators import MCDropoutClassifier, MCDropoutRegressor
from tests.estimators.examples import LEARNING, last_values


def test_padding_is_not_read(sequences: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = sequences
    lengths = np.random.default_rng(2).integers(1, 6, size=60).tolist()
    other = X.copy()
    for row, length in enumerate(lengths):
        other[row, length:] = 9.0
    options = {"hidden_size": 4, "epochs": 2, "draws": 4}
    first = MCDropoutRegressor(**options).fit(X, y, lengths).predict(X, lengths=lengths)
    second = MCDropoutRegressor(**options).fit(other, y, lengths).predict(other, lengths=lengths)
    np.testing.assert_allclose(first, second, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (1.7e9 + 10 * x, y), "column 0 of X varies by .* which float32 does not resolve"),
        (lambda x, y: (x, 1e9 + y), "y varies by .* which float32 does not resolve"),
        (lambda x, y: (x, 1e-30 * y), "y varies by"),
        (lambda x, y: (x, 1e30 * y), "y varies by"),
        (lambda x, y: ([[1.0, 2.0, 3.0], [1.0, 2.0]], y[:2]), r"unequal lengths \(2 to 3\).*lengths="),
        (lambda x, y: (torch.tensor(x, requires_grad=True), y), r"Pass X.detach\(\)"),
    ],
)
def test_what_float32_would_merge_is_refused(change: Any, message: str) -> None:
    x = np.random.default_rng(0).normal(size=(20, 4, 2))
    with pytest.raises(ValueError, match=message):
        MCDropoutRegressor(hidden_size=4, epochs=1, draws=16).fit(*change(x, x.sum((1, 2))))


def test_what_lies_behind_the_end_of_a_row_is_not_held_against_float32() -> None:
    x = np.random.default_rng(0).normal(size=(20, 4, 2))
    padded = np.concatenate([x, np.full((20, 1, 2), 1e30)], 1)
    for values, lengths in ((x, None), (padded, [4] * 20)):
        MCDropoutRegressor(hidden_size=4, epochs=1, draws=16).fit(values, x.sum((1, 2)), lengths)
    with pytest.raises(ValueError, match="float32 does not resolve"):
        MCDropoutRegressor(epochs=1).fit(1e9 + np.where(padded > 1e9, -1e9, padded), x.sum((1, 2)), [4] * 20)


def test_tokens_with_fractions_and_lengths_in_the_wrong_place_are_refused() -> None:
    x = np.random.default_rng(0).uniform(0, 4, (20, 5))
    with pytest.raises(ValueError, match="some have fractions"):
        MCDropoutClassifier(vocabulary=5, epochs=1).fit(x, np.arange(20) % 2)
    model = MCDropoutRegressor(hidden_size=4, epochs=1, draws=16).fit(x, x.sum(1))
    with pytest.raises(TypeError, match="passed as lengths="):
        model.predict(x, [3] * 20)


def test_scores_and_searches_respect_lengths() -> None:
    X, y, lengths = last_values()
    model = MCDropoutRegressor(**LEARNING).fit(X, y, lengths)
    right = model.score(X, y, lengths=lengths)
    assert right > 0.9
    assert model.score(X, y) == pytest.approx(right)
    assert r2_score(y, model.predict(X, lengths=[X.shape[1]] * len(X))) < 0.8
    assert cross_val_score(MCDropoutRegressor(**LEARNING), X, y, cv=2, params={"lengths": lengths}).min() > 0.8
    search = GridSearchCV(MCDropoutRegressor(**LEARNING), {"cell": ["gru"]}, cv=2).fit(X, y, lengths=lengths)
    assert search.best_score_ > 0.8
    assert search.score(X, y) > 0.9
    with sklearn.config_context(enable_metadata_routing=True):
        other = X.copy()
        other[np.arange(X.shape[1]) >= lengths[:, None]] = np.random.default_rng(3).normal(
            size=(X.size - lengths.sum(), 1)
        )
        found = cross_val_score(MCDropoutRegressor(**LEARNING), other, y, cv=2, params={"lengths": lengths})
    assert found.min() > 0.8


def test_nan_behind_the_end_is_padding() -> None:
    X, y, lengths = last_values(40)
    options: dict[str, Any] = {"hidden_size": 4, "epochs": 2, "draws": 4}
    known = MCDropoutRegressor(**options).fit(X, y, lengths)
    missing = X.copy()
    missing[np.arange(X.shape[1]) >= lengths[:, None]] = np.nan
    marked = MCDropoutRegressor(**options).fit(missing, y)
    expected = known.predict(X, lengths=lengths)
    for found in (marked.predict(missing), marked.predict(X, lengths=lengths), known.predict(missing, lengths=lengths)):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    shorter = missing[:, : lengths.max()]
    np.testing.assert_allclose(marked.predict(shorter), expected, rtol=1e-5)
    missing[3, 0] = np.nan
    missing[3, 1] = 1.0
    with pytest.raises(ValueError, match="Input X contains NaN"):
        marked.predict(missing)


@pytest.mark.parametrize("tokens", [False, True])
def test_widths_of_padded_rows_may_differ(tokens: bool) -> None:
    generator = np.random.default_rng(0)
    X = generator.integers(1, 9, (30, 6)) if tokens else generator.normal(size=(30, 6))
    lengths = generator.integers(1, 5, 30)
    X[np.arange(6) >= lengths[:, None]] = 0
    options: dict[str, Any] = {"hidden_size": 4, "epochs": 1, "draws": 4, "vocabulary": 9 if tokens else None}
    model = MCDropoutRegressor(**options).fit(X, lengths, lengths)
    wide = np.concatenate([X, np.zeros((30, 3), X.dtype)], 1)
    expected = model.predict(X, lengths=lengths)
    for given in (X[:, :4], wide):
        np.testing.assert_allclose(model.predict(given, lengths=lengths), expected, rtol=1e-5)
        np.testing.assert_allclose(model.predict(given), expected, rtol=1e-5)
    strict = MCDropoutRegressor(**options).fit(X, lengths)
    with pytest.raises(ValueError, match="X has 9 features, but MCDropoutRegressor is expecting 6"):
        strict.predict(wide)


def test_padding_that_cannot_be_told_from_values_asks_for_lengths() -> None:
    X, y, lengths = last_values(30)
    X[0, lengths[0] - 1] = 0.0  # a row that ends as padding looks
    model = MCDropoutRegressor(4, epochs=1, draws=4).fit(X, y, lengths)
    with pytest.raises(
        ValueError, match=r"fitted with lengths, but none came with these rows(?s:.)*NaN behind the end"
    ):
        model.score(X, y)
    assert np.isfinite(model.score(X, y, lengths=lengths))


def test_dimensions_and_features_are_checked() -> None:
    X, y, _ = last_values(20)
    three = MCDropoutRegressor(4, epochs=1, draws=4).fit(np.repeat(X, 2, 2), y)
    assert three.n_features_in_ == 2
    with pytest.raises(ValueError, match="X has 1 features per step"):
        three.predict(X)
    with pytest.raises(ValueError, match="X has 2 dimensions, but MCDropoutRegressor was fitted with 3"):
        three.predict(X[:, :2, 0])
    two = MCDropoutRegressor(4, epochs=1, draws=4).fit(X[:, :, 0], y)
    with pytest.raises(ValueError, match="X has 3 dimensions, but MCDropoutRegressor was fitted with 2"):
        two.predict(np.ones((2, 3, 12)))
