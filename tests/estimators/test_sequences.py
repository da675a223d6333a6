"""The estimators against scikit-learn's own checks, and what they add to its contract."""

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from bayesrnn import metrics, schemes, storage
from bayesrnn.estimators import MCDropoutClassifier, MCDropoutRegressor
from bayesrnn.models import SequenceClassifier, SequenceRegressor
from bayesrnn.predictive import ClassPredictive, ContinuousPredictive
from tests.estimators.examples import last_values

Kind = type[MCDropoutRegressor] | type[MCDropoutClassifier]


LEARN = {"check_classifiers_train", "check_regressors_train"}  # these ask for a score: they need a training


def checks(learning: bool) -> Iterator[Any]:
    short = {"hidden_size": 2, "epochs": 1, "batch_size": 64, "draws": 4}
    long = {"hidden_size": 16, "epochs": 60, "draws": 16, "learning_rate": 0.03, "dropout": 0.05}
    options: dict[str, Any] = long if learning else short
    for estimator in (MCDropoutRegressor(**options), MCDropoutClassifier(**options)):
        for made, check in estimator_checks_generator(estimator):
            name = check.func.__name__
            if (name in LEARN) == learning:
                yield pytest.param(made, check, id=f"{type(estimator).__name__}-{name}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(checks(learning=False)))
def test_scikit_learns_checks(estimator: BaseEstimator, check: Callable[[BaseEstimator], None]) -> None:
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(checks(learning=True)))
def test_scikit_learns_checks_that_want_a_score(
    estimator: BaseEstimator, check: Callable[[BaseEstimator], None]
) -> None:
    check(estimator)


def test_intervals_are_in_the_targets_units(
    regressor: MCDropoutRegressor, sequences: tuple[np.ndarray, np.ndarray]
) -> None:
    X, y = sequences
    mean, std = regressor.predict(X, return_std=True)
    low, high = regressor.predict_interval(X, level=0.9)
    assert mean.shape == std.shape == low.shape == high.shape == (60,)
    assert regressor.score(X, y) > 0.8
    assert 0.7 <= np.mean((low <= y) & (y <= high)) <= 1.0
    wider = regressor.predict_interval(X, level=0.99)
    assert (wider[0] < low).all()
    assert (wider[1] > high).all()
    predictive = regressor.predict_distribution(X)
    assert isinstance(predictive, ContinuousPredictive)
    np.testing.assert_allclose(predictive.mean, mean, rtol=1e-6)
    np.testing.assert_allclose(predictive.interval(0.9)[0], low, rtol=1e-5)
    np.testing.assert_allclose(predictive.aleatoric + predictive.epistemic, std**2, rtol=1e-4)


def test_a_row_is_predicted_the_same_in_any_company(
    regressor: MCDropoutRegressor, sequences: tuple[np.ndarray, np.ndarray]
) -> None:
    X = sequences[0]
    whole = regressor.predict(X)
    order = np.random.default_rng(1).permutation(60)
    np.testing.assert_allclose(regressor.predict(X[order]), whole[order], rtol=1e-5)
    np.testing.assert_allclose(np.concatenate([regressor.predict(X[i : i + 7]) for i in range(0, 60, 7)]), whole, 1e-5)
    twice = regressor.predict(np.stack([X[3], X[3]]))
    assert twice[0] == pytest.approx(twice[1], rel=1e-6)


def test_classes_and_their_probabilities(sequences: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = sequences
    labels = np.array(["low", "middle", "up"])[np.digitize(y, [35, 45])]
    found = MCDropoutClassifier(16, dropout=0.05, epochs=40, learning_rate=0.03, draws=32).fit(X, labels)
    probabilities = found.predict_proba(X)
    assert found.classes_.tolist() == ["low", "middle", "up"]
    assert probabilities.shape == (60, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1.0, rtol=1e-12)
    assert (found.predict(X) == found.classes_[probabilities.argmax(1)]).all()
    assert found.score(X, labels) > 0.8
    predictive = found.predict_distribution(X)
    assert isinstance(predictive, ClassPredictive)
    assert (predictive.epistemic > 0).all()


def test_tokens() -> None:
    tokens = np.random.default_rng(0).integers(0, 7, size=(80, 6))
    labels = (tokens == 3).any(1)
    found = MCDropoutClassifier(8, vocabulary=7, dropout=0.05, epochs=40, learning_rate=0.05, draws=16)
    assert found.fit(tokens, labels).score(tokens, labels) > 0.9
    assert found.model_.encoder.vocabulary == 7
    counts = MCDropoutRegressor(4, vocabulary=7, likelihood="poisson", epochs=1, draws=4).fit(tokens, tokens.sum(1))
    assert (counts.predict(tokens) > 0).all()


def test_several_targets(sequences: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = sequences
    found = MCDropoutRegressor(4, epochs=1, draws=4).fit(X, np.stack([y, -y, y**2], 1))
    assert found.predict(X).shape == (60, 3)
    assert found.predict_interval(X)[1].shape == (60, 3)


def test_patience_watches_rows_of_its_own(sequences: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = sequences
    noise = np.random.default_rng(0).normal(size=60)  # nothing to learn: the held-out loss soon rises
    found = MCDropoutRegressor(16, epochs=200, learning_rate=0.05, patience=3, validation_fraction=0.3, draws=4)
    history = found.fit(X, noise).history_
    assert history.stopped_early
    assert len(history.validation) == history.epochs < 200
    assert MCDropoutRegressor(4, epochs=2, draws=4).fit(X, y).history_.validation == ()


def test_random_state(sequences: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = sequences

    def predicted(state: object) -> np.ndarray:
        return MCDropoutRegressor(4, epochs=1, draws=4, random_state=state).fit(X, y).predict(X)

    np.testing.assert_array_equal(predicted(3), predicted(3))
    assert not np.allclose(predicted(3), predicted(4))
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    shared = np.random.RandomState(0)
    assert not np.allclose(predicted(shared), predicted(shared))
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_clone_and_pickle(regressor: MCDropoutRegressor, sequences: tuple[np.ndarray, np.ndarray]) -> None:
    X = sequences[0]
    fresh = clone(regressor.set_params(dropout=schemes.gal(hidden=0.05)))
    assert fresh.get_params() == regressor.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    again = pickle.loads(pickle.dumps(regressor))  # noqa: S301 (what scikit-learn's users do)
    np.testing.assert_array_equal(again.predict(X), regressor.predict(X))


def test_grid_search_and_pipeline(sequences: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = sequences
    search = GridSearchCV(
        MCDropoutRegressor(8, epochs=15, learning_rate=0.05, draws=8),
        {"dropout": [0.05, schemes.gal(hidden=0.9)], "cell": ["gru"]},
        cv=2,
    )
    search.fit(X, y)
    assert search.best_params_ == {"dropout": 0.05, "cell": "gru"}
    pipeline = make_pipeline(StandardScaler(), MCDropoutRegressor(4, epochs=1, draws=4))
    pipeline.set_params(mcdropoutregressor__draws=8)
    assert pipeline.fit(X[:, :, 0], y).predict(X[:, :, 0]).shape == (60,)


def test_the_trained_model_can_be_kept(regressor: MCDropoutRegressor, tmp_path: Any) -> None:
    storage.save(regressor.model_, tmp_path / "model", seed=regressor.seed_)
    assert isinstance(storage.load(tmp_path / "model"), SequenceRegressor)


@pytest.mark.parametrize("kind", [MCDropoutRegressor, MCDropoutClassifier])
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dropout": 0.0}, "dropout must be above 0"),
        ({"dropout": schemes.none()}, "dropout must be above 0"),
        ({"dropout": 1.5}, "probability of DROPPING"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"patience": 2, "validation_fraction": 1.0}, r"validation_fraction must lie in \(0, 1\)"),
        ({"patience": 2, "validation_fraction": 0.01}, "leaves 0 to watch and 12 to learn from"),
        ({"cell": "cnn"}, "cell must be one of"),
    ],
)
def test_parameters_out_of_range(kind: Kind, options: dict[str, object], text: str) -> None:
    X = np.random.default_rng(0).normal(size=(12, 3, 1))
    with pytest.raises(ValueError, match=text):
        kind(**options).fit(X, np.arange(12) % 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [MCDropoutRegressor, MCDropoutClassifier])
def test_data_that_does_not_fit(kind: Kind, sequences: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = sequences[0], np.arange(60) % 2
    found = kind(2, epochs=1, draws=4).fit(X, y)
    with pytest.raises(ValueError, match=r"X has 1 features per step, but MCDropout\w+ was fitted with 2"):
        found.predict(X[:, :, :1])
    with pytest.raises(ValueError, match="Input X contains NaN"):
        found.predict(np.full((2, 5, 2), np.nan))
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        kind().fit(X, None)
    with pytest.raises(ValueError, match="between 1 and the 5 steps"):
        kind().fit(X, y, lengths=[6] * 60)


def test_targets_that_do_not_fit(sequences: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = sequences
    with pytest.raises(ValueError, match="y holds only 1 class, "):
        MCDropoutClassifier().fit(X, np.zeros(60))
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        MCDropoutClassifier().fit(X, y)
    with pytest.raises(ValueError, match="Input y contains NaN"):
        MCDropoutRegressor().fit(X, np.full(60, np.nan))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        MCDropoutRegressor().fit(X, y[:-1])
    with pytest.warns(DataConversionWarning, match="column-vector"):
        MCDropoutClassifier(2, epochs=1, draws=4).fit(X, (y > 40)[:, None])


def test_weights_of_rows() -> None:
    X, y, lengths = last_values(60)
    options: dict[str, Any] = {"hidden_size": 4, "epochs": 3, "draws": 4}
    whole = np.arange(60) % 3
    rows = np.repeat(np.arange(60), whole)
    for kind, target in ((MCDropoutRegressor, y), (MCDropoutClassifier, np.array(["no", "yes"])[(y > 0).astype(int)])):
        weighted = kind(**options).fit(X, target, lengths, sample_weight=whole)
        repeated = kind(**options).fit(X[rows[::-1]], target[rows[::-1]], lengths[rows[::-1]])
        np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))
        halves = kind(**options, patience=2, validation_fraction=0.3).fit(X, target, lengths, sample_weight=whole / 2)
        assert np.isfinite(halves.score(X, target, sample_weight=whole + 1, lengths=lengths))
        with pytest.raises(ValueError, match="Sample weights"):
            kind(**options).fit(X, target, sample_weight=np.zeros(60))
        with pytest.raises(ValueError, match=r"(?i)negative"):
            kind(**options).fit(X, target, sample_weight=-np.ones(60))


def test_fractional_weights_pull_towards_their_rows() -> None:
    X = np.zeros((40, 2, 1))
    y = np.repeat([0.0, 1.0], 20)
    weights = np.repeat([0.5, 4.5], 20)
    model = MCDropoutRegressor(2, dropout=0.01, epochs=60, learning_rate=0.05, draws=4, likelihood="homoscedastic")
    assert model.fit(X, y, sample_weight=weights).predict(X[:1])[0] == pytest.approx(0.9, abs=0.05)
    assert model.fit(X, y, sample_weight=0.3 * np.ones(40)).predict(X[:1])[0] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("names", [["down", "up"], [3, 7], [False, True]])
def test_class_names_survive_saving(names: list[Any], tmp_path: Any) -> None:
    X, y, _ = last_values(20)
    model = MCDropoutClassifier(4, epochs=1, draws=4).fit(X, np.array(names)[(y > 0).astype(int)])
    labels = model.predict(X)
    assert float(metrics.accuracy(model.predict_distribution(X), labels.astype(str))) == 1
    storage.save(model.model_, tmp_path / "model")
    assert list(storage.load(tmp_path / "model").labels) == names  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="holds its model in model_"):
        storage.save(model, tmp_path / "other")  # type: ignore[arg-type]


def test_labels_are_one_per_class() -> None:
    assert SequenceClassifier(1, 2, classes=3).labels is None
    with pytest.raises(ValueError, match="labels must be 2 different texts or numbers"):
        SequenceClassifier(1, 2, labels=["a", "a"])
