"""Recipes, schedules and averages: numbers of the papers, and bad numbers refused."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from bayesrnn.training import (
    SGD,
    AdamW,
    Cosine,
    ExponentialAverage,
    NonMonotoneAverage,
    Recipe,
    StepDecay,
    gal,
    one_cycle,
    zaremba,
)
from bayesrnn.training.optimizers import Average
from tests.training.language_problem import AVERAGED


def test_averages_are_the_means_they_claim_to_be() -> None:
    layer = nn.Linear(1, 1, bias=False)
    for spec, expected in (
        (ExponentialAverage(0.5), (4 * 4.0 + 2 * 2.0 + 1 * 1.0) / 7),
        (NonMonotoneAverage(2), 7.0 / 3),
    ):
        average = Average(layer, spec)
        average.judge([3.0, 2.0, 2.5, 3.1])
        for value in (1.0, 2.0, 4.0):
            nn.init.constant_(layer.weight, value)
            average.update()
        with average.in_place():
            assert layer.weight.item() == pytest.approx(expected)
        assert layer.weight.item() == 4.0


@given(st.lists(st.integers(0, 6), min_size=1, max_size=14), st.integers(1, 4))
def test_a_non_monotone_average_begins_where_the_published_algorithm_does(losses: list[int], patience: int) -> None:
    logs: list[float] = []
    average = Average(nn.Linear(1, 1), NonMonotoneAverage(patience))
    begun = False
    for t, loss in enumerate(losses):  # Merity et al., Algorithm 1, line by line
        if not begun and t > patience and loss > min(logs[: t - patience]):
            begun = True
        logs.append(loss)
        average.judge(list(logs))
        assert average.running == begun
        average.update()
        assert (average.count > 0) == begun


def test_the_papers_recipes_are_theirs() -> None:
    """Learning rates of the authors' log: 1 through epoch 11, .870 in 12, .756 in 13, .002 at 55."""
    schedule = gal().optimizer.schedule
    rates = [schedule.at(epoch - 1, 0.0) for epoch in (1, 11, 12, 13, 55)]
    assert [round(rate, 3) for rate in rates] == [1.0, 1.0, 0.87, 0.756, 0.002]
    assert (gal().epochs, gal().clip, gal().optimizer.weight_decay, gal().window) == (55, 10.0, 1e-7, 35)
    assert (zaremba("medium").epochs, zaremba("medium").clip) == (39, 5.0)
    assert (zaremba("small").window, zaremba("large").clip) == (20, 10.0)
    short = zaremba("medium").shortened(13).optimizer.schedule
    assert short.at(12, 1.0) == pytest.approx(zaremba("medium").optimizer.schedule.at(38, 1.0))
    assert json.loads(json.dumps(AVERAGED.to_dict())) == AVERAGED.to_dict()


def test_a_cosine_rises_and_falls() -> None:
    schedule = Cosine(0.1, warmup=0.1)
    assert schedule.at(0, 0.05) == pytest.approx(0.05)
    assert schedule.at(0, 0.1) == pytest.approx(0.1)
    assert schedule.at(0, 0.55) == pytest.approx(0.05)
    assert schedule.at(0, 1.0) == pytest.approx(0.0)


def test_the_recipe_of_few_epochs_squeezes_its_whole_curve() -> None:
    """Rise and fall are shares of the training, so that fewer epochs keep both ends of the curve."""
    short = one_cycle().shortened(4)
    assert short == one_cycle(4)
    rates = [short.optimizer.schedule.at(0, progress) for progress in (0.0, 0.05, 0.525, 1.0)]
    assert rates == pytest.approx([1e-3, 1.0, 0.5, 0.0])
    assert (short.keep, short.averaging) == ("best", None)


def test_recipes_check_their_numbers() -> None:
    with pytest.raises(ValueError, match="clip is a norm"):
        Recipe(3, clip=0.0)
    with pytest.raises(ValueError, match="keep must be one of"):
        Recipe(3, keep="worst")
    with pytest.raises(ValueError, match="size must be one of"):
        zaremba("huge")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StepDecay(-1.0), "rate must be a learning rate above 0, but -1.0"),
        (lambda: StepDecay(0.0), "rate must be a learning rate above 0"),
        (lambda: StepDecay(float("nan")), "rate must be"),
        (lambda: StepDecay(factor=0.0), "factor must be a divisor of at least 1"),
        (lambda: StepDecay(factor=0.8), "give 1 / 0.8 = 1.25"),
        (lambda: StepDecay(constant=-1), "constant must be at least 0"),
        (lambda: Cosine(warmup=2), r"warmup must be a share of the training in \[0, 1\)"),
        (lambda: Cosine(final=-1.0), "final must be"),
        (lambda: SGD(weight_decay=-1), "weight_decay must be a share"),
        (lambda: AdamW(weight_decay=-1), "weight_decay must be a number of at least 0"),
        (lambda: AdamW(betas=(0.9, 1.0)), r"betas\[1\] must be"),
        (lambda: AdamW(betas=(0.9,)), "betas must be two numbers"),  # type: ignore[arg-type]
        (lambda: ExponentialAverage(1.0), "decay must be a number in"),
        (lambda: ExponentialAverage(2.0), "decay must be a number in"),
        (lambda: NonMonotoneAverage(0), "patience must be at least 1"),
        (lambda: NonMonotoneAverage(-3), "patience must be at least 1"),
        (lambda: zaremba().shortened(0), "epochs must be at least 1"),
    ],
)
def test_parts_of_recipes_check_their_numbers(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recipe(3, optimizer="sgd"), r"optimizer must be SGD\(...\) or AdamW\(...\), but 'sgd'"),  # type: ignore[arg-type]
        (lambda: Recipe(3, averaging="nt"), r"averaging must be .* or None, but 'nt'"),  # type: ignore[arg-type]
        (lambda: SGD(0.1), "schedule must be StepDecay"),  # type: ignore[arg-type]
        (lambda: StepDecay("1"), "rate must be a learning rate above 0, but '1'"),  # type: ignore[arg-type]
        (lambda: Recipe(3, shift="no"), "shift must be True or False, but 'no'"),  # type: ignore[arg-type]
        (lambda: SGD(decay_follows_rate=1), "decay_follows_rate must be True or False"),  # type: ignore[arg-type]
        (lambda: Recipe(3, clip="5"), "clip must be a norm above 0"),  # type: ignore[arg-type]
    ],
)
def test_recipes_check_their_parts(make: Callable[[], object], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()
