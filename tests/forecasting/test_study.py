"""A whole small study: its files, its table, its words."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from bayesrnn.data import Series
from bayesrnn.forecasting import Settings, Study, quick, settings_for, study, write
from bayesrnn.forecasting._study import MC, RAW, STANDARD
from bayesrnn.forecasting.output import FORECAST_COLUMNS, future_frame
from bayesrnn.forecasting.pictures import calibration_picture
from bayesrnn.forecasting.sentences import calibration_sentences, comparison_sentences
from bayesrnn.predictive import Predictive


@pytest.fixture(scope="module")
def series() -> Series:
    rng = np.random.default_rng(0)
    steps = np.arange(240)
    values = 50 + 0.1 * steps + 4 * np.sin(2 * np.pi * steps / 12) + rng.normal(size=240).cumsum() * 0.3
    index = pd.date_range("2000-01-01", periods=240, freq="MS")
    return Series.from_pandas(pd.Series(values, index=index, name="demand"), units="MW")


@pytest.fixture(scope="module")
def found(series: Series) -> Study:
    settings = Settings(horizon=6, context=24, hidden_size=8, epochs=4, draws=24, every=2)
    return study(series, settings)


@pytest.fixture(scope="module")
def folder(found: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "out"
    write(found, folder)
    return folder


def test_every_forecast_is_scored(found: Study) -> None:
    scores = {"rmse", "mae", "nll", "crps"} | {f"{k}_{n}" for k in ("coverage", "width") for n in (50, 80, 95)}
    counts = found.table.groupby("forecast")["score"].agg(set)
    assert len(counts) == 8
    assert all(value == scores for value in counts)
    assert (found.table["low"] <= found.table["value"] + 1e-12).all()
    others = found.table[found.table["forecast"] != STANDARD]
    assert others[["difference", "difference_low", "difference_high"]].notna().all().all()


def test_scores_are_those_of_the_definition(found: Study) -> None:
    low, high = found.forecasts[RAW].interval(0.8)
    inside = ((low <= found.raw.target) & (found.raw.target <= high)).double().mean()
    assert found.value(RAW, "coverage_80") == pytest.approx(float(inside))
    assert found.value(RAW, "width_80") == pytest.approx(float((high - low).mean()))
    error = found.raw.target - found.raw.predictive.mean
    assert found.value(RAW, "rmse") == pytest.approx(float(error.square().mean().sqrt()))


def test_intervals_widen_with_the_horizon(found: Study) -> None:
    low, high = found.recalibrated.predictive.interval(0.8)
    width = (high - low).mean(0)
    assert width[-1] > 1.2 * width[0]


def test_a_seed_fixes_everything(series: Series, found: Study) -> None:
    again = study(series, found.settings)
    assert torch.equal(again.recalibrated.predictive.mean, found.recalibrated.predictive.mean)
    assert again.table.equals(found.table)


def test_held_out_values_do_not_reach_the_network(series: Series, found: Study) -> None:
    values = series.values.clone()
    values[found.split.held_out :] += torch.linspace(0, 30, len(series) - found.split.held_out)
    changed = Series(series.times, values, series.observed, series.period, series.name, series.units)
    other = study(changed, found.settings)
    for name, weight in found.forecaster.state_dict().items():
        assert torch.equal(weight, other.forecaster.state_dict()[name])
    assert torch.equal(found.raw.predictive.mean[0], other.raw.predictive.mean[0])
    assert torch.equal(found.factors[:, 0], other.factors[:, 0])


def test_the_files_are_whole(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "forecast.csv", "backtest.csv", "comparison.csv", "forecast.png", "calibration.png", "comparison.png",
        "report.html",
    }  # fmt: skip
    table = pd.read_csv(folder / "forecast.csv")
    assert tuple(table.columns) == FORECAST_COLUMNS
    assert table["time"].is_unique
    assert np.allclose(table["std"] ** 2, table["aleatoric"] + table["epistemic"], rtol=1e-5)
    bounds = [f"lower_{n}" for n in (95, 80, 50)] + [f"upper_{n}" for n in (50, 80, 95)]
    assert (np.diff(table[bounds], axis=1) > 0).all()
    every = pd.read_csv(folder / "backtest.csv").set_index(["origin", "horizon"])
    assert not set(every.columns) & set(FORECAST_COLUMNS[2:])  # which of the two a number is stands in its name
    launched = every.loc[pd.MultiIndex.from_product([every.index.unique(0)[:1], range(1, 7)])]
    first = table.set_index("time").loc[launched["time"]]
    for name in ("mean", "lower_80", "upper_95"):
        assert np.allclose(launched[f"{name}_recalibrated"], first[name])
    for path in folder.glob("*.png"):
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_page_stands_alone(found: Study, folder: Path) -> None:
    page = (folder / "report.html").read_text()
    assert len(re.findall(r'<img src="data:image/png;base64,[^"]+" alt="[^"]{40,}"', page)) == 3
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page)
    for text, _ in calibration_sentences(found):
        assert text in page


def test_the_future_begins_where_the_series_ends(found: Study) -> None:
    table = future_frame(found)
    assert tuple(table.columns) == FORECAST_COLUMNS
    assert table["time"].dt.strftime("%Y-%m").tolist() == [f"2020-0{k}" for k in range(1, 7)]
    assert table["observed"].isna().all()
    low, high = found.future.interval(0.8)
    assert np.allclose(table["lower_80"], low[0])
    assert np.allclose(table["upper_80"], high[0])


def test_a_failing_run_leaves_no_file(found: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bayesrnn.forecasting import output

    def broken(*_: object) -> None:
        raise ValueError("the last picture fails")

    for name in ("forecast_picture", "calibration_picture"):
        monkeypatch.setattr(output, name, lambda *_: Figure())
    monkeypatch.setattr(output, "comparison_picture", broken)
    with pytest.raises(ValueError, match="the last picture fails"):
        write(found, tmp_path)
    assert not list(tmp_path.iterdir())


def test_narrow_intervals_are_called_narrow(found: Study) -> None:
    table = found.table.copy()
    row = (table["forecast"] == RAW) & (table["score"] == "coverage_80")
    table.loc[row, ["value", "low", "high"]] = [0.52, 0.45, 0.6]
    doctored = Study(**{**vars(found), "table": table})
    text, tone = calibration_sentences(doctored)[0]
    assert "80 % intervals hold 52 % [45, 60]: too narrow" in text
    assert tone == "bad"


def test_bounds_below_a_series_that_is_never_negative_are_named(found: Study) -> None:
    shape = found.recalibrated.predictive.shape
    distribution = Predictive.from_gaussian(torch.linspace(0.0, 4.0, shape.numel()).reshape(shape), torch.ones(shape))
    near = replace(found, recalibrated=replace(found.recalibrated, predictive=distribution))
    share = (torch.linspace(0.0, 4.0, shape.numel()) < 1.96).double().mean()
    for floor, said in ((0.0, True), (-1.0, False)):
        values = found.series.values - found.series.values.min() + floor
        texts = [text for text, _ in calibration_sentences(replace(near, series=replace(found.series, values=values)))]
        assert any(f"but {share:.0%}".replace("%", " %") in text for text in texts) == said
    far = Predictive.from_gaussian(torch.full(shape, 9.0), torch.ones(shape))
    assert len(calibration_sentences(replace(near, recalibrated=replace(found.recalibrated, predictive=far)))) == 2


def test_a_worse_network_is_called_worse(found: Study) -> None:
    table = found.table.copy()
    row = (table["forecast"] == MC) & (table["score"] == "crps")
    table.loc[row, ["value", "difference", "difference_low", "difference_high", "verdict"]] = [9, 8, 7, 9, "worse"]
    sentences = comparison_sentences(Study(**{**vars(found), "table": table}))
    assert any("is worse than the standard dropout approximation" in s for s in sentences)
    assert "higher (worse)" in sentences[-1]


def test_settings_fit_the_series(series: Series) -> None:
    settings = settings_for(series, 6)
    assert settings.context == 2 * 12
    assert settings_for(series, 6, context=36).context == 36


def test_quick_is_never_more_work() -> None:
    for settings in (
        Settings(horizon=1, context=24, hidden_size=4, epochs=1, draws=8, every=12),
        Settings(horizon=24, context=48, every=2),
        Settings(horizon=3, context=24, hidden_size=32),
    ):
        short = quick(settings)
        for name in ("hidden_size", "epochs", "draws", "horizon", "context"):
            assert getattr(short, name) <= getattr(settings, name)
        assert short.every >= settings.every
    assert (quick(settings, draws=500).draws, quick(settings, epochs=70).epochs) == (500, 70)


def test_the_calibration_picture_has_its_own_titles_alone(found: Study) -> None:
    figure = calibration_picture(found.raw, found.recalibrated, found.blocks)
    assert [ax.get_title(loc="right") for ax in figure.axes] == ["", "", ""]
    assert [bool(ax.get_title(loc="left")) for ax in figure.axes] == [True] * 3
