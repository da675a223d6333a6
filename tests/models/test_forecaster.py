"""The forecaster: its baseline, its scales, one set of masks a roll-out."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor

import bayesrnn as br
from bayesrnn.masks import Binding, stream
from bayesrnn.models import Forecaster
from bayesrnn.nn.masked import bound


def small(dropout: object = 0.3, **changes: object) -> Forecaster:
    torch.manual_seed(1)
    arguments = {"context": 24, "horizon": 18, "period": 6, "hidden_size": 8, "dropout": dropout} | changes
    model = Forecaster(**arguments)
    torch.nn.init.normal_(model.head.weight)  # a fresh head is zero, and masks would not show
    return model


def start_by_hand(y: np.ndarray, period: int, horizon: int) -> tuple[np.ndarray, float, float]:
    """Level plus season of the steps ahead, drift a step, last remainder of one context, in plain loops."""
    steps = len(y)
    drift = np.mean([y[t] - y[t - period] for t in range(period, steps)]) / period
    flat = [y[t] - drift * (t - steps + 1) for t in range(steps)]
    first = steps % period
    pattern = [np.mean([flat[t] for t in range(first, steps) if (t - first) % period == k]) for k in range(period)]
    steady = np.array([pattern[(steps + h - first) % period] for h in range(horizon)])
    return steady, drift, flat[-1] - pattern[(steps - 1 - first) % period]


@pytest.mark.parametrize(("context", "period"), [(24, 6), (27, 6), (9, 1)])
def test_an_untrained_forecaster_continues_drift_and_season(context: int, period: int) -> None:
    model = Forecaster(context=context, horizon=8, period=period, dropout=0.2).eval()
    torch.nn.init.zeros_(model.head.weight)
    y = torch.randn(3, context, dtype=torch.float64)
    distribution = model(y)
    for row in range(3):
        steady, drift, _ = start_by_hand(y[row].numpy(), period, 8)
        np.testing.assert_allclose(distribution.mean[row].detach(), steady + drift * np.arange(1, 9), atol=1e-9)
    assert distribution.mean.dtype == torch.float64
    np.testing.assert_allclose(distribution.stddev.detach(), 1.0, atol=1e-6)


def test_weights_and_scales_are_least_squares() -> None:
    model = Forecaster(context=24, horizon=5, period=6)
    context, target = model.windows(torch.randn(200, dtype=torch.float64).cumsum(0))
    seen = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.7
    model.standardize(context, target, seen)
    parts = [start_by_hand(row.numpy(), 6, 5) for row in context]
    for h in range(5):
        rows = np.flatnonzero(seen[:, h])
        x = np.array([[parts[r][2], parts[r][1] * (h + 1)] for r in rows])
        y = np.array([float(target[r, h]) - parts[r][0][h] for r in rows])
        fitted, *_ = np.linalg.lstsq(x, y, rcond=None)
        assert float(model.persistence[h]) == pytest.approx(fitted[0], rel=1e-4)
        assert float(model.drift_weight[h]) == pytest.approx(fitted[1], rel=1e-4)
        assert float(model.horizon_scale[h]) == pytest.approx(np.sqrt(np.mean((y - x @ fitted) ** 2)), rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_a_context_without_remainder_is_read_as_none(seed: int) -> None:
    """Two values without a season lie on their line: what is left of them is rounding."""
    model = Forecaster(context=2, horizon=3, period=1)
    series = 100 + 10 * torch.randn(50, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    model.standardize(*model.windows(series))
    assert float(model.remainder_scale) == 0.0
    torch.nn.init.normal_(model.head.weight)
    distribution = model(series[-2:].unsqueeze(0))
    assert bool(distribution.mean.isfinite().all() and distribution.stddev.isfinite().all())


def test_forecasts_follow_level_and_scale() -> None:
    model = small().eval()
    y = torch.randn(4, 24, dtype=torch.float64)
    distribution, moved = model(y), model(y + 1e6)
    assert torch.allclose(moved.mean - 1e6, distribution.mean, atol=1e-5)
    assert torch.allclose(moved.stddev, distribution.stddev, rtol=1e-5)


def test_one_set_of_masks_serves_the_whole_roll_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(br.schemes.gal(0.3, gates="tied"))
    br.predict(model, torch.randn(2, 24), draws=4)  # looks whether rows are used jointly, once
    drawn: list[tuple[str, tuple[int, ...]]] = []
    mask = Binding.mask

    def watched(binding: Binding, key: str, *rest: object, **named: object) -> Tensor:
        found = mask(binding, key, *rest, **named)
        drawn.append((f"{binding.name}.{key}", tuple(found.shape)))
        return found

    monkeypatch.setattr(Binding, "mask", watched)
    predictive = br.predict(model, torch.randn(2, 24), draws=4)
    assert predictive.mean.shape == (2, 18)
    assert (predictive.epistemic > 0).all()
    sites = {f"recurrent.{site}_l{layer}" for site in ("input", "hidden") for layer in (0, 1)}
    whole = [name for name, shape in drawn if shape == (1, 1, 8, 8)]  # draws * rows, units: one mask for all steps
    assert sorted(whole) == sorted(sites | {"output_dropout.output"})  # each once: one roll-out
    assert {shape[:2] for _, shape in drawn} == {(1, 1)}  # the check that rows stay apart draws for fewer


def test_predict_matches_masks_by_hand() -> None:
    model = small(br.schemes.gal(hidden=0.4, gates="tied"))
    y = torch.randn(1, 24)
    predictive = br.predict(model, y, draws=8, sampling="independent", seed=3)
    for draw in range(8):
        with bound(model, Binding(stream("independent", 3), torch.tensor([draw]), torch.tensor([0]))), torch.no_grad():
            assert torch.allclose(predictive.draws[draw], model.eval()(y).mean, atol=1e-5)


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
def test_training_learns_where_the_noise_is(likelihood: str) -> None:
    """The noise is ten times larger in one half of the season: the head must tell the halves apart."""
    model = Forecaster(context=24, horizon=6, period=6, hidden_size=16, dropout=0.05, likelihood=likelihood)
    steps = torch.arange(240)
    loud = (steps % 6) < 3
    noise = torch.randn(240, generator=torch.Generator().manual_seed(0)) * torch.where(loud, 0.3, 0.03)
    y = 0.1 * steps + torch.sin(steps * torch.pi / 3) + noise
    context, target = model.windows(y)
    model.standardize(context, target)
    br.fit(model, (context, target), epochs=20, learning_rate=1e-2, progress=False)
    std = model(context).stddev
    inside = loud.unfold(0, 30, 1)[:, 24:]
    assert std[inside].mean() > 2.5 * std[~inside].mean()


def test_a_config_is_plain_and_rebuilds_the_same() -> None:
    model = small(br.schemes.gal(input=0.1, hidden=0.3, gates="tied"), likelihood="student_t")
    config = json.loads(json.dumps(model.config()))
    twin = Forecaster(**config)
    twin.load_state_dict(model.state_dict())
    y = torch.randn(2, 24)
    assert twin.config() == model.config()
    assert torch.equal(twin.eval()(y).mean, model.eval()(y).mean)


def test_it_can_be_saved(tmp_path: object) -> None:
    model = small()
    context, target = model.windows(torch.randn(100).cumsum(0))
    model.standardize(context, target)
    br.save(model, f"{tmp_path}/model")
    assert torch.equal(br.load(f"{tmp_path}/model")(context).mean, model.eval()(context).mean)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"context": 11, "period": 6}, r"at least two seasons, 2 \* 6 = 12 values, but 11"),
        ({"horizon": 0}, "horizon must be at least 1"),
        ({"likelihood": "cauchy"}, "likelihood must be one of 'gaussian', 'student_t'"),
        ({"dropout": 1.0}, r"must lie in \[0, 1\)"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        small(**arguments)


def test_bad_inputs_are_refused() -> None:
    model = small()
    with pytest.raises(ValueError, match=r"must be \(rows, 24\).*but \(2, 23\)"):
        model(torch.zeros(2, 23))
    with pytest.raises(ValueError, match="need at least 42 values, but the series has 41"):
        model.windows(torch.zeros(41))
    with pytest.raises(ValueError, match="one row of values"):
        model.windows(torch.zeros(2, 50))
    with pytest.raises(ValueError, match="NaN or infinite"):
        model.windows(torch.full((50,), torch.nan))
    with pytest.raises(ValueError, match="repeat exactly from season to season"):
        model.standardize(*model.windows(torch.arange(60.0) % 6))
