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


def test_an_untrained_forecaster_is_last_season_plus_drift() -> None:
    model = Forecaster(context=24, horizon=18, period=6, dropout=0.2).eval()
    y = torch.randn(3, 24, dtype=torch.float64)
    drift = np.mean([y[:, t].numpy() - y[:, t - 6].numpy() for t in range(6, 24)], axis=0)
    expected = np.stack([y[:, 18 + h % 6].numpy() + (h // 6 + 1) * drift for h in range(18)], 1)
    law = model(y)
    assert law.mean.dtype == torch.float64
    np.testing.assert_allclose(law.mean.detach(), expected, atol=1e-6)
    np.testing.assert_allclose(law.stddev.detach(), 1.0, atol=1e-6)


def test_the_scale_of_a_step_is_the_error_of_last_season_plus_drift() -> None:
    model = Forecaster(context=24, horizon=18, period=6)
    context, target = model.windows(torch.randn(200, dtype=torch.float64).cumsum(0))
    seen = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.7
    model.normalize(context, target, seen)
    error = (target - model.eval()(context).mean).detach().numpy()
    expected = [np.sqrt(np.mean(error[seen[:, h].numpy(), h] ** 2)) for h in range(18)]
    np.testing.assert_allclose(model.horizon_scale, expected, rtol=1e-5)


def test_forecasts_follow_level_and_scale() -> None:
    model = small().eval()
    y = torch.randn(4, 24, dtype=torch.float64)
    law, moved = model(y), model(y + 1e6)
    assert torch.allclose(moved.mean - 1e6, law.mean, atol=1e-5)
    assert torch.allclose(moved.stddev, law.stddev, rtol=1e-5)


def test_one_set_of_masks_serves_the_whole_roll_out(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(br.schemes.gal(0.3, gates="tied"))
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
    assert sorted(name for name, _ in drawn) == sorted(sites | {"output_dropout.output"})  # each once: one roll-out
    assert {shape for _, shape in drawn} == {(8, 8)}  # (draws * rows, units): no axis of steps


def test_predict_matches_masks_by_hand() -> None:
    model = small(br.schemes.gal(hidden=0.4, gates="tied"))
    y = torch.randn(1, 24)
    predictive = br.predict(model, y, draws=8, sampling="independent", seed=3)
    for draw in range(8):
        with bound(model, Binding(stream("independent", 3), torch.tensor([draw]), torch.tensor([0]))), torch.no_grad():
            assert torch.allclose(predictive.draws[draw], model.eval()(y).mean, atol=1e-5)


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
def test_training_reaches_a_known_series(likelihood: str) -> None:
    """A clean sine with a slope: the error of the naive start is noise of twice the variance, which training lowers."""
    model = Forecaster(context=24, horizon=6, period=6, hidden_size=8, dropout=0.05, likelihood=likelihood)
    noise = torch.randn(200, generator=torch.Generator().manual_seed(0))
    y = 0.1 * torch.arange(200) + torch.sin(torch.arange(200) * torch.pi / 3) + 0.1 * noise
    context, target = model.windows(y)
    model.normalize(context, target)
    start = -model.eval()(context).log_prob(target).mean().item()
    history = br.fit(model, (context, target), epochs=5, learning_rate=1e-2, progress=False)
    assert history.train[-1] < start - 0.05


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
    model.normalize(context, target)
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
        model.normalize(*model.windows(torch.arange(60.0) % 6))
