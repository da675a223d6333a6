"""Tables as other libraries write them: each is read as the Gaussian that it was made of, or refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from bayesrnn.predictive import ClassPredictive, Predictive

MEAN = np.array([[1.0, 2.0, 3.0], [10.0, 11.0, 12.0]])
STD = 2.0
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)


def quantile(q):
    return MEAN + STD * stats.norm.ppf(q)


def same(p, mean=MEAN):
    assert tuple(p.shape) == mean.shape
    np.testing.assert_allclose(p.mean, mean, atol=1e-9)
    np.testing.assert_allclose(p.std, STD, atol=1e-9)


def long():
    return pd.DataFrame({"unique_id": np.repeat(["a", "b"], 3), "ds": [1, 2, 3] * 2})


@pytest.mark.parametrize("name", ["LSTM_ql{}", "LSTM-ql{}", "LSTM_q{:.3f}"])
def test_columns_of_quantiles(name) -> None:
    table = long().assign(**{name.format(q): quantile(q).ravel() for q in LEVELS})
    same(Predictive.from_frame(table.sample(frac=1, random_state=0)))
    same(Predictive.from_frame(table.set_index("unique_id")))
    same(Predictive.from_frame(table.set_index(["unique_id", "ds"])))


def test_percent_may_be_a_fraction_and_models_are_chosen() -> None:
    table = long().assign(y=0.0, A=0.0)
    for model, shift in (("A", 0.0), ("B-2", 5.0)):
        for percent in ("80.0", "99.5"):
            half = float(percent) / 200
            table[f"{model}-lo-{percent}"] = quantile(0.5 - half).ravel() + shift
            table[f"{model}-hi-{percent}"] = quantile(0.5 + half).ravel() + shift
    same(Predictive.from_frame(table, "A"))
    same(Predictive.from_frame(table, model="B-2"), MEAN + 5)
    with pytest.raises(ValueError, match=r"of the models \['A', 'B-2'\], and model=None"):
        Predictive.from_frame(table)


def test_ends_are_on_their_sides() -> None:
    ends = {"A-lo-80": -3.0, "A-hi-80": 1.0, "A-lo-50": -1.0, "A-hi-50": 0.2, "A-median": 0.0}
    p = Predictive.from_frame(long().assign(**ends))
    for level, low, high in ((0.8, -3.0, 1.0), (0.5, -1.0, 0.2)):
        assert [float(end[0, 0]) for end in p.interval(level)] == pytest.approx([low, high])
    keys = {("y", 0.8, "lower"): -3.0, ("y", 0.8, "upper"): 1.0, ("y", 0.5, "lower"): -1.0, ("y", 0.5, "upper"): 0.2}
    table = pd.DataFrame({k: [v] * 2 for k, v in keys.items()})
    assert [float(end[0]) for end in Predictive.from_frame(table).interval(0.8)] == pytest.approx([-3.0, 1.0])


def sktime(kind, index):
    keys = [("y", 0.5, "lower"), ("y", 0.5, "upper"), ("y", 0.8, "lower"), ("y", 0.8, "upper")]
    if kind == "quantiles":
        keys = [("y", q) for q in LEVELS]
    levels = [k[1] if kind == "quantiles" else 0.5 + (1 if k[2] == "upper" else -1) * k[1] / 2 for k in keys]
    return (
        pd.DataFrame({k: quantile(q).ravel() for k, q in zip(keys, levels)})
        .set_index(index)
        .set_axis(pd.MultiIndex.from_tuples(keys), axis=1)
    )


@pytest.mark.parametrize("kind", ["intervals", "quantiles"])
def test_sktime_and_skpro(kind) -> None:
    times = pd.period_range("2020", periods=3, freq="M")
    panel = pd.MultiIndex.from_product([["a", "b"], times])
    deep = pd.MultiIndex.from_product([["x"], ["a", "b"], times])
    same(Predictive.from_frame(sktime(kind, panel)))
    same(Predictive.from_frame(sktime(kind, deep)))
    same(Predictive.from_frame(sktime(kind, pd.date_range("2020", periods=6))), MEAN.reshape(1, 6))
    same(Predictive.from_frame(sktime(kind, pd.RangeIndex(6))), MEAN.reshape(6))  # rows of a regressor


def test_statsmodels() -> None:
    ends = {"lower": quantile(0.05).ravel(), "upper": quantile(0.95).ravel()}
    forecast = pd.DataFrame({"mean": MEAN.ravel(), "mean_se": STD, "mean_ci_lower": 0.0, "mean_ci_upper": 0.0})
    with pytest.raises(ValueError, match="are intervals of the mean"):
        Predictive.from_frame(forecast)
    forecast.columns.name = "load"
    same(Predictive.from_frame(forecast), MEAN.reshape(1, 6))
    regression = pd.DataFrame(
        {"mean": MEAN.ravel(), "mean_ci_lower": 0.0} | {f"obs_ci_{k}": v for k, v in ends.items()}
    )
    same(Predictive.from_frame(regression, level=0.9), MEAN.ravel())
    smoothing = pd.DataFrame({"mean": MEAN.ravel()} | {f"pi_{k}": v for k, v in ends.items()})
    same(Predictive.from_frame(smoothing.set_index(pd.date_range("2020", periods=6)), level=0.9), MEAN.reshape(1, 6))
    with pytest.raises(ValueError, match="does not write the level"):
        Predictive.from_frame(smoothing)


class Series:
    """As a stochastic TimeSeries of darts: (steps, components, samples)."""

    def __init__(self, values, components):
        self.values, self.components, self.n_samples = values, components, values.shape[2]

    def all_values(self):
        return self.values


def test_samples_of_darts() -> None:
    x = np.random.default_rng(0).normal(size=(5, 2, 5))
    p = Predictive.from_frame(Series(x, ["load", "wind"]), "wind")
    assert tuple(p.shape) == (1, 5)
    np.testing.assert_allclose(p.mean[0], x[:, 1].mean(-1))
    table = pd.DataFrame({f"load_s{k}": x[:, 0, k] for k in range(5)}, index=pd.date_range("2020", periods=5))
    np.testing.assert_allclose(Predictive.from_frame(table).mean[0], x[:, 0].mean(-1))
    with pytest.raises(ValueError, match="pass axis=0 or axis=-1"):
        Predictive.from_samples(x[:, :1])
    torch.testing.assert_close(Predictive.from_samples(x[:, :1], axis=-1).mean[:, 0], torch.as_tensor(x[:, 0].mean(-1)))
    with pytest.raises(ValueError, match="axis must be one of the 3 axes"):
        Predictive.from_samples(x, axis=3)
    assert Predictive.from_samples([[0.0, 1.0], [2.0, 3.0]]).mean.tolist() == [1.0, 2.0]


class Forecast:
    item_id = "a"

    def __init__(self, samples):
        self.samples = samples


class QuantileForecast:
    forecast_keys = ("mean", "0.1", "0.5", "0.9")

    def __init__(self, row):
        self.row = row

    def quantile(self, key):
        return quantile(float(key))[self.row]


def test_gluonts() -> None:
    x = np.random.default_rng(0).normal(size=(2, 40, 3))
    np.testing.assert_allclose(Predictive.from_frame([Forecast(v) for v in x]).mean, x.mean(1))
    assert tuple(Predictive.from_frame(Forecast(x[0])).shape) == (1, 3)
    same(Predictive.from_frame([QuantileForecast(0), QuantileForecast(1)]))
    with pytest.raises(ValueError, match="must have one shape"):
        Predictive.from_frame([Forecast(x[0]), Forecast(x[0][:, :2])])


@pytest.mark.parametrize("levels", [[0.8], [0.5, 0.8]])
def test_ends_of_mapie(levels) -> None:
    both = np.stack([[quantile(0.5 - p / 2).ravel(), quantile(0.5 + p / 2).ravel()] for p in levels])  # (L, 2, n)
    array = both.transpose(2, 1, 0)
    same(Predictive.from_intervals(levels, array), MEAN.ravel())
    with pytest.raises(ValueError, match="as in MAPIE"):
        Predictive.from_samples(array)
    with pytest.raises(ValueError, match=r"of shape \(rows, 2, levels\) with 3 levels"):
        Predictive.from_intervals([0.1, 0.2, 0.3], array)
    assert tuple(Predictive.from_samples(array, axis=0).shape) == (2, len(levels))
    far = np.array([[[0.0], [50.0]]])
    rows = np.random.default_rng(0).normal(size=(30, 2, 3)) + far  # two rows far apart are no intervals
    assert tuple(Predictive.from_samples(rows).shape) == (2, 3)


def test_ours_come_back() -> None:
    for shape in ((4,), (4, 3), (4, 3, 2)):
        mean = torch.randn(shape).double()
        p = Predictive.from_gaussian(mean, STD, sequence_ids=torch.tensor([7, 5, 9, 1]))
        back = Predictive.from_frame(p.to_frame(levels=(0.5, 0.9)).sample(frac=1, random_state=1))
        same(back, mean.numpy())
        assert back.sequence_ids.tolist() == [7, 5, 9, 1]
    probabilities = torch.rand(3, 2, 4).softmax(-1)
    p = Predictive.from_probabilities(probabilities[None], class_names="wxyz")
    back = Predictive.from_frame(p.to_frame())
    assert isinstance(back, ClassPredictive)
    assert back.class_names == tuple("wxyz")
    torch.testing.assert_close(back.probabilities.float(), probabilities)


def test_tables_that_cannot_be_right_are_refused() -> None:
    table = long().assign(**{f"A_ql{q}": quantile(q).ravel() for q in LEVELS})
    with pytest.raises(ValueError, match="2 cutoffs"):
        Predictive.from_frame(table.assign(cutoff=[0, 1] * 3))
    with pytest.raises(ValueError, match=r"holds \['a', 2\] twice"):
        Predictive.from_frame(table.replace({"ds": {3: 2}}))
    with pytest.raises(ValueError, match="different numbers of rows"):
        Predictive.from_frame(table[:4])
    with pytest.raises(ValueError, match="of no model"):
        Predictive.from_frame(table[["unique_id", "ds"]])
    with pytest.raises(ValueError, match="no lines"):
        Predictive.from_frame(table[:0])
    with pytest.raises(ValueError, match="must hold numbers"):
        Predictive.from_frame(table.astype({"A_ql0.1": str}).assign(**{"A_ql0.1": "x"}))
    with pytest.raises(TypeError, match="reads a pandas DataFrame, but a ndarray"):
        Predictive.from_frame(np.zeros((3, 2)))
    ours = Predictive.from_gaussian(torch.zeros(2, 3), 1.0).to_frame()
    with pytest.raises(ValueError, match=r"has 5 lines, but 2 rows x 3 steps"):
        Predictive.from_frame(ours[:5])
    bad = sktime("intervals", pd.RangeIndex(6))
    bad.columns = pd.MultiIndex.from_tuples([("y", "a"), ("y", "b"), ("y", "c"), ("y", "d")])
    with pytest.raises(ValueError, match="says neither level nor side"):
        Predictive.from_frame(bad)
    with pytest.raises(ValueError, match="NaN"):
        Predictive.from_frame(table.assign(**{"A_ql0.5": np.nan}))
