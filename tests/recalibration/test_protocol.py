"""What every recalibration shares: saving, refusals, masks."""

import json
import math
from typing import Any

import pytest
import torch
from torch import distributions as D

from bayesrnn import recalibration as R
from bayesrnn.predictive import Origin, Predictive, TokenPredictive
from tests.recalibration.examples import CLASSES, CONTINUOUS, classes, gaussian


@pytest.mark.parametrize("kind", CONTINUOUS + CLASSES)
def test_saved_as_json_and_back(kind):
    predictive, y = gaussian(60) if kind in CONTINUOUS else classes(60)
    fitted = kind().fit(predictive, y)
    back = R.from_dict(json.loads(json.dumps(fitted.to_dict())))
    read = (lambda p: p.quantile(0.8)) if kind in CONTINUOUS else (lambda p: p.probabilities)
    torch.testing.assert_close(read(back.apply(predictive)), read(fitted.apply(predictive)))


@pytest.mark.parametrize("kind", CONTINUOUS + CLASSES)
def test_what_cannot_be_fitted_is_refused(kind):
    predictive, y = gaussian(60) if kind in CONTINUOUS else classes(60)
    other, _ = classes(60) if kind in CONTINUOUS else gaussian(60)
    with pytest.raises(ValueError, match="at least 30 held-out targets, but 29"):
        kind().fit(predictive[:29], y[:29])
    with pytest.raises(ValueError, match="was not fitted"):
        kind().apply(predictive)
    with pytest.raises(ValueError, match="recalibrates a"):
        kind().fit(other, y)
    with pytest.raises(ValueError, match="knows its sequence_ids"):
        kind().fit(predictive, y, training_ids=[1])
    with pytest.raises(ValueError, match="these are not the values"):
        kind.from_dict({"name": "other"})


def test_other_errors():
    ids = torch.arange(60)
    p = Predictive.from_gaussian(torch.zeros(60), torch.ones(60), sequence_ids=ids)
    with pytest.raises(ValueError, match=r"2 of the 60 rows \(ids \[3, 4\]\) were trained on"):
        R.VarianceScaling().fit(p, torch.randn(60), training_ids=[3, 4, 99])
    with pytest.raises(ValueError, match="Fit VarianceScaling first"):
        R.QuantileRecalibration().fit(p, 100 * torch.randn(60))
    with pytest.raises(ValueError, match="every error is zero"):
        R.VarianceScaling().fit(p, torch.zeros(60))
    with pytest.raises(ValueError, match=r"level 0\.99 needs at least 99"):
        R.ConformalizedQuantiles(levels=[0.99]).fit(p, torch.randn(60))
    with pytest.raises(ValueError, match="single class"):
        R.Temperature().fit(classes(60)[0], torch.zeros(60, dtype=torch.long))
    with pytest.raises(ValueError, match="fitted for 3 classes"):
        R.VectorScaling().fit(*classes(60)).apply(Predictive.from_probabilities(torch.full((2, 2), 0.5)))
    with pytest.raises(ValueError, match="no recalibrator is called 'x'"):
        R.from_dict({"name": "x"})
    with pytest.raises(ValueError, match="give at least one level"):
        R.ConformalizedQuantiles(levels=[])
    with pytest.raises(ValueError, match="rows, steps"):
        R.PerHorizon(R.VarianceScaling).fit(p, torch.zeros(60))
    steps = Predictive.from_gaussian(torch.zeros(40, 2), torch.ones(40, 2))
    fitted = R.PerHorizon(R.VarianceScaling).fit(steps, torch.randn(40, 2))
    with pytest.raises(ValueError, match="fitted for 2 steps"):
        fitted.apply(Predictive.from_gaussian(torch.zeros(40, 3), torch.ones(40, 3)))
    with pytest.raises(ValueError, match="was not fitted"):
        R.PerHorizon(R.VarianceScaling).apply(steps)


def test_advice_for_another_kind_is_not_circular() -> None:
    tokens = TokenPredictive(torch.full((1, 40), -1.0), Origin(1))
    with pytest.raises(ValueError, match=r"TokenPredictive was given.*tune_perplexity.*temperature=") as caught:
        R.Temperature().fit(tokens, None)
    assert "For that use Temperature" not in str(caught.value)
    with pytest.raises(ValueError, match=r"a Tensor was given\. Pass what bayesrnn.predict returned"):
        R.Temperature().fit(torch.ones(3), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", CONTINUOUS + CLASSES)
def test_a_mask_leaves_targets_out(kind: Any) -> None:
    predictive, y = gaussian(90) if kind in CONTINUOUS else classes(90)
    keep = torch.arange(90) % 3 != 0
    wrong = torch.where(keep, y, 0 * y + (50 if kind in CONTINUOUS else 1))
    found, expected = kind().fit(predictive, wrong, mask=keep), kind().fit(predictive[keep], y[keep])
    for name, value in expected.fitted.items():
        assert found.fitted[name] == value


def test_each_step_has_a_mask_of_its_own() -> None:
    p = Predictive.from_gaussian(torch.zeros(80, 2).double(), torch.ones(80, 2).double())
    y = torch.randn(80, 2).double()
    mask = torch.stack([torch.arange(80) < 40, torch.arange(80) >= 40], 1)
    found = R.PerHorizon(R.VarianceScaling).fit(p, y, mask=mask)
    for t, step in enumerate(found.steps):
        alone = R.VarianceScaling().fit(p.at_step(t)[mask[:, t]], y[mask[:, t], t])
        assert step.fitted["factor"] == pytest.approx(alone.fitted["factor"])


@pytest.mark.parametrize("kind", CONTINUOUS)
def test_the_error_of_finite_draws_stays(kind: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    means, y = (torch.randn(*size, dtype=torch.double, generator=generator) for size in ((32, 60), (60,)))
    p = Predictive.from_draws(D.Normal(means, 1.0), sampling="stratified", block_size=8)
    torch.testing.assert_close(kind().fit(p, y).apply(p).standard_error, p.standard_error)


def described(kind):
    predictive, target = gaussian(60) if kind in CONTINUOUS else classes(60)
    levels = {"levels": (0.5, 0.8)} if kind in (R.ConformalizedQuantiles, R.AdaptiveConformal) else {}
    return json.loads(json.dumps(kind(**levels).fit(predictive, target).to_dict()))


@pytest.mark.parametrize("kind", [*CONTINUOUS, *CLASSES])
def test_what_was_described_is_read_again_and_nothing_near_it(kind):
    values = described(kind)
    assert R.from_dict(values).to_dict() == values
    for part in ("settings", "parameters"):
        for changed in ({**values[part], "wheels": 4}, [], 3):
            with pytest.raises(ValueError, match=rf"{part} of {kind.__name__}.*(unknown wheels|must be a dict)"):
                R.from_dict(values | {part: changed})
    for name in values["settings"]:
        with pytest.raises(ValueError, match=name):
            R.from_dict(values | {"settings": values["settings"] | {name: "yes"}})
    for name, value in values["parameters"].items():
        for wrong in (math.nan, math.inf, -1e308 if name != "at_bound" else 1e308, "1", None, [], [math.nan], [[1.0]]):
            with pytest.raises(ValueError, match=kind.__name__):
                R.from_dict(values | {"parameters": values["parameters"] | {name: wrong}})
        if isinstance(value, list) and name not in ("recent", "radii", "maps"):
            with pytest.raises(ValueError, match=kind.__name__):
                R.from_dict(values | {"parameters": values["parameters"] | {name: value[:-1]}})
    with pytest.raises(ValueError, match="missing parameters"):
        R.from_dict({key: value for key, value in values.items() if key != "parameters"})


@pytest.mark.parametrize("factor", [-1.0, 0.0, 1e308, math.nan])
def test_factors_that_no_fit_gives_are_refused(factor):
    with pytest.raises(ValueError, match="factor of VarianceScaling must lie within"):
        R.from_dict({"name": "variance_scaling", "settings": {}, "parameters": {"factor": factor}})


def test_a_per_horizon_is_no_step_of_another():
    inner = (
        R.PerHorizon(R.VarianceScaling)
        .fit(Predictive.from_gaussian(torch.zeros(50, 1), torch.ones(50, 1)), torch.randn(50, 1))
        .to_dict()
    )
    assert R.from_dict(inner).to_dict() == inner
    with pytest.raises(ValueError, match="no PerHorizon itself"):
        R.from_dict({"name": "per_horizon", "steps": [inner]})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: R.SplitConformal(scaled="no"), "scaled must be True or False, but 'no'"),
        (lambda: R.AdaptiveConformal(scaled=torch.ones(3)), "scaled must be True or False"),
        (lambda: R.PerHorizon(R.VarianceScaling()), "make must make a recalibrator.*Give a class"),
        (lambda: R.PerHorizon("variance_scaling"), "make must make a recalibrator.*Give a class"),
    ],
)
def test_constructors_refuse_what_they_would_misread(make, message):
    with pytest.raises(TypeError, match=message):
        make()
