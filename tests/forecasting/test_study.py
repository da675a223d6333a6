"""A whole small study: its files, its table, its words."""

import html
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from bayesrnn.data import Series
from bayesrnn.forecasting import Backtest, Settings, Study, pictures, quick, sentences, settings_for, study
from bayesrnn.forecasting.result import MC, NAIVE_MASKS, RAW, STANDARD
from bayesrnn.predictive import Predictive

FORECAST_COLUMNS = (
    "time", "observed", "mean", "std", "aleatoric", "epistemic",
    "lower_50", "upper_50", "lower_80", "upper_80", "lower_95", "upper_95",
)  # fmt: skip


@pytest.fixture(scope="module")
def series() -> Series:
    rng = np.random.default_rng(0)
    steps = np.arange(300)
    values = 50 + 0.1 * steps + 4 * np.sin(2 * np.pi * steps / 12) + rng.normal(size=300).cumsum() * 0.3
    index = pd.date_range("2000-01-01", periods=300, freq="MS")
    return Series.from_pandas(pd.Series(values, index=index, name="demand"), units="MW")


@pytest.fixture(scope="module")
def found(series: Series) -> Study:
    settings = Settings(horizon=6, context=24, hidden_size=8, epochs=4, draws=24, every=2)
    return study(series, settings, future=True)


@pytest.fixture(scope="module")
def folder(found: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study") / "out"
    found.save(folder)
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
        "manifest.json",
        "forecast.csv", "held_out.csv", "backtest.csv", "comparison.csv", "comparison.json", "report.html",
        *(f"{name}.{end}" for name in ("forecast", "held_out", "calibration", "comparison") for end in ("png", "svg")),
    }  # fmt: skip
    table = pd.read_csv(folder / "held_out.csv")
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
    assert len(re.findall(r'<img src="data:image/png;base64,[^"]+" alt="[^"]{40,}"', page)) == 4
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", page)
    for text, _ in found.sentences:
        assert html.escape(text) in page


def test_the_future_begins_where_the_series_ends(found: Study) -> None:
    table = found.future_frame()
    assert tuple(table.columns) == FORECAST_COLUMNS
    assert table["time"].dt.strftime("%Y-%m").tolist() == [f"2025-0{k}" for k in range(1, 7)]
    assert table["observed"].isna().all()
    low, high = found.future.interval(0.8)
    assert np.allclose(table["lower_80"], low[0])
    assert np.allclose(table["upper_80"], high[0])


def test_a_failing_run_leaves_no_file(found: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ValueError("the last picture fails")

    monkeypatch.setattr(pictures, "score_panels", broken)
    with pytest.raises(ValueError, match="the last picture fails"):
        found.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_narrow_intervals_are_called_narrow(found: Study) -> None:
    scores = found.comparison.scores[RAW]
    near = near_95 = replace(scores["coverage_95"], value=0.95)
    far = replace(scores["coverage_80"], value=0.52, interval=(0.45, 0.6))
    text, tone = sentences.coverage("raw", {"coverage_80": far, "coverage_95": near})
    assert "The raw 80 % intervals hold 52 % (45 % to 60 %): too narrow. The raw 95 %" in text
    assert tone == "bad"
    text, tone = sentences.coverage("raw", {"coverage_80": replace(far, interval=(0.2, 0.9)), "coverage_95": near})
    assert "52 % (20 % to 90 %): below the level, perhaps by chance" in text
    assert tone == "warn"
    text, tone = sentences.coverage("raw", {"coverage_80": replace(far, value=0.8, interval=None), "coverage_95": near})
    assert "hold 80 %: as they should (within 8 points)" in text
    assert tone == "good"
    for share, near in ((0.93, True), (0.89, False), (0.98, False)):  # 11 % miss where 5 % may
        text, _ = sentences.coverage("raw", {"coverage_80": far, "coverage_95": replace(near_95, value=share)})
        assert ("(within 2 points)" in text) == near


def test_bounds_below_a_series_that_is_never_negative_are_named(series: Series) -> None:
    shape = (30, 6)
    values = torch.linspace(0.0, 4.0, 180).reshape(shape)
    near = Predictive.from_gaussian(values, torch.ones(shape))
    share = (torch.linspace(0.0, 4.0, 180) < 1.96).double().mean()
    for floor, said in ((0.0, True), (-1.0, False)):
        moved = replace(series, values=series.values - series.values.min() + floor)
        texts = [text for text, _ in sentences.floor(Backtest(moved, torch.arange(30), near, values))]
        assert any(f"but {share:.0%}".replace("%", " %") in text for text in texts) == said
    far = Predictive.from_gaussian(torch.full(shape, 9.0), torch.ones(shape))
    assert not sentences.floor(Backtest(series, torch.arange(30), far, values))


def test_each_series_is_asked_whether_it_was_below_0(series: Series) -> None:
    """The first goes below 0, the second does not; half of the second's lower ends do."""
    signed = replace(series, values=series.values - series.values.mean())
    counts = replace(series, values=series.values - series.values.min())
    means = torch.cat([torch.zeros(10, 4), torch.tensor([0.0, 9.0]).repeat(10, 2)])
    which = torch.arange(2).repeat_interleave(10)
    near = Predictive.from_gaussian(means, torch.ones(20, 4))
    for order, words in (((signed, counts), "1 of 2 series were never below 0, but 50 %"), ((signed, signed), "")):
        texts = [text for text, _ in sentences.floor(Backtest(order, torch.arange(20), near, means, which))]
        assert any(words in text for text in texts) if words else not texts


def test_the_verdict_on_each_forecast_is_that_of_the_comparison(found: Study) -> None:
    texts = [text for text, _ in found.sentences]
    for name in (RAW, MC, NAIVE_MASKS):
        assert found.comparison.difference("crps", name).sentence("MW") in texts
    text = sentences.best_baseline("recalibrated ", 9.0, "ETS", 1.0, "MW")[0]
    assert "of the recalibrated forecasts is 9 MW, 800 % worse than the best baseline, ETS, with 1 MW." in text


def test_few_held_out_steps_have_no_interval_and_say_so(series: Series) -> None:
    settings = Settings(horizon=6, context=24, hidden_size=4, epochs=1, draws=8, every=2)
    short = study(series[:200], settings, per_step=False)
    assert short.table[["low", "high", "difference_low", "difference_high"]].isna().all().all()
    assert set(short.table["verdict"].dropna()) == {"no clear difference"}
    texts = [text for text, _ in short.sentences]
    assert any("five blocks of two horizons (60 held-out steps" in text for text in texts)
    assert not any("∞" in text for text in texts)
    assert "∞" not in short.page(dict.fromkeys(short.picture_names, b"")).html()


def test_settings_fit_the_series(series: Series) -> None:
    settings = settings_for(series[:240], 6)
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


@pytest.mark.parametrize("name", ["forecast", "held_out", "calibration", "comparison"])
def test_pictures_fit_into_a_figure_of_ones_own(found: Study, name: str) -> None:
    figure = Figure(figsize=(27, 7), layout="constrained")
    left, right = figure.subplots(1, 2)
    assert found.picture(name, right) is not left
    figure.savefig(io.BytesIO())
    assert not left.lines


def test_text_and_picture_say_the_same_coverage(found: Study) -> None:
    axes = found.picture("held_out")
    notes = [text.get_text() for ax in axes.figure.axes for text in ax.texts]
    held = f"{100 * found.value(MC, 'coverage_80'):.0f} %"
    assert notes == [f"80 % intervals hold {held}, over all {len(found.raw)} origins"]
    assert f"80 % intervals hold {held} (" in found.sentences[1][0]


def test_the_forecast_after_the_end_is_made_only_if_asked_for(found: Study) -> None:
    alone = replace(found, future=None)
    assert "held_out" not in alone.picture_names
    assert {"forecast.csv", "backtest.csv", "comparison.csv"} <= set(alone.files())
    with pytest.raises(ValueError, match=r"no forecast of the steps after the end: call study\(..., future=True\)"):
        alone.future_frame()


def test_a_study_that_was_stopped_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bayesrnn.forecasting import _study
    from bayesrnn.training.checkpoint import FILE

    t = np.arange(160.0)
    values = pd.Series(np.sin(t / 2) + t / 50, pd.date_range("2000-01-01", periods=160, freq="MS"), name="y")
    series = Series.from_pandas(values, period=12)
    settings = Settings(horizon=3, context=24, hidden_size=4, epochs=2, draws=16, every=3)
    whole = _study.study(series, settings, per_step=False)
    with monkeypatch.context() as patch:
        patch.setattr(_study, "backtest", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            _study.study(series, settings, per_step=False, checkpoint=tmp_path)
    assert (tmp_path / "sequence" / FILE).is_file()
    monkeypatch.setattr("bayesrnn.training._fit._run", lambda *_: pytest.fail("it was trained again"))
    again = _study.study(series, settings, per_step=False, checkpoint=tmp_path)
    assert again.history == whole.history
    assert np.array_equal(again.raw.predictive.mean, whole.raw.predictive.mean)
